"""One writer at a time.

The lock is the operating system's, on a file of its own (``.F.h5.lock``), so it ends with the
process that holds it, however that ends, and readers with plain h5py are never in its way. The
empty-handed lock file stays: removing it would let two writers lock two files of one name.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
from pathlib import Path

from filelock import FileLock, Timeout

from featx.errors import StoreWriteError

__all__ = ["WriterLock"]

POLL_S = 0.02


class WriterLock:
    """The right to write a store, from construction to `release`.

    Parameters
    ----------
    store : Path
        The store; it need not exist.
    timeout_s : float
        How long to wait for another writer; -1 waits as long as it takes.

    Raises
    ------
    StoreWriteError
        If another writer holds it, or the folder cannot be written.
    """

    def __init__(self, store: Path, timeout_s: float) -> None:
        self._path = store.with_name(f".{store.name}.lock")
        holder = self._holder()  # before trying: some versions of filelock empty the file
        self._lock = FileLock(self._path, thread_local=False)
        try:
            self._lock.acquire(timeout=timeout_s, poll_interval=POLL_S)
        except Timeout:
            raise StoreWriteError(
                f"store {str(store)!r}: another writer has it open{holder}; "
                "wait until that is done, or stop it, and run again"
            ) from None
        except OSError as err:
            if err.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP):
                raise StoreWriteError(
                    f"store {str(store)!r}: its file system has no locks ({err.strerror}), "
                    "without which two writers would spoil each other's work; put the store on a "
                    "local disk, or on one with locks (NFS 4, Lustre with flock)"
                ) from err
            raise StoreWriteError(
                f"store {str(store)!r}: cannot make the lock file {str(self._path)!r} "
                f"({err.strerror or err}); the folder must exist and be writable"
            ) from err
        with contextlib.suppress(OSError):  # who holds it is only for the message above
            self._path.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}))

    def _holder(self) -> str:
        try:
            found = json.loads(self._path.read_text())
            return f" (process {found['pid']} on {found['host']})"
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def release(self) -> None:
        """Let the next writer in."""
        self._lock.release()
