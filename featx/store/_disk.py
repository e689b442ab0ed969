"""The only calls that touch the disk on the way to a commit.

Everything that makes a store survive a crash is an order of these few operations, so they stand
together: a fault test replaces them here and sees, fails or reorders every one. Nothing here knows
what the bytes mean.
"""

from __future__ import annotations

import contextlib
import os
from io import FileIO
from pathlib import Path

from featx.files.atomic import open_regular, read_at, sync, sync_folder

__all__ = [
    "open_file",
    "read_at",
    "remove",
    "rename",
    "resize",
    "start_writing",
    "sync",
    "sync_folder",
    "write_at",
]


def open_file(path: Path, mode: str) -> FileIO:
    """Open without a buffer: "rb", "r+b", or "wb" for a new file in place of what has the name.

    A link is refused, and by "wb" replaced: what it points to is none of ours.
    """
    if mode == "wb":
        remove(path)
        mode = "xb"
    return open_regular(path, mode, follow=False)


def write_at(file: FileIO, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data` at `offset`; the system may take it in pieces."""
    view = memoryview(data).cast("B")
    file.seek(offset)
    while len(view):
        view = view[file.write(view) :]


def resize(file: FileIO, size_bytes: int) -> None:
    """Cut or extend (with zeros) to `size_bytes`."""
    file.truncate(size_bytes)


def start_writing(file: FileIO, offset: int, n_bytes: int) -> None:
    """Let the system begin to move these bytes to the medium; a hint, it promises nothing."""
    if hasattr(os, "posix_fadvise"):  # Linux: pages that are not needed are written back first
        with contextlib.suppress(OSError):
            os.posix_fadvise(file.fileno(), offset, n_bytes, os.POSIX_FADV_DONTNEED)


def rename(path: Path, new: Path) -> None:
    """Give a file another name, in place of what had it."""
    path.replace(new)


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    path.unlink(missing_ok=True)
