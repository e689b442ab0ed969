"""A store open for reading, opened anew where a commit came in between.

A commit rewrites some blocks in place within milliseconds; a reader that meets one half done sees
a checksum that disagrees, and looks again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from featx.errors import FileFormatError, ParameterError
from featx.store._container import Opened, open_for_reading, readable, store_path
from featx.store._journal import journal_path
from featx.store._remote import readable_copy

__all__ = ["SettledFile"]

T = TypeVar("T")

RETRIES = 40
RETRY_S = 0.025


class SettledFile:
    """The last committed state of a store; a context manager.

    Parameters
    ----------
    path : path
        The store.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._name, self._path = os.fspath(path), store_path(readable_copy(path))
        self._opened: Opened | None = self._open()

    def read(self, read: Callable[[Opened], T]) -> T:
        """Return what `read` returns; it may be called again, with a later state.

        Raises
        ------
        FileFormatError
            If the file is damaged.
        ParameterError
            If it was closed.
        """
        if self._opened is None:
            raise ParameterError(f"store {self._name!r} is closed; open it again with open_store")
        for _ in range(RETRIES):
            try:
                with readable(self._path):
                    return read(self._opened)
            except FileFormatError:
                if self._opened.is_current() and not journal_path(self._path).exists():
                    raise
            time.sleep(RETRY_S)
            self._opened.close()
            self._opened = self._open()
        with readable(self._path):
            return read(self._opened)

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> Opened:
        before = self._stamp()
        for _ in range(RETRIES):
            try:
                return open_for_reading(self._path)
            except FileFormatError:
                now = self._stamp()
                if now == before and not journal_path(self._path).exists():
                    raise
                before = now
                time.sleep(RETRY_S)
        return open_for_reading(self._path)

    def _stamp(self) -> tuple[int, int]:
        with contextlib.suppress(OSError):
            stat = self._path.stat()
            return stat.st_size, stat.st_mtime_ns
        return 0, 0
