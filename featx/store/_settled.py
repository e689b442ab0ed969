"""A store open for reading, opened anew where a commit came in between.

A commit rewrites some blocks in place within milliseconds; a reader that meets one half done sees
a checksum that disagrees, and looks again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from featx.errors import FileFormatError, ParameterError
from featx.store import _disk
from featx.store._container import Opened, open_for_reading, read_head, readable, store_path
from featx.store._journal import journal_path
from featx.store._remote import readable_copy

__all__ = ["RETRIES", "SettledFile"]

T = TypeVar("T")

RETRIES = 40
RETRY_S = 0.025


class SettledFile:
    """The last committed state of a store; a context manager.

    Parameters
    ----------
    path : path
        The store; the attribute is the file itself, of a link or at a URL.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._name, self.path = os.fspath(path), store_path(readable_copy(path))
        self._opened: Opened | None = _open_settled(self.path)

    @property
    def commit_id(self) -> bytes:
        """Id of the commit that was read last."""
        return self._require_open().id

    def read(self, read: Callable[[Opened], T], *, of_one_commit: bool = False) -> T:
        """Return what `read` returns; it may be called again, with a later state.

        Parameters
        ----------
        read : callable
            Checks what it reads.
        of_one_commit : bool, default False
            Read again where a commit came in meanwhile, however well all fits its checksums: for
            what is small and has to agree.

        Raises
        ------
        FileFormatError
            If the file is damaged, or commits came in all the time.
        ParameterError
            If it was closed.
        """
        for left in reversed(range(RETRIES)):
            opened = self._require_open()
            try:
                with readable(self.path):
                    found = read(opened)
                if not of_one_commit or opened.is_current():
                    return found
            except FileFormatError:
                if not left or opened.is_settled(self.path):
                    raise
            time.sleep(RETRY_S)
            self._opened = _open_settled(self.path)
            opened.close()
        raise FileFormatError(
            f"store {self._name!r}: a writer commits faster than it can be read; try again"
        )

    def _require_open(self) -> Opened:
        if self._opened is None:
            raise ParameterError(f"store {self._name!r} is closed; open it again with open_store")
        return self._opened

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


def _open_settled(path: Path) -> Opened:
    """Open a store in its last committed state, again where a commit came in between.

    Raises
    ------
    StoreNotFoundError, FileFormatError
    """
    before = _head(path)
    for _ in range(RETRIES):
        try:
            return open_for_reading(path)
        except FileFormatError:
            is_settled = not os.path.lexists(journal_path(path))
            now = _head(path)
            if is_settled and now == before:
                raise
            before = now
            time.sleep(RETRY_S)
    return open_for_reading(path)


def _head(path: Path) -> bytes:
    with contextlib.suppress(OSError), _disk.open_file(path, "rb") as file:
        return read_head(file)
    return b""
