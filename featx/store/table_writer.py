"""Rows on their way into one table.

What is appended or updated waits in memory until the store's writer commits; reads see it at
once. Each call is checked as a whole before anything of it is kept, so a refused call changes
nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.errors import ParameterError
from featx.recipe import Recipe
from featx.store._batch import check_features, check_records
from featx.store._crc import feature_crcs
from featx.store._patched import PatchedFile
from featx.store._pending import Batch, Change, join_batches, merge
from featx.store._records import NUMERIC, Records, digest_text
from featx.store._removal import kept_rows, remove_rows
from featx.store._rows import read_any
from featx.store._schema import append_rows, as_rows, replace_text, write_rows
from featx.store._text import decode

__all__ = ["KnownRow", "TableWriter"]


class KnownRow(NamedTuple):
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
    recipe : Recipe or None
        What the features are made with.
    n_features : int
        Width of a row.
    dtype : str
        "float32" or "float16".
    committed : callable
        Returns the table's group in the last committed state, None before its first commit, and
        what HDF5 reads it through.
    """

    def __init__(
        self,
        recipe: Recipe | None,
        n_features: int,
        *,
        dtype: str,
        committed: Callable[[], tuple[Any, PatchedFile]],
    ) -> None:
        self.recipe, self.n_features, self.dtype = recipe, n_features, dtype
        self._open_committed = committed
        self._batches: list[Batch] = []
        self._changes: dict[int, Change] = {}
        self._removed: set[int] = set()
        records = self._committed()
        self._n_committed = len(records)
        self._paths = [decode(path) for path in records.path]
        self._row_of = {path: row for row, path in enumerate(self._paths)}
        self.has_labels = any(records.label)

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

    def known(self) -> dict[str, KnownRow]:
        """Return what is remembered of each image, by path.

        Costs about 0.5 s and 50 MB for 100,000 rows.
        """
        rows: list[KnownRow] = []
        for start, records in self._all_records():
            columns = (
                digest_text(records.numbers["digest"]).tolist(),
                records.numbers["size_bytes"].tolist(),
                records.numbers["mtime_ns"].tolist(),
                [decode(label) for label in records.label],
            )
            numbers = range(start, start + len(records))
            rows.extend(map(KnownRow._make, zip(numbers, *columns, strict=True)))
        return dict(zip(self._paths, rows, strict=True))

    def metadata(self) -> dict[str, list[str]]:
        """Return the further columns, one value a row."""
        joined = Records.joined([records for _, records in self._all_records()])
        return {name: [decode(v) for v in values] for name, values in joined.metadata.items()}

    def row_of(self, path: str) -> int | None:
        """Return the row of an image, one not yet committed included; None if it has none."""
        return self._row_of.get(path)

    def rows_by_digest(self) -> dict[str, list[int]]:
        """Return the rows of each known image content, ascending, by digest."""
        found: dict[str, list[int]] = {}
        for start, records in self._all_records():
            for row, digest in enumerate(digest_text(records.numbers["digest"]).tolist(), start):
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
                batch = self._batch_of(row)
                out[i] = batch.features[row - batch.start]
            elif row in self._changes and self._changes[row].features is not None:
                out[i] = self._changes[row].features
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
        records, _ = check_records(
            len(paths),
            paths=paths,
            digests=digests,
            sizes=sizes,
            mtimes=mtimes,
            labels=labels,
            metadata=metadata,
        )
        self._require_new(paths, free=frozenset())
        if not len(paths):
            return
        records.numbers["features_crc"] = feature_crcs(stored)
        self._batches.append(Batch(self.n_samples, records, stored))
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
        records, given = check_records(
            len(numbers),
            paths=paths,
            digests=digests,
            sizes=sizes,
            mtimes=mtimes,
            labels=labels,
            metadata=metadata,
        )
        stored = None
        if features is not None:
            names = [self._paths[row] for row in numbers] if paths is None else list(paths)
            stored = check_features(features, names, self.n_features, self.dtype)
            records.numbers["features_crc"] = feature_crcs(stored)
            given |= {"features_crc"}
        if paths is not None:
            self._require_new(paths, free=frozenset(self._paths[row] for row in numbers))
            self._rename(numbers.tolist(), paths)
        for i, row in enumerate(numbers.tolist()):
            self._change(row, records.take([i]), given, None if stored is None else stored[i])
        self.has_labels |= labels is not None

    def remove(self, rows: int | Sequence[int]) -> None:
        """Remove rows with the next commit; until then they are there, and keep their numbers.

        Afterwards others have other numbers: `known` and `row_of` tell.

        Raises
        ------
        ParameterError
            If a row is not in the table.
        """
        self._removed.update(self._check_rows(rows).tolist())

    def apply(self, group: Any, file: PatchedFile) -> None:
        """Write what is pending into a group that HDF5 has open in `file`.

        `settle` follows once it is durable.
        """
        if self._changes:
            self._write_changes(group, file)
        for batch in join_batches(self._batches):
            append_rows(group, batch.records, batch.features)
        if self._removed:
            remove_rows(group, file, np.array(sorted(self._removed), np.int64))

    def settle(self) -> None:
        """Forget what was pending: it is committed."""
        if self._removed:
            removed = np.array(sorted(self._removed), np.int64)
            kept = kept_rows(self.n_samples, removed, self.row_bytes)
            self._paths = [self._paths[row] for row in kept.tolist()]
            self._row_of = {path: row for row, path in enumerate(self._paths)}
        self._batches, self._changes, self._removed = [], {}, set()
        self._n_committed = self.n_samples

    def _write_changes(self, group: Any, file: PatchedFile) -> None:
        rows = np.array(sorted(self._changes), np.int64)
        changes = [self._changes[row] for row in rows.tolist()]
        records = Records.read_checked(group, file, 0, self._n_committed).take(rows.tolist())
        for i, change in enumerate(changes):
            merge(records, i, change)
        for name in set[str]().union(*(change.fields for change in changes)):
            if name.startswith("metadata "):
                column = name.removeprefix("metadata ")
                replace_text(group, column, rows, records.metadata[column])
            else:
                values = records.numbers[name] if name in NUMERIC else getattr(records, name)
                write_rows(group[name], rows, values)
        write_rows(group["row_crc"], rows, records.crcs())
        new = [i for i, change in enumerate(changes) if change.features is not None]
        if new:
            vectors = [np.asarray(changes[i].features) for i in new]
            write_rows(group["features"], rows[new], np.stack(vectors))

    def _change(
        self, row: int, record: Records, fields: frozenset[str], features: NDArray[Any] | None
    ) -> None:
        if row >= self._n_committed:
            batch = self._batch_of(row)
            merge(batch.records, row - batch.start, Change(record, set(fields)))
            if features is not None:
                batch.features[row - batch.start] = features
            return
        change = self._changes.setdefault(row, Change())
        merge(change.record, 0, Change(record, set(fields)))
        change.fields |= fields
        change.features = change.features if features is None else features

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
        numbers = as_rows(rows)
        bad = numbers[(numbers < 0) | (numbers >= self.n_samples)]
        if len(bad):
            raise ParameterError(
                f"rows: got {int(bad[0])}, expected numbers from 0 to {self.n_samples - 1}"
            )
        return numbers

    def _batch_of(self, row: int) -> Batch:
        return self._batches[bisect_right(self._batches, row, key=lambda b: b.start) - 1]

    def _committed(self) -> Records:
        group, file = self._open_committed()
        if group is None:
            return Records()
        return Records.read_checked(group, file, 0, group["features"].shape[0])

    def _all_records(self) -> list[tuple[int, Records]]:
        """Return the rows as they will be after the commit, as (first row, records)."""
        committed = self._committed()
        for row, change in self._changes.items():
            merge(committed, row, change)
        return [(0, committed), *((batch.start, batch.records) for batch in self._batches)]
