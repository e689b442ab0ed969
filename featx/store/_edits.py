"""Rows added to, changed in and removed from a table, in a group that HDF5 has open for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.store._chunks import read_any
from featx.store._layout import datasets, grow, require_dataset, write_rows
from featx.store._records import Records
from featx.store._transaction import PatchedFile

__all__ = ["REMOVED_AT_ONCE", "append_rows", "change_rows", "keep_rows", "remove_rows"]

# Bytes of vectors that one commit moves: they are held in memory, and go through the journal.
REMOVED_AT_ONCE = 64 * 2**20


def append_rows(group: Any, records: Records) -> None:
    """Add rows at the end of every dataset."""
    for name in records.metadata:
        require_dataset(group, name)
    columns = {**records.columns, "row_crc": records.crcs()}
    for name, dataset in datasets(group):
        grow(dataset, columns.get(name, np.full(len(records), b"", object)))


def change_rows(group: Any, file: PatchedFile, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Replace values of rows, given by their numbers and the names of the datasets.

    Raises
    ------
    FileFormatError
        If the table is damaged.
    """
    rows = np.array(sorted(changes), np.int64)
    values = [changes[row] for row in rows.tolist()]
    records = Records.read(group, file, slice(group["features"].shape[0])).take(rows)
    names = set[str]().union(*values) - {"features"}
    for i, given in enumerate(values):
        records.change(i, {name: given[name] for name in names & given.keys()})
    for name in names:
        write_rows(require_dataset(group, name), rows, records[name])
    write_rows(group["row_crc"], rows, records.crcs())
    vectors = {i: given["features"] for i, given in enumerate(values) if "features" in given}
    if vectors:
        write_rows(group["features"], rows[list(vectors)], np.stack(list(vectors.values())))


def keep_rows(n: int, removed: NDArray[np.int64], row_bytes: int) -> NDArray[np.int64]:
    """Return which row stands at each place once others were removed.

    Rows keep their order where what follows the first that goes is small enough to be moved up in
    one commit. In a larger table rows from its end take the places that become free, so that the
    cost is that of the rows that go and not of the table: a nightly run that finds one image gone
    must not write 5 GB.

    Parameters
    ----------
    n : int
        Rows so far.
    removed : ndarray of int64
        Those that go, each once.
    row_bytes : int
        Size of a vector.

    Examples
    --------
    >>> keep_rows(6, np.array([1, 2]), row_bytes=4).tolist()
    [0, 3, 4, 5]
    >>> keep_rows(6, np.array([1, 2]), row_bytes=2**30).tolist()
    [0, 4, 5, 3]
    """
    kept = np.setdiff1d(np.arange(n), removed)
    first = int(removed.min(initial=n))
    if (n - first) * row_bytes <= REMOVED_AT_ONCE:
        return kept
    n_left = len(kept)
    places = np.arange(n_left)
    places[removed[removed < n_left]] = kept[kept >= n_left]
    return places


def remove_rows(group: Any, file: PatchedFile, removed: NDArray[np.int64]) -> None:
    """Remove rows of a group that HDF5 has open in `file`.

    Raises
    ------
    FileFormatError
        If a row that has to move is damaged.
    """
    group.file.flush()  # text is read past HDF5
    features = group["features"]
    n = features.shape[0]
    kept = keep_rows(n, removed, features.shape[1] * features.dtype.itemsize)
    to = np.flatnonzero(kept != np.arange(len(kept)))
    records = Records.read(group, file, slice(n)).take(kept[to])
    columns = {
        **records.columns,
        "features": read_any(features, kept[to]),
        "row_crc": records.crcs(),
    }
    for name, dataset in datasets(group):
        if len(to):
            write_rows(dataset, to, columns[name])
        dataset.resize(len(kept), axis=0)
