"""What a name to write to may hold already, and the one way to write there.

An output replaces nothing but an empty file or an older file of its own kind, which its content
tells, whatever it is called; never a file that is read for it. A symbolic link stays one: the file
that it points to is the output.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from featx.errors import StoreWriteError
from featx.files.atomic import replacing
from featx.files.formats import INDEX, MODEL, STORE

__all__ = ["check_output", "files_of", "kind_of", "write_output"]

HEAD_BYTES = 65536
MAX_HEADER_BYTES = 16 * 2**20
ARRAYS = ("features", "paths", "labels")
PARQUET = {b"featx_fingerprint": "parquet", b"featx_predictions": "predictions"}
HDF5_KINDS = {form.name: form.kind for form in (STORE, INDEX)}
OTHERS = (  # what the beginning of a file says, for the message alone
    (b"\x89HDF", "an HDF5 file"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a Parquet file"),
    (b"\xff\xd8\xff", "an image"),
    (b"\x89PNG", "an image"),
    (b"GIF8", "an image"),
    (b"RIFF", "an image"),
    (b"BM", "an image"),
    (b"II*\0", "an image"),
    (b"MM\0*", "an image"),
    (b"\x80", "a pickle"),
    (b"<", "a page that featx did not make"),
    (b"{", "a JSON file"),
)


def check_output(
    path: str | os.PathLike[str],
    kind: str,
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Return the file to write, links followed, before the work that makes its content.

    Parameters
    ----------
    path : path
        Where the output is to be.
    kind : str
        What is to be written, "store", "index", "model", "weights", "page", "numbers", "npz",
        "npy", "csv" or "parquet" (a store's table), or "predictions" (as CSV or in Parquet); an
        older file of this kind may be replaced.
    inputs : iterable of path
        Files that are read for it, by whatever names.

    Raises
    ------
    StoreWriteError
        If there is no such folder, it may not be written, or the name is that of an input, a
        folder, a device, or a file of another kind.
    """
    thing = f"{kind} {os.fspath(path)!r}"
    try:
        target = Path(os.path.realpath(path))
        status = target.stat()
    except FileNotFoundError:
        _check_folder(target, path, thing)
        return target
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise StoreWriteError(
            f"{thing}: cannot be written ({reason}), expected the name of a file; choose another"
        ) from err
    if stat.S_ISDIR(status.st_mode):
        raise StoreWriteError(f"{thing}: is a folder, expected a file; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise StoreWriteError(
            f"{thing}: is a device or a pipe, expected a file; choose another name"
        )
    for other in inputs:
        if _is_same(target, other):
            raise StoreWriteError(
                f"{thing}: is the file that is read as {os.fspath(other)!r}, expected another "
                "one: an output never replaces an input; choose another name"
            )
    _check_folder(target, path, thing)
    _check_kind(target, kind, thing)
    return target


@contextlib.contextmanager
def write_output(
    path: str | os.PathLike[str],
    kind: str,
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Iterator[Path]:
    """Lend a name to write to; at the end the file is there at once, or all is as it was.

    Parameters and errors are those of `check_output`, and a disk that does not take the file is a
    `StoreWriteError`, too.
    """
    target = check_output(path, kind, inputs=inputs)
    try:
        with replacing(target) as beside:
            yield beside
    except OSError as err:
        raise StoreWriteError(
            f"{kind} {os.fspath(path)!r}: cannot be written ({err.strerror or err}); the folder "
            "must exist, be writable and have space"
        ) from err


def files_of(weights: str | os.PathLike[str]) -> list[Path]:
    """Return the files that weights may be read from: the path, and of a folder what is in it."""
    place = Path(weights).expanduser()
    return [place, *(place.iterdir() if place.is_dir() else ())]


def kind_of(path: Path) -> tuple[str, str]:
    """Return the kind of a file, "" for none of featx's, and words for it, by its content.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if not head:
            return "empty", "an empty file"
        kind = _hdf5_kind(path, head) or _zip_kind(file, head) or _other_kind(file, head)
    if kind:
        return kind, f"a file of featx ({kind})"
    words = next((what for start, what in OTHERS if head.startswith(start)), "")
    if not words and head[8:9] == b"{":
        words = "weights that featx did not make"
    if not words:
        words = "another kind of file" if b"\0" in head else "a text file that featx did not make"
    return "", words


def _check_folder(target: Path, path: str | os.PathLike[str], thing: str) -> None:
    folder = target.parent
    if os.fspath(path).endswith(("/", os.sep)) or not target.name:
        raise StoreWriteError(f"{thing}: got the name of a folder, expected that of a file")
    if not folder.is_dir():
        raise StoreWriteError(
            f"{thing}: its folder {str(folder)!r} does not exist, expected one to write to; "
            "create it or choose another path"
        )
    if not os.access(folder, os.W_OK):
        raise StoreWriteError(
            f"{thing}: its folder {str(folder)!r} may not be written; choose another path, "
            "or give yourself the right"
        )


def _check_kind(target: Path, kind: str, thing: str) -> None:
    try:
        found, words = kind_of(target)
    except OSError as err:
        found, words = "", f"a file that you may not read ({err.strerror})"
    if found not in (kind, "empty") and not (kind == "store" and words == "an HDF5 file"):
        raise StoreWriteError(
            f"{thing}: is {words}, expected a new name or an older one of its kind; choose "
            "another name, or remove that file first"
        )


def _is_same(target: Path, other: str | os.PathLike[str]) -> bool:
    try:
        return target.samefile(other)
    except (OSError, ValueError):
        return False


def _hdf5_kind(path: Path, head: bytes) -> str:
    if not head.startswith(b"\x89HDF"):
        return ""
    import h5py

    # a store that is being written is found by its first bytes, where HDF5 might not open it
    if STORE.name.encode() in head:
        return STORE.kind
    with contextlib.suppress(Exception), h5py.File(path, "r", locking=False) as h5:
        attribute = h5.attrs.get_id("format")
        if attribute.dtype.kind == "S":  # of fixed length: HDF5 reads it in damaged files, too
            return HDF5_KINDS.get(h5.attrs["format"].decode("ascii", "replace"), "")
    return ""


def _zip_kind(file: Any, head: bytes) -> str:
    if not head.startswith(b"PK\x03\x04"):
        return ""
    if head[30:].startswith(b"model.json") and f'"{MODEL.name}"'.encode() in head:
        return MODEL.kind
    try:
        with zipfile.ZipFile(file) as archive:
            return "npz" if {f"{name}.npy" for name in ARRAYS} <= {*archive.namelist()} else ""
    except (ValueError, NotImplementedError, zipfile.BadZipFile):
        return ""


def _other_kind(file: Any, head: bytes) -> str:
    start = head[:4096].lower()
    if head.startswith(b"\x80") and MODEL.name.encode() in start:
        return MODEL.kind  # of format "joblib"
    if head.startswith(b"\x93NUMPY"):
        return "npy" if re.search(rb"'shape': \(\d+, \d+\)", head[:1000]) else ""
    if head.startswith(b"PAR1"):
        return _parquet_kind(file)
    if start.lstrip().startswith(b"<!doctype html"):
        return "page" if b'name="generator" content="featx ' in start else ""
    if start.startswith(b"{") and b'"report_format"' in start:
        return "numbers"
    return "weights" if _is_tuned(file, head) else _csv_kind(file)


def _parquet_kind(file: Any) -> str:
    notes = _end(file)
    kind = next((kind for note, kind in PARQUET.items() if note in notes), "")
    if kind or b"pandas" in notes:
        return kind
    # predictions of the first featx 0.1 have no note
    with contextlib.suppress(Exception):
        from pyarrow import parquet

        return "predictions" if _are_predictions(parquet.read_schema(file).names) else ""
    return ""


def _end(file: Any) -> bytes:
    """Return a Parquet file's footer, whose length stands near its end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - 8 - min(length, MAX_HEADER_BYTES)))
    found: bytes = file.read()
    return found


def _is_tuned(file: Any, head: bytes) -> bool:
    """Tell whether safetensors say that featx made them."""
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or length > MAX_HEADER_BYTES:
        return False
    file.seek(8)
    try:
        notes = json.loads(file.read(length)).get("__metadata__", {})
        return str(notes.get("creator", "")).startswith("featx ")
    except (ValueError, AttributeError, RecursionError):
        return False


def _csv_kind(file: Any) -> str:
    """Tell tables by the columns that featx gives them, all in their order.

    A table of features ends in ``feature_0``, ``feature_1``, ...; predictions are ``path``,
    ``label`` and ``confidence``, or ``path``, the attributes and a score of each.
    """
    file.seek(0)
    try:
        line = file.readline(MAX_HEADER_BYTES).decode("utf-8-sig")
        names = next(csv.reader([line]), [])
    except (ValueError, csv.Error):
        return ""
    if names[:1] != ["path"]:
        return ""
    last = names[-1].removeprefix("feature_")
    n_features = int(last) + 1 if last.isdecimal() else 0
    if 0 < n_features < len(names):
        wanted = [f"feature_{i}" for i in range(n_features)]
        return "csv" if names[-n_features:] == wanted else ""
    return "predictions" if _are_predictions(names) else ""


def _are_predictions(names: list[str]) -> bool:
    """Tell predictions by their columns."""
    attributes = names[1 : (len(names) + 1) // 2]
    scores = [f"score.{name}" for name in attributes]
    is_of_attributes = bool(attributes) and names == ["path", *attributes, *scores]
    return is_of_attributes or names == ["path", "label", "confidence"]
