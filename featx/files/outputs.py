"""What a name to write to may hold already, and the one way to write there.

An output replaces nothing but an empty file or an older file of its own kind, which its content
tells, whatever it is called; never a file that is read for it. A symbolic link stays one: the file
that it points to is the output.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from featx.errors import StoreWriteError
from featx.files.atomic import replacing
from featx.files.kinds import kind_of

__all__ = ["check_output", "files_of", "write_output"]


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
        What is to be written, "store", "index", "model", "weights", "page", "map", "numbers",
        "onnx", "openvino", "npz", "npy", "csv" or "parquet" (a store's table), "findings", or
        "predictions" (as CSV or in Parquet); an older file of this kind may be replaced.
    inputs : iterable of path
        Files that are read for it, by whatever names.

    Raises
    ------
    StoreWriteError
        If there is no such folder, it may not be written, or the name is that of an input, a
        folder, a device, or a file of another kind.
    """
    subject = f"{kind} {os.fspath(path)!r}"
    try:
        target = Path(os.path.realpath(path))
        status = target.stat()
    except FileNotFoundError:
        _check_folder(target, path, subject)
        return target
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise StoreWriteError(
            f"{subject}: cannot be written ({reason}), expected the name of a file; choose another"
        ) from err
    if stat.S_ISDIR(status.st_mode):
        raise StoreWriteError(f"{subject}: is a folder, expected a file; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise StoreWriteError(
            f"{subject}: is a device or a pipe, expected a file; choose another name"
        )
    for other in inputs:
        if _is_same(target, other):
            raise StoreWriteError(
                f"{subject}: is the file that is read as {os.fspath(other)!r}, expected another "
                "one: an output never replaces an input; choose another name"
            )
    _check_folder(target, path, subject)
    _check_kind(target, kind, subject)
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


def _check_folder(target: Path, path: str | os.PathLike[str], subject: str) -> None:
    folder = target.parent
    if os.fspath(path).endswith(("/", os.sep)) or not target.name:
        raise StoreWriteError(f"{subject}: got the name of a folder, expected that of a file")
    if not folder.is_dir():
        raise StoreWriteError(
            f"{subject}: its folder {str(folder)!r} does not exist, expected one to write to; "
            "create it or choose another path"
        )
    if not os.access(folder, os.W_OK):
        raise StoreWriteError(
            f"{subject}: its folder {str(folder)!r} may not be written; choose another path, "
            "or give yourself the right"
        )


def _check_kind(target: Path, kind: str, subject: str) -> None:
    try:
        found, words = kind_of(target)
    except OSError as err:
        found, words = "", f"a file that you may not read ({err.strerror})"
    if found not in (kind, "empty") and not (kind == "store" and words == "an HDF5 file"):
        raise StoreWriteError(
            f"{subject}: is {words}, expected a new name or an older one of its kind; choose "
            "another name, or remove that file first"
        )


def _is_same(target: Path, other: str | os.PathLike[str]) -> bool:
    try:
        return target.samefile(other)
    except (OSError, ValueError):
        return False
