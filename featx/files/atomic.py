"""Open files that cannot make us wait, and replace files so that a crash leaves one of the two."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import secrets
import stat
import sys
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from io import FileIO
from pathlib import Path

__all__ = [
    "above_stderr",
    "open_regular",
    "read_at",
    "replacing",
    "seal",
    "sync",
    "sync_folder",
]

# Of the target's name: file systems take 255 bytes in all.
MAX_NAME = 80
_seeking = threading.Lock()


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Lend a name beside `target` to write to, which takes its place at the end.

    Where writing fails, `target` is as it was. What processes of this machine left there that
    were killed is removed.

    Raises
    ------
    OSError
        If the folder does not take it.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "list.txt"
    >>> with replacing(target) as beside:
    ...     _ = beside.write_text("all of it")
    >>> [path.name for path in target.parent.iterdir()]
    ['list.txt']
    """
    mine = f".{target.name[:MAX_NAME]}.{zlib.crc32(platform.node().encode()):08x}-"
    _sweep(target.parent, mine)
    beside = target.with_name(f"{mine}{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield beside
        seal(beside)
        beside.replace(target)
        sync_folder(target.parent)
    finally:
        with contextlib.suppress(OSError):  # the reason why it failed is what counts
            beside.unlink(missing_ok=True)


def _sweep(folder: Path, start: str) -> None:
    """Remove half-written files whose processes are gone."""
    name = re.compile(rf"{re.escape(start)}(\d+)-[0-9a-f]{{8}}\.part")
    with contextlib.suppress(OSError):  # no reason not to write
        for entry in os.scandir(folder):
            found = name.fullmatch(entry.name)
            if found and not _is_alive(int(found[1])):
                Path(entry.path).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # a signal to ask with would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def seal(beside: Path) -> None:
    """Return once a file's bytes are on the medium, with the mode of any new file of the user's.

    Temporary files are private otherwise.
    """
    with FileIO(beside) as file:
        sync(file)
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    beside.chmod(0o666 & ~mask)


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


def open_regular(path: str | os.PathLike[str], mode: str = "rb", *, follow: bool = True) -> FileIO:
    """Open a regular file, unbuffered.

    Opening a named pipe waits for a writer, and opening a device may do anything, so both are
    refused before they are opened; a file that becomes a pipe in between is opened without
    waiting. Descriptors 0, 1 and 2 are left alone, as SQLite leaves them: in a process that was
    started without a terminal they are free, and whatever prints would print into the file.

    Parameters
    ----------
    path : path
        The file.
    mode : str, default "rb"
        As for `open`.
    follow : bool, default True
        Whether a link stands for what it points to. Not where featx keeps a file under a name of
        its own: whoever made the folder may have put a link there, to a file that is none of ours.

    Raises
    ------
    OSError
        If it is missing, may not be opened, or is a folder, pipe, socket or device.

    Examples
    --------
    >>> open_regular(os.devnull)
    Traceback (most recent call last):
    OSError: [Errno 22] not a regular file: ...
    """
    return FileIO(path, mode, opener=partial(_open, follow=follow))


def _open(path: str | os.PathLike[str], flags: int, *, follow: bool) -> int:
    if not flags & os.O_CREAT:
        # A Path costs more than the call.
        _require_regular(path, os.stat(path, follow_symlinks=follow))  # noqa: PTH116
    flags |= getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    descriptor = above_stderr(os.open(path, flags, 0o666))
    try:
        _require_regular(path, os.stat(descriptor))  # noqa: PTH116
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def above_stderr(descriptor: int) -> int:
    """Return the descriptor of a file that was opened just now, moved if it is 0, 1 or 2."""
    low = []
    while descriptor <= 2:
        low.append(descriptor)
        descriptor = os.dup(descriptor)
    for number in low:
        os.close(number)
    return descriptor


def _require_regular(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", os.fspath(path))
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "a link, which is not followed here", os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


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
