"""One writer at a time, by whatever name it knows the store.

Both locks are the operating system's, so they end with the process that holds them, however that
ends, and neither is in the way of readers with plain h5py. One is on a file of its own
(``.F.h5.lock``), which is there before the store is. The empty-handed lock file stays: removing it
would let two writers lock two files of one name. The other is on a byte of the store itself, far
behind its end, against a writer that comes by another name: a hard link, or the name that the
store has got since.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import struct
import sys
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from featx.errors import StoreWriteError
from featx.files.atomic import open_regular

__all__ = ["WriterLock", "hold_index", "index_may_be_saved", "require_named"]

POLL_S = 0.02
# HDF5 and featx never get there; SQLite locks bytes of its file in the same way.
LOCKED_BYTE = 2**62
_held: set[Path] = set()


class WriterLock:
    """The right to write a store, from construction to `release`.

    Parameters
    ----------
    store : Path
        The store; it need not exist.
    timeout_s : float
        How long to wait for another writer; -1 waits as long as it takes.
    kind : str, default "store"
        What the file is, for messages.

    Raises
    ------
    StoreWriteError
        If another writer holds it, or the folder cannot be written.
    """

    def __init__(self, store: Path, timeout_s: float, kind: str = "store") -> None:
        self._store, self._timeout_s, self._kind = store, timeout_s, kind
        self._path = store.with_name(f".{store.name}.lock")
        holder = self._holder()  # before trying: some versions of filelock empty the file
        self._lock = FileLock(self._path, thread_local=False)
        try:
            self._lock.acquire(timeout=timeout_s, poll_interval=POLL_S)
        except Timeout:
            raise StoreWriteError(
                f"{kind} {str(store)!r}: another writer has it open{holder}; "
                "wait until that is done, or stop it, and run again"
            ) from None
        except OSError as err:
            if err.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP):
                raise StoreWriteError(
                    f"{kind} {str(store)!r}: its file system has no locks ({err.strerror}), "
                    "without which two writers would spoil each other's work; put it on a "
                    "local disk, or on one with locks (NFS 4, Lustre with flock)"
                ) from err
            raise StoreWriteError(
                f"{kind} {str(store)!r}: cannot make the lock file {str(self._path)!r} "
                f"({err.strerror or err}); the folder must exist and be writable"
            ) from err
        self._sign()

    def hold(self, file: FileIO) -> None:
        """Lock the open store itself too; that lock ends when the file is closed.

        Raises
        ------
        StoreWriteError
            If another writer has it open under another name, or the name has another file by now.
        """
        end = time.monotonic() + self._timeout_s
        while not _try_lock(file.fileno()):
            if self._timeout_s >= 0 and time.monotonic() >= end:
                raise StoreWriteError(
                    f"store {str(self._store)!r}: another writer has it open, under another name "
                    "(a hard link, or the name it had before it was moved); wait until that is "
                    "done, or stop it, and run again"
                )
            time.sleep(POLL_S)
        require_named(self._store, file)

    def _holder(self) -> str:
        """Say who holds it.

        Raises
        ------
        StoreWriteError
            If what stands in the lock file's place is none: filelock would wait for a pipe.
        """
        try:
            with open_regular(self._path, follow=False) as file:
                found = json.loads(file.read(4096))
            return f" (process {found['pid']} on {found['host']})"
        except (FileNotFoundError, PermissionError, ValueError, KeyError, TypeError):
            return ""
        except OSError as err:
            raise StoreWriteError(
                f"{self._kind} {str(self._store)!r}: its lock file {str(self._path)!r} cannot be "
                f"used ({err.strerror or err}); expected a file that featx made: remove it, "
                "unless a writer is running"
            ) from err

    def _sign(self) -> None:
        """Say who holds it in the lock file, which is only for the message to a second writer."""
        with contextlib.suppress(OSError), open_regular(self._path, "r+b", follow=False) as file:
            if os.fstat(file.fileno()).st_nlink == 1:  # else it is somebody's file as well
                file.truncate()
                file.write(json.dumps({"pid": os.getpid(), "host": platform.node()}).encode())

    def release(self) -> None:
        """Let the next writer in; may be called again."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextlib.contextmanager
def hold_index(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Keep every other process from saving an index, by whatever link; yield the file itself.

    For a program that changes an index for as long as it runs, such as a writable server: what it
    confirmed would be lost if another process saved over the index meanwhile.

    Raises
    ------
    StoreWriteError
        If another process holds it.
    """
    target = Path(os.path.realpath(path))
    with WriterLock(target, 0.0, "index"):
        _held.add(target)
        try:
            yield target
        finally:
            _held.discard(target)


@contextlib.contextmanager
def index_may_be_saved(path: str | os.PathLike[str]) -> Iterator[None]:
    """Save within; it is an error where another process holds the index.

    An index that nobody holds has no lock file, and the last one to save it wins.

    Raises
    ------
    StoreWriteError
    """
    target = Path(os.path.realpath(path))
    if target in _held or not target.with_name(f".{target.name}.lock").exists():
        yield
        return
    with WriterLock(target, 0.0, "index"):
        yield


def require_named(path: Path, file: FileIO) -> None:
    """Refuse to go on with a store that its path no longer names.

    Raises
    ------
    StoreWriteError
    """
    with contextlib.suppress(OSError):
        if os.path.samestat(os.lstat(path), os.fstat(file.fileno())):
            return
    raise StoreWriteError(
        f"store {str(path)!r}: it was moved, replaced or removed while it was open for writing; "
        "what was committed before stays in that file, wherever it is, and nothing more is "
        "written: see which file is to have this name, and run again"
    )


def _try_lock(descriptor: int) -> bool:
    """Lock the byte; False where another opening of the file has it.

    Where the system cannot (Windows), the commit id of the file, which a writer looks at before
    each commit, still tells that another was there.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        if hasattr(fcntl, "F_OFD_SETLK") and sys.platform == "linux":
            # Of this opening: POSIX's lock is the process's, and any reader of it that closes the
            # file would let it go. l_type, l_whence, l_start, l_len, l_pid.
            request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, LOCKED_BYTE, 1, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCKED_BYTE)
    except OSError as err:
        return err.errno not in (errno.EAGAIN, errno.EACCES)
    return True
