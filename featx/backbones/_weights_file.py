"""Read weights files.

No pickle in a weights file is ever executed: ``.pth`` goes through torch's restricted unpickler.
What kind of file it is, is told by its first bytes, since people rename files.
"""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from featx.errors import WeightsError, nearest
from featx.files.atomic import open_regular
from featx.files.safetensors import MAX_HEADER_BYTES, is_safetensors, read_header

__all__ = ["SUFFIXES", "find_file", "read_notes", "read_state_dict"]

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
# What a folder of Hugging Face or open_clip holds, best first.
FOLDER_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin",
                "open_clip_pytorch_model.bin")  # fmt: skip
# Names under which training scripts keep the state dict, best first.
WRAPPERS = (
    "state_dict", "model", "model_state_dict", "model_state", "net",
    "teacher", "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema",
    "params", "module", "network", "student", "backbone", "encoder", "weights", "checkpoint",
)  # fmt: skip
SHOWN = 4
HEAD_BYTES = 512
# What torch's restricted unpickler says of a pickle that names code, as opposed to one that is
# none at all.
_SIGNS_OF_CODE = ("GLOBAL", "unrecognized function", "Unsupported class")
_EXPECTED = "a file of torch.save or safetensors"
log = logging.getLogger(__name__)


def find_file(weights: str | Path) -> Path:
    """Return the weights file that a path means: itself, or the one in a folder.

    Raises
    ------
    WeightsError
        If there is no such file, or a folder holds none or several.
    """
    path = Path(weights).expanduser()
    if not path.is_dir():
        if not path.exists():
            raise WeightsError(_missing(path))
        return path
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:SHOWN]) or "none"
        raise WeightsError(
            f"weights {str(path)!r}: is a folder with {len(found)} weights files ({names}), "
            f"expected {' or '.join(FOLDER_FILES)}, or one file that ends in "
            f"{', '.join(SUFFIXES)}; name the file"
        )
    return found[0]


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file.

    Parameters
    ----------
    path : str or Path
        What `torch.save` or safetensors writes, whatever its name. A state dict under one of
        `WRAPPERS`, such as "state_dict", "model" or "teacher", is unwrapped.

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    WeightsError
        If the file is missing, is damaged, holds something else than tensors, or would have to
        run code to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(_missing(path))
    head = _read_head(path)
    is_torch = head.startswith((b"PK", b"\x80"))  # a zip file or a pickle
    is_safe = is_safetensors(head) or (path.suffix == ".safetensors" and not is_torch)
    loaded = _read_safetensors(path, head) if is_safe else _read_torch(path, head)
    state = _unwrap(loaded, path)
    if not state:
        raise WeightsError(
            f"{path}: holds {_describe(loaded)}, expected a state dict (names and tensors); "
            "save one with torch.save(network.state_dict(), FILE)"
        )
    return state


def read_notes(path: Path) -> dict[str, str]:
    """Return what the header of a safetensors file says beside the tensors; {} of other files."""
    notes = _read_header(path).get("__metadata__", {})
    return {str(k): str(v) for k, v in notes.items()}


def _read_header(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with io.BufferedReader(open_regular(path)) as file:
            return read_header(file)
    except OSError:  # whoever reads its tensors says what is wrong
        return {}


def _read_head(path: Path) -> bytes:
    """Return the first bytes; refuse what they show to be no weights."""
    try:
        with open_regular(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError as err:
        raise WeightsError(
            f"{path}: cannot be read ({err.strerror or err}), expected {_EXPECTED}; check its "
            "permissions"
        ) from err
    start = head.lstrip().lower()
    got, remedy = "", "fetch it again"
    if not head:
        got = "an empty file"
    elif start.startswith(b"version https://git-lfs"):
        got, remedy = "a Git LFS pointer", "run git lfs pull where it was cloned"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml")):
        got = "a web page, as servers send instead of a file"
        remedy = "open its address in a browser and see what is asked for"
    elif head.isascii() and all(c.isprintable() or c.isspace() for c in head.decode()):
        got = f"text that begins with {head.decode()[:40]!r}"
    if got:
        raise WeightsError(_unreadable(path, got, remedy))
    return head


def _read_safetensors(path: Path, head: bytes) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if int.from_bytes(head[:8], "little") > MAX_HEADER_BYTES:
        got = f"a file that says its header has more than {MAX_HEADER_BYTES} bytes"
        raise WeightsError(_unreadable(path, got))
    try:
        return load_file(path)
    except (SafetensorError, OSError) as err:
        raise WeightsError(_explain_damage(path, err, is_cut=_is_cut(path))) from err


def _is_cut(path: Path) -> bool:
    """Tell whether a safetensors file is shorter than its header says."""
    header = _read_header(path)
    ends = [entry.get("data_offsets", [0])[-1] for entry in header.values()]
    with open_regular(path) as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
    return path.stat().st_size < begin + max(ends, default=0)


def _read_torch(path: Path, head: bytes) -> Any:
    try:
        _require_plain_zip(path)
        # of a path torch would look at the suffix
        with io.BufferedReader(open_regular(path)) as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        if not any(sign in str(err) for sign in _SIGNS_OF_CODE):
            raise WeightsError(_explain_damage(path, err)) from err
        raise WeightsError(
            f"{path}: reading it would run code that the file brings along, which featx does not "
            "do; expected tensors only: save network.state_dict() instead of the network"
        ) from err
    # On damaged bytes its unpickler raises nearly everything, IndexError and TypeError included.
    except Exception as err:
        is_cut = head.startswith(b"PK") and not _is_zip(path)
        raise WeightsError(_explain_damage(path, err, is_cut=is_cut)) from err


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # one of several disks
        return False


def _require_plain_zip(path: Path) -> None:
    """Refuse a zip file that unpacks to more than it has, as none of torch.save's does."""
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > path.stat().st_size:
            raise OSError(f"{n_bytes} bytes are packed into it, which torch.save never does")


def _unwrap(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    """Find the state dict in what training scripts save around it."""
    if not isinstance(loaded, Mapping):
        return {}
    found = [key for key in WRAPPERS if isinstance(loaded.get(key), Mapping) and loaded[key]]
    if found:
        if len(found) > 1:
            log.warning(
                "%s: holds weights under %s; featx takes %r: to use another, save only that one",
                path, ", ".join(map(repr, found)), found[0],
            )  # fmt: skip
        return _unwrap(loaded[found[0]], path)
    state = {k: v for k, v in loaded.items() if isinstance(v, torch.Tensor)}
    rest = [v for v in loaded.values() if not isinstance(v, torch.Tensor)]
    is_plain = all(v is None or isinstance(v, bool | int | float | str) for v in rest)
    return state if is_plain and all(isinstance(k, str) for k in state) else {}


def _describe(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        return f"a dict with keys {', '.join(map(repr, list(loaded)[:SHOWN])) or 'none'}"
    return f"a {type(loaded).__name__}"


def _missing(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    place = "" if path.parent.is_dir() else f" (the folder {str(path.parent)!r} does not exist)"
    return (
        f"weights {str(path)!r}: no such file{place}, expected the path of a file that ends in "
        f"{', '.join(SUFFIXES)}.{nearest(path.name, siblings)}"
    )


def _explain_damage(path: Path, err: Exception, *, is_cut: bool = False) -> str:
    if is_cut:
        return _unreadable(path, f"a file whose end is missing ({path.stat().st_size} bytes)")
    reason = " ".join(str(err).split()).partition(". ")[0][:160]
    got = f"{type(err).__name__} ({reason})"
    return _unreadable(path, got, "it is damaged or something else: fetch it again")


def _unreadable(path: Path, got: str, remedy: str = "fetch it again") -> str:
    return f"{path}: cannot be read as weights, got {got}, expected {_EXPECTED}; {remedy}"
