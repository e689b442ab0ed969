"""A store open for reading: its last committed state, and one table as of one commit.

A commit rewrites some blocks in place within milliseconds; a reader that meets one half done sees
a checksum that disagrees, and looks again. A writer also changes rows in place, and a reader reads
most of a table later than it opens it: the checksums that it remembers, 8 bytes for each row, say
of whatever is read then whether it is still what stood there.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError, ParameterError
from featx.files.formats import STORE
from featx.store import _disk
from featx.store._chunks import read_unchecked
from featx.store._container import Opened, open_for_reading, read_head, store_path
from featx.store._journal import journal_path
from featx.store._layout import crc32, metadata_names
from featx.store.remote import readable_copy
from featx.store.tables import TableInfo, choose_table, read_tables

__all__ = ["FrozenState", "SettledFile", "Snapshot"]

T = TypeVar("T")
Choose = Callable[[tuple[TableInfo, ...]], TableInfo]

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
        self._opened: Opened | None = _open_anew(self.path)

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
                with STORE.reading(self.path):
                    found = read(opened)
                if not of_one_commit or opened.is_current():
                    return found
            except FileFormatError:
                if not left or opened.is_settled(self.path):
                    raise
            time.sleep(RETRY_S)
            self._opened = _open_anew(self.path)
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


def _open_anew(path: Path) -> Opened:
    """Open a store in its last committed state, again where a commit came in between.

    Raises
    ------
    MissingFileError, FileFormatError
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


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth
class Snapshot:
    """One table and the failures as of one commit, by their checksums.

    Parameters
    ----------
    commit_id : bytes
        The commit.
    row_crcs, features_crcs : ndarray of shape (n_samples,), uint32
        Of each row: of its path, label, digest and so on; of its vector.
    failure_crcs : ndarray of shape (n_failures,), uint32
        Of each failure.
    metadata : tuple of str
        Names of the further columns, as their datasets are called.
    """

    commit_id: bytes
    row_crcs: NDArray[np.uint32]
    features_crcs: NDArray[np.uint32]
    failure_crcs: NDArray[np.uint32]
    metadata: tuple[str, ...]

    @classmethod
    def of(cls, opened: Opened, key: str) -> Snapshot:
        """Take it of one table of an open store."""
        group = opened.h5["tables"][key]
        return cls(
            opened.id,
            read_unchecked(group["row_crc"], opened.file),
            read_unchecked(group["features_crc"], opened.file),
            opened.h5["failures"]["row_crc"][:],
            tuple(metadata_names(group)),
        )

    @property
    def fingerprint(self) -> tuple[int, int]:
        """Number of rows, and one checksum of them all."""
        return len(self.row_crcs), crc32(np.ascontiguousarray(self.row_crcs).data)

    def first(self, n: int) -> Snapshot:
        """Return the one of the first `n` rows."""
        return replace(self, row_crcs=self.row_crcs[:n], features_crcs=self.features_crcs[:n])


class FrozenState:
    """One table of a store as of one commit: what is read later fits, or is refused.

    Parameters
    ----------
    file : SettledFile
        The store.
    name : str
        What it is called in messages.
    choose : callable
        Given all tables, returns the one that is wanted.

    Attributes
    ----------
    tables : tuple of TableInfo
        All that there were.
    table : TableInfo
        The one that was wanted.
    snapshot : Snapshot
        What it is compared with.
    """

    def __init__(self, file: SettledFile, name: str, choose: Choose) -> None:
        self._file, self._name, self._has_given = file, name, False
        self.tables, self.table, self.snapshot = self._take(choose)

    def read(self, read: Callable[[Snapshot, Opened], T]) -> T:
        """Return what `read` reads and compares with the snapshot.

        While nothing has been given to the caller, the snapshot may as well be of a later commit.

        Raises
        ------
        FileFormatError
            If what is read has changed, or the file is damaged.
        """
        for _ in range(RETRIES):
            seen = self.snapshot
            try:
                found = self._file.read(partial(read, seen))
            except FileFormatError as err:
                if self._file.commit_id == seen.commit_id:
                    raise
                if self._has_given:
                    raise self._change_error() from err
                self._look_again()
            else:
                self._has_given = True
                return found
        raise self._change_error()

    def go_back_to(self, fingerprint: tuple[int, int]) -> None:
        """Leave out later rows, so that the state is the one of that fingerprint.

        Raises
        ------
        FileFormatError
            If the earlier rows have changed.
        """
        self.snapshot = self.snapshot.first(fingerprint[0])
        self.table = replace(self.table, n_samples=fingerprint[0])
        if self.snapshot.fingerprint != fingerprint:
            raise self._change_error()
        self._has_given = True

    def _look_again(self) -> None:
        """Take the snapshot of a later commit, of the rows that there were."""
        n = self.table.n_samples
        later = self._take(partial(choose_table, self._name, wanted=self.table.key))[2]
        if len(later.row_crcs) < n:
            raise self._change_error()
        self.snapshot = later.first(n)

    def _take(self, choose: Choose) -> tuple[tuple[TableInfo, ...], TableInfo, Snapshot]:
        def take(opened: Opened) -> tuple[tuple[TableInfo, ...], TableInfo, Snapshot]:
            tables = read_tables(opened.h5)
            table = choose(tables)
            return tables, table, Snapshot.of(opened, table.key)

        return self._file.read(take, of_one_commit=True)

    def _change_error(self) -> FileFormatError:
        return FileFormatError(
            f"store {self._name!r} has changed since it was opened: a writer has replaced some of "
            "these rows; open it again to read the new ones"
        )
