"""Take rows out of a committed table, in place.

Rows keep their order where what follows the first that goes is small enough to be moved up in one
commit. In a larger table rows from its end take the places that become free, so that the cost is
that of the rows that go and not of the table: a nightly run that finds one image gone must not
write 5 GB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.store._patched import PatchedFile
from featx.store._records import NUMERIC, Records
from featx.store._rows import read_any
from featx.store._schema import write_rows
from featx.store._text import column_name

__all__ = ["REMOVED_AT_ONCE", "kept_rows", "remove_rows"]

# Bytes of vectors that one commit moves: they are held in memory, and go through the journal.
REMOVED_AT_ONCE = 64 * 2**20


def kept_rows(n: int, removed: NDArray[np.int64], row_bytes: int) -> NDArray[np.int64]:
    """Return which row stands at each place afterwards.

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
    >>> kept_rows(6, np.array([1, 2]), row_bytes=4).tolist()
    [0, 3, 4, 5]
    >>> kept_rows(6, np.array([1, 2]), row_bytes=2**30).tolist()
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
    kept = kept_rows(n, removed, features.shape[1] * features.dtype.itemsize)
    to = np.flatnonzero(kept != np.arange(len(kept)))
    source = kept[to]
    records = Records.read_checked(group, file, 0, n).take(source.tolist())
    columns: dict[str, Any] = {
        "features": read_any(features, source),
        "path": records.path,
        "label": records.label,
        "row_crc": records.crcs(),
        **{name: records.numbers[name] for name in NUMERIC},
    }
    datasets = {name: group[name] for name in columns}
    for name, dataset in group["metadata"].items():
        key = f"metadata/{name}"
        datasets[key], columns[key] = dataset, records.metadata[column_name(name)]
    for key, dataset in datasets.items():
        if len(to):
            write_rows(dataset, to, columns[key])
        dataset.resize(len(kept), axis=0)
