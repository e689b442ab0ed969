"""What a reader remembers of the commit that it was opened after.

A writer changes rows in place, and a reader reads most of a table later than it opens it. The
checksums say of whatever is read then whether it is still what stood there: 8 bytes a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError
from featx.store._container import Opened
from featx.store._crc import crc32
from featx.store._rows import read_run
from featx.store._settled import RETRIES, SettledFile
from featx.store._tables import TableInfo, choose_table, read_tables
from featx.store._text import column_name, read_attribute

__all__ = ["FrozenState", "Snapshot"]

T = TypeVar("T")
Choose = Callable[[tuple[TableInfo, ...]], TableInfo]


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
    columns : tuple of str
        Names of the further columns.
    has_labels : bool
        Whether any image has one.
    made_with : str
        JSON.
    """

    commit_id: bytes
    row_crcs: NDArray[np.uint32]
    features_crcs: NDArray[np.uint32]
    failure_crcs: NDArray[np.uint32]
    columns: tuple[str, ...]
    has_labels: bool
    made_with: str

    @classmethod
    def of(cls, opened: Opened, key: str) -> Snapshot:
        """Take it of one table of an open store."""
        group = opened.h5["tables"][key]
        n = group["features"].shape[0]
        return cls(
            opened.id,
            read_run(group["row_crc"], 0, n),
            read_run(group["features_crc"], 0, n),
            opened.h5["failures"]["row_crc"][:],
            tuple(column_name(name) for name in group["metadata"]),
            bool(group.attrs["has_labels"]),
            read_attribute(group, "made_with"),
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
                    raise self._changed() from err
                self._look_again()
            else:
                self._has_given = True
                return found
        raise self._changed()

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
            raise self._changed()
        self._has_given = True

    def _look_again(self) -> None:
        """Take the snapshot of a later commit, of the rows that there were."""
        n = self.table.n_samples
        later = self._take(partial(choose_table, self._name, wanted=self.table.key))[2]
        if len(later.row_crcs) < n:
            raise self._changed()
        self.snapshot = later.first(n)

    def _take(self, choose: Choose) -> tuple[tuple[TableInfo, ...], TableInfo, Snapshot]:
        def take(opened: Opened) -> tuple[tuple[TableInfo, ...], TableInfo, Snapshot]:
            tables = read_tables(opened.h5)
            table = choose(tables)
            return tables, table, Snapshot.of(opened, table.key)

        return self._file.read(take, of_one_commit=True)

    def _changed(self) -> FileFormatError:
        return FileFormatError(
            f"store {self._name!r} has changed since it was opened: a writer has replaced some of "
            "what is asked for; open it again to read its new state"
        )
