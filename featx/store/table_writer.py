"""Rows on their way into one table.

What is appended, updated or removed waits in memory until the store's writer commits; reads see
new rows and values at once. Each call is checked as a whole before anything of it is kept, so a
refused call changes nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.errors import ParameterError
from featx.store._chunks import read_any
from featx.store._edits import append_rows, change_rows, keep_rows, remove_rows
from featx.store._layout import (
    column_name,
    create_table,
    decode,
    digest_text,
    feature_crcs,
    write_attribute,
)
from featx.store._records import Records, check_columns, check_features
from featx.store._transaction import PatchedFile
from featx.store.tables import TableInfo

__all__ = ["RowInfo", "TableWriter"]

WRITTEN_AT_ONCE = 8 * 2**20  # bytes of vectors, which are copied once more for it


class RowInfo(NamedTuple):
    """What a table remembers of one image.

    Parameters
    ----------
    row : int
        Its row.
    digest : str
        SHA-256 of the image's content, 64 hexadecimal digits; "" where not known.
    size_bytes, mtime_ns : int
        Size and modification time of the file when it was read.
    label : str
        "" where there is none.
    """

    row: int
    digest: str
    size_bytes: int
    mtime_ns: int
    label: str


class TableWriter:
    """Append to and update one table; made by `StoreWriter.table`.

    Parameters
    ----------
    info : TableInfo
        The table as it is, or as it is to be made.
    committed : callable
        Returns the table's group in the last committed state, None before its first commit, and
        what HDF5 reads it through.

    Attributes
    ----------
    recipe : Recipe or None
        What the features are made with.
    n_features, dtype
        Width of a row, and "float32" or "float16".
    has_labels : bool
        Whether any image has a label.
    made_with : dict
        JSON-serialisable; see `TableInfo`.
    """

    def __init__(self, info: TableInfo, committed: Callable[[], tuple[Any, PatchedFile]]) -> None:
        self.key, self.recipe = info.key, info.recipe
        self.n_features, self.dtype = info.n_features, info.dtype
        self._open_committed = committed
        self._new: list[Records] = []
        self._starts: list[int] = []  # the row of each one's first
        self._changes: dict[int, dict[str, Any]] = {}
        self._removed: set[int] = set()
        records = self._committed()
        self._n_committed = len(records)
        self._name_rows([decode(path) for path in records["path"].tolist()])
        self.has_labels = info.has_labels or bool(records["label"].any())
        self.made_with = dict(info.made_with)
        is_new = committed()[0] is None
        self._noted = None if is_new else (info.has_labels, info.made_with)

    @property
    def paths(self) -> tuple[str, ...]:
        """Path of each row, those not yet committed included."""
        return tuple(self._paths)

    @property
    def n_samples(self) -> int:
        """Number of rows, those not yet committed included."""
        return len(self._paths)

    @property
    def row_bytes(self) -> int:
        """Size of a vector."""
        return self.n_features * np.dtype(self.dtype).itemsize

    @property
    def n_added(self) -> int:
        """Number of rows that the next commit adds."""
        return self.n_samples - self._n_committed

    @property
    def n_pending(self) -> int:
        """Number of rows that the next commit adds, changes or removes."""
        return self.n_added + len(self._changes) + len(self._removed)

    @property
    def is_pending(self) -> bool:
        """Whether the next commit changes anything of the table, or makes it."""
        return bool(self.n_pending) or self._noted != (self.has_labels, self.made_with)

    def rows_by_path(self) -> dict[str, RowInfo]:
        """Return what is remembered of each image, by path.

        Costs about 0.5 s and 50 MB for 100,000 rows.
        """
        rows: list[RowInfo] = []
        for start, records in self._all_records():
            columns = (
                digest_text(records["digest"]).tolist(),
                records["size_bytes"].tolist(),
                records["mtime_ns"].tolist(),
                [decode(label) for label in records["label"].tolist()],
            )
            numbers = range(start, start + len(records))
            rows.extend(map(RowInfo._make, zip(numbers, *columns, strict=True)))
        return dict(zip(self._paths, rows, strict=True))

    def metadata(self) -> dict[str, list[str]]:
        """Return the further columns, one value for each row."""
        parts = [records for _, records in self._all_records()]
        names = dict.fromkeys(name for part in parts for name in part.metadata)
        return {
            column_name(name): [
                decode(v) for part in parts for v in part.columns.get(name, [b""] * len(part))
            ]
            for name in names
        }

    def row_of(self, path: str) -> int | None:
        """Return the row of an image, one not yet committed included; None if it has none."""
        return self._row_of.get(path)

    def rows_by_digest(self) -> dict[str, list[int]]:
        """Return the rows of each known image content, ascending, by digest."""
        found: dict[str, list[int]] = {}
        for start, records in self._all_records():
            for row, digest in enumerate(digest_text(records["digest"]).tolist(), start):
                if digest:
                    found.setdefault(digest, []).append(row)
        return found

    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Return the features of `rows`, in their order, pending ones included.

        Returns
        -------
        ndarray of shape (len(rows), n_features)
        """
        numbers = self._check_rows(rows)
        out = np.empty((len(numbers), self.n_features), self.dtype)
        old = numbers < self._n_committed
        if old.any():
            out[old] = read_any(self._open_committed()[0]["features"], numbers[old])
        for i, row in enumerate(numbers.tolist()):
            if row >= self._n_committed:
                records, place = self._new_row(row)
                out[i] = records["features"][place]
            elif "features" in self._changes.get(row, {}):
                out[i] = self._changes[row]["features"]
        return out

    def append(
        self,
        paths: Sequence[str],
        features: ArrayLike,
        *,
        digests: Sequence[str],
        sizes: Sequence[int],
        mtimes: Sequence[int],
        labels: Sequence[str] | None = None,
        metadata: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Add rows at the end, to be written by the next commit.

        Parameters
        ----------
        paths : sequence of str
            None of which may be in the table.
        features : array_like of shape (n_samples, n_features)
            Finite; stored in the recipe's dtype.
        digests : sequence of str
            SHA-256 of each image's content, 64 hexadecimal digits, or "" where not known.
        sizes, mtimes : sequence of int
            Size in bytes and modification time in ns of each file.
        labels : sequence of str, optional
            Absent ones are "".
        metadata : dict of str to sequence of str, optional
            Further columns. Rows that have no value for a column hold "".

        Raises
        ------
        ParameterError
            If a path is there already or comes twice, a shape does not fit, or a value is not
            finite. Nothing of the call is kept then.
        """
        stored = check_features(features, paths, self.n_features, self.dtype)
        columns = check_columns(
            len(paths),
            metadata,
            path=paths,
            digest=digests,
            size_bytes=sizes,
            mtime_ns=mtimes,
            label=labels,
        )
        self._require_new(paths, free=frozenset())
        if not len(paths):
            return
        columns |= {"features": stored, "features_crc": feature_crcs(stored)}
        self._new.append(Records(len(paths), columns))
        self._starts.append(self.n_samples)
        self._row_of.update((path, row) for row, path in enumerate(paths, self.n_samples))
        self._paths.extend(paths)
        self.has_labels |= labels is not None

    def update(
        self,
        rows: int | Sequence[int],
        *,
        features: ArrayLike | None = None,
        paths: Sequence[str] | None = None,
        digests: Sequence[str] | None = None,
        sizes: Sequence[int] | None = None,
        mtimes: Sequence[int] | None = None,
        labels: Sequence[str] | None = None,
        metadata: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Replace what is given of some rows: an image that changed, moved or got another label.

        Parameters
        ----------
        rows : int or sequence of int
            Each at most once. All else is as for `append`; what is left out stays.

        Raises
        ------
        ParameterError
            As for `append`, or if a row is not in the table.
        """
        numbers = self._check_rows(rows)
        if len(np.unique(numbers)) != len(numbers):
            raise ParameterError(f"rows: got {numbers.tolist()}, expected each row once")
        columns = check_columns(
            len(numbers),
            metadata,
            path=paths,
            digest=digests,
            size_bytes=sizes,
            mtime_ns=mtimes,
            label=labels,
        )
        if features is not None:
            names = [self._paths[row] for row in numbers] if paths is None else list(paths)
            stored = check_features(features, names, self.n_features, self.dtype)
            columns |= {"features": stored, "features_crc": feature_crcs(stored)}
        if paths is not None:
            self._require_new(paths, free=frozenset(self._paths[row] for row in numbers))
            self._rename(numbers.tolist(), paths)
        for i, row in enumerate(numbers.tolist()):
            values = {name: column[i] for name, column in columns.items()}
            if row < self._n_committed:
                self._changes.setdefault(row, {}).update(values)
            else:
                records, place = self._new_row(row)
                records.change(place, values)
        self.has_labels |= labels is not None

    def remove(self, rows: int | Sequence[int]) -> None:
        """Remove rows with the next commit; until then they are there, and keep their numbers.

        Afterwards others have other numbers: `rows_by_path` and `row_of` tell.

        Raises
        ------
        ParameterError
            If a row is not in the table.
        """
        self._removed.update(self._check_rows(rows).tolist())

    def apply(self, tables: Any, file: PatchedFile) -> None:
        """Write what is pending into its group among those that HDF5 has open in `file`.

        `settle` follows once it is durable.
        """
        if self.key not in tables:
            create_table(tables, self.key, self.recipe, self.n_features, self.dtype)
        group = tables[self.key]
        if self._changes:
            change_rows(group, file, self._changes)
        for records in self._join_small():
            append_rows(group, records)
        if self._removed:
            remove_rows(group, file, np.array(sorted(self._removed), np.int64))
        if self._noted != (self.has_labels, self.made_with):
            group.attrs["has_labels"] = self.has_labels
            write_attribute(group, "made_with", json.dumps(self.made_with, sort_keys=True))

    def settle(self) -> None:
        """Forget what was pending: it is committed."""
        if self._removed:
            removed = np.array(sorted(self._removed), np.int64)
            kept = keep_rows(self.n_samples, removed, self.row_bytes)
            self._name_rows([self._paths[row] for row in kept.tolist()])
        self._new, self._starts, self._changes, self._removed = [], [], {}, set()
        self._n_committed = self.n_samples
        self._noted = (self.has_labels, dict(self.made_with))

    def _join_small(self) -> Iterator[Records]:
        """Join small batches of new rows: HDF5 takes as long for a row as for a thousand."""
        parts: list[Records] = []
        n_bytes = 0
        for i, records in enumerate(self._new, 1):
            parts.append(records)
            n_bytes += records["features"].nbytes
            if n_bytes >= WRITTEN_AT_ONCE or i == len(self._new):
                yield parts[0] if len(parts) == 1 else Records.join(parts)
                parts, n_bytes = [], 0

    def _name_rows(self, paths: list[str]) -> None:
        self._paths = paths
        self._row_of = {path: row for row, path in enumerate(paths)}

    def _rename(self, rows: Sequence[int], paths: Sequence[str]) -> None:
        for row in rows:
            del self._row_of[self._paths[row]]
        for row, path in zip(rows, paths, strict=True):
            self._row_of[path] = row
            self._paths[row] = path

    def _require_new(self, paths: Sequence[str], *, free: frozenset[str]) -> None:
        seen: set[str] = set()
        for path in paths:
            taken = path in self._row_of and path not in free
            if taken or path in seen:
                where = (
                    f"as row {self._row_of[path]} of the table" if taken else "earlier in paths"
                )
                raise ParameterError(
                    f"path {path!r}: got it twice (it is there {where}), expected each path once; "
                    "use update for an image that changed"
                )
            seen.add(path)

    def _check_rows(self, rows: Any) -> NDArray[np.int64]:
        numbers = np.atleast_1d(np.asarray(rows, np.int64))
        bad = numbers[(numbers < 0) | (numbers >= self.n_samples)]
        if len(bad):
            raise ParameterError(
                f"rows: got {int(bad[0])}, expected numbers from 0 to {self.n_samples - 1}"
            )
        return numbers

    def _new_row(self, row: int) -> tuple[Records, int]:
        """Return the batch that a new row is in, and its place there."""
        number = bisect_right(self._starts, row) - 1
        return self._new[number], row - self._starts[number]

    def _committed(self) -> Records:
        group, file = self._open_committed()
        if group is None:
            return Records()
        return Records.read(group, file, slice(group["features"].shape[0]))

    def _all_records(self) -> list[tuple[int, Records]]:
        """Return the rows as they will be after the commit, as (first row, records)."""
        committed = self._committed()
        for row, values in self._changes.items():
            committed.change(row, {k: v for k, v in values.items() if k != "features"})
        return [(0, committed), *zip(self._starts, self._new, strict=True)]
