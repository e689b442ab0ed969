"""The only calls that touch the disk on the way to a commit.

Everything that makes a store survive a crash is an order of these few operations, so they stand
together: a fault test replaces them here and sees, fails or reorders every one. Nothing here knows
what the bytes mean.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from io import FileIO
from pathlib import Path

from featx.files.atomic import open_regular, sync_folder

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

_seeking = threading.Lock()


def open_file(path: Path, mode: str) -> FileIO:
    """Open without a buffer: "rb", "r+b", or "wb" for a new file in place of what has the name.

    A link is refused, and by "wb" replaced: what it points to is none of ours.
    """
    if mode == "wb":
        remove(path)
        mode = "xb"
    return open_regular(path, mode, follow=False)


def read_at(file: FileIO, offset: int, buffer: memoryview) -> int:
    """Fill `buffer` from `offset` on; return the bytes read, fewer only at the end of the file."""
    done = 0
    while done < len(buffer):
        n = _read_once(file, offset + done, buffer[done:] if done else buffer)
        if not n:
            break
        done += n
    return done


def _read_once(file: FileIO, offset: int, buffer: memoryview) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [buffer], offset)
    with _seeking:  # a store may be read by several threads
        file.seek(offset)
        return file.readinto(buffer) or 0


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
