"""The only calls that touch the disk on the way to a commit.

Everything that makes a store survive a crash is an order of these few operations, so they stand
together: a fault test replaces them here and sees, fails or reorders every one. Nothing here knows
what the bytes mean.
"""

from __future__ import annotations

import contextlib
import os
import sys
from io import FileIO
from pathlib import Path

__all__ = [
    "open_file",
    "read_at",
    "remove",
    "rename",
    "resize",
    "sync",
    "sync_folder",
    "write_at",
]


def open_file(path: Path, mode: str) -> FileIO:
    """Open without a buffer; `mode` as for `open`, binary."""
    return FileIO(path, mode)


def read_at(file: FileIO, offset: int, buffer: memoryview) -> int:
    """Fill `buffer` from `offset` on; return the bytes read, fewer only at the end of the file."""
    file.seek(offset)
    done = 0
    while done < len(buffer):
        n = file.readinto(buffer[done:])
        if not n:
            break
        done += n
    return done


def write_at(file: FileIO, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data` at `offset`; the system may take it in pieces."""
    view = memoryview(data).cast("B")
    file.seek(offset)
    while len(view):
        view = view[file.write(view) :]


def resize(file: FileIO, size_bytes: int) -> None:
    """Cut or extend (with zeros) to `size_bytes`."""
    file.truncate(size_bytes)


def sync(file: FileIO) -> None:
    """Return once the file's bytes and size are on the medium."""
    if sys.platform == "darwin":
        import fcntl

        # On macOS fsync stops at the drive's cache; F_FULLFSYNC is not had by every file system.
        with contextlib.suppress(OSError):
            fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
            return
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return once a created, renamed or removed name is on the medium."""
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals names itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(path: Path, new: Path) -> None:
    """Give a file another name, in place of what had it."""
    path.replace(new)


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    path.unlink(missing_ok=True)
