"""Read weights files, fit them to a network, and identify a network by its weights.

No pickle in a weights file is ever executed: ``.pth`` goes through torch's restricted unpickler.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featx._files import open_regular
from featx.errors import WeightsError, nearest

__all__ = ["SUFFIXES", "load_into", "read_state_dict", "state_digest"]

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
# Names under which training scripts keep the state dict, and prefixes that wrappers put before
# every key.
WRAPPERS = ("state_dict", "model", "model_state_dict", "model_state", "net")
PREFIXES = ("module.", "_orig_mod.", "model.")
SHOWN = 4
MAX_HEADER_BYTES = 16 * 2**20  # of safetensors; a thousand tensors take 100 kB
# What torch's restricted unpickler says of a pickle that names code, as opposed to one that is
# none at all.
_SIGNS_OF_CODE = ("GLOBAL", "unrecognized function", "Unsupported class")


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file.

    Parameters
    ----------
    path : str or Path
        ``.pth`` or ``.pt`` as `torch.save` writes them, or ``.safetensors``. A state dict under
        "state_dict" or "model", and keys that all begin with "module.", are unwrapped.

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
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = _unwrap(loaded)
    if not state:
        raise WeightsError(
            f"{path}: holds {_describe(loaded)}, expected a state dict (names and tensors); "
            "save one with torch.save(network.state_dict(), FILE)"
        )
    return state


def load_into(
    module: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    thing: str,
    ignored: Iterable[str] = (),
    head: str | None = None,
) -> bool:
    """Load tensors into a network, strictly.

    Parameters
    ----------
    module : Module
        Changed in place.
    state : mapping of str to Tensor
        As `read_state_dict` gives it.
    thing : str
        Where the tensors come from, for the message.
    ignored : iterable of str
        Prefixes of keys that may be there and are not used.
    head : str, optional
        The final classifier. Where only its tensors are missing or of another shape (a network
        fine-tuned on other classes), it is replaced by an identity: features do not pass it.

    Returns
    -------
    bool
        Whether the head was loaded too.

    Raises
    ------
    WeightsError
        With the tensors that are missing, unexpected, of another shape, or not finite.
    """
    own = module.state_dict()
    state = {k: v for k, v in state.items() if not k.startswith(tuple(ignored) or ("\0",))}
    optional = {k for k in own if k.endswith(".num_batches_tracked")}
    missing = [k for k in own if k not in state and k not in optional]
    unexpected = [k for k in state if k not in own]
    misshapen = [k for k in own if k in state and own[k].shape != state[k].shape]
    head_keys = [k for k in own if head and k.startswith(f"{head}.")]
    wrong = {*missing, *misshapen}
    drops_head = bool(wrong) and wrong <= set(head_keys)
    if (wrong and not drops_head) or unexpected:
        raise WeightsError(_mismatch(thing, module, own, state, (missing, unexpected, misshapen)))
    kept = {k: v for k, v in state.items() if not (drops_head and k in head_keys)}
    _require_finite(thing, own, kept)
    if drops_head:
        assert head is not None
        parent, _, name = head.rpartition(".")
        setattr(module.get_submodule(parent), name, nn.Identity())
    module.load_state_dict({**{k: own[k] for k in optional}, **kept})
    return not drops_head


def _require_finite(
    thing: str, own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> None:
    """Refuse weights of a training that diverged: all features would be NaN, or all the same."""
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.isfinite().all():
            continue
        if own[name].isfinite().all():  # else it is a mask, in which the network has -inf itself
            n = int((~tensor.isfinite()).sum())
            raise WeightsError(
                f"{thing}: tensor {name!r} has {n} of {tensor.numel()} numbers that are NaN or "
                "infinite, expected finite ones; take weights from before the training diverged"
            )


def state_digest(module: nn.Module) -> str:
    """Hash every parameter and buffer that a forward pass in eval mode can read.

    Returns
    -------
    str
        64 hexadecimal digits: SHA-256 over name, dtype, shape and bytes, in order of names. The
        same for the same tensors from any kind of file.
    """
    digest = hashlib.sha256()
    state = module.state_dict()
    for name in sorted(state):
        tensor = state[name]
        if name.endswith("num_batches_tracked") or not isinstance(tensor, torch.Tensor):
            continue
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        _require_short_header(path)
        return load_file(path)
    except (SafetensorError, OSError) as err:
        raise WeightsError(_damaged(path, err, "a safetensors file")) from err


def _read_torch(path: Path) -> Any:
    try:
        _require_plain_zip(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        if not any(sign in str(err) for sign in _SIGNS_OF_CODE):
            raise WeightsError(_damaged(path, err, "a file of torch.save")) from err
        raise WeightsError(
            f"{path}: reading it would run code that the file brings along, which featx does not "
            "do; expected tensors only: save network.state_dict() instead of the network"
        ) from err
    # On damaged bytes its unpickler raises nearly everything, IndexError and TypeError included.
    except Exception as err:
        raise WeightsError(_damaged(path, err, "a file of torch.save")) from err


def _require_short_header(path: Path) -> None:
    with open_regular(path) as file:
        if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
            raise OSError(f"its header has more than {MAX_HEADER_BYTES} bytes")


def _require_plain_zip(path: Path) -> None:
    """Refuse a zip file that unpacks to more than it has, as none of torch.save's does."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > path.stat().st_size:
            raise OSError(f"{n_bytes} bytes are packed into it, which torch.save never does")


def _unwrap(loaded: Any) -> dict[str, torch.Tensor]:
    """Find the state dict in what training scripts save around it."""
    if not isinstance(loaded, Mapping):
        return {}
    for key in WRAPPERS:
        if isinstance(loaded.get(key), Mapping):
            return _unwrap(loaded[key])
    state = {k: v for k, v in loaded.items() if isinstance(v, torch.Tensor)}
    if len(state) < len(loaded) or not all(isinstance(k, str) for k in state):
        return {}
    for prefix in PREFIXES:
        if state and all(k.startswith(prefix) for k in state):
            return _unwrap({k.removeprefix(prefix): v for k, v in state.items()})
    return state


def _describe(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        return f"a dict with keys {', '.join(map(repr, list(loaded)[:SHOWN]))}"
    return f"a {type(loaded).__name__}"


def _missing(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    place = "" if path.parent.is_dir() else f" (the folder {str(path.parent)!r} does not exist)"
    return (
        f"weights {str(path)!r}: no such file{place}, expected the path of a file that ends in "
        f"{', '.join(SUFFIXES)}.{nearest(path.name, siblings)}"
    )


def _damaged(path: Path, err: Exception, expected: str) -> str:
    reason = " ".join(str(err).split()).partition(". ")[0][:160]
    return (
        f"{path}: cannot be read as weights, got {type(err).__name__} ({reason}), expected "
        f"{expected}; it is damaged or something else: fetch it again"
    )


def _mismatch(
    thing: str,
    module: nn.Module,
    own: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    problems: tuple[list[str], list[str], list[str]],
) -> str:
    missing, unexpected, misshapen = problems
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_some(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    if misshapen:
        shapes = [
            f"{k} got {tuple(state[k].shape)}, expected {tuple(own[k].shape)}" for k in misshapen
        ]
        parts.append(f"{len(misshapen)} of another shape ({_some(shapes)})")
    return (
        f"{thing}: does not fit {type(module).__name__}: of {len(own)} tensors {'; '.join(parts)};"
        " name the backbone that these weights were trained for"
    )


def _some(names: list[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
