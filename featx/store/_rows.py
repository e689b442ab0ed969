"""Read vectors: a run of rows, or any rows in any order, with one read for each chunk touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError

__all__ = ["chunk_addresses", "chunk_blocks", "read_any", "read_run"]


def read_run(dataset: Any, start: int, stop: int) -> NDArray[Any]:
    """Read rows `start` to `stop`.

    Raises
    ------
    FileFormatError
        If a chunk does not fit its checksum; the message names its rows.
    """
    try:
        block: NDArray[Any] = dataset[start:stop]
    except (OSError, RuntimeError) as err:
        _raise_for_chunk(dataset, start, stop, err)
    return block


def read_any(dataset: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read `rows`, in their order, repeats included.

    h5py's own fancy indexing costs time per row and wants them sorted; this costs one read for
    each chunk that holds any of them. Holds the result and one chunk.
    """
    out = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    chunk = ordered // dataset.chunks[0]
    breaks = np.flatnonzero(np.diff(chunk)) + 1
    for places, group in zip(np.split(order, breaks), np.split(ordered, breaks), strict=True):
        if len(group):
            block = read_run(dataset, int(group[0]), int(group[-1]) + 1)
            out[places] = block[group - group[0]]
    return out


def chunk_addresses(dataset: Any, row_bytes: int) -> NDArray[np.int64] | None:
    """Return where in the file the rows of each chunk begin, -1 where nothing was written.

    None in a layout that featx does not write, where a chunk's bytes are not its rows', each of
    `row_bytes`.
    """
    filters = dataset.id.get_create_plist()
    codes = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
    if (
        not dataset.chunks
        or dataset.chunks[1:] != dataset.shape[1:]
        or codes not in ([], [h5py.h5z.FILTER_FLETCHER32])  # which stands behind the rows
        or dataset.file.userblock_size
        or not hasattr(dataset.id, "chunk_iter")  # HDF5 before 1.12.3
    ):
        return None
    chunk_rows = dataset.chunks[0]
    addresses = np.full(-(-dataset.shape[0] // chunk_rows), -1)
    sizes = set()

    def note(chunk: Any) -> None:
        number = chunk.chunk_offset[0] // chunk_rows
        sizes.add(chunk.size - chunk_rows * row_bytes)
        if number < len(addresses):
            addresses[number] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    return addresses if sizes <= {0, 4} else None


def chunk_blocks(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield (a, b) that cover `start` to `stop`, cut at multiples of `step`."""
    while start < stop:
        end = min(stop, (start // step + 1) * step)
        yield start, end
        start = end


def _raise_for_chunk(dataset: Any, start: int, stop: int, cause: Exception) -> None:
    """Find the first chunk that fails and name its rows."""
    for a, b in chunk_blocks(start, stop, dataset.chunks[0]):
        try:
            dataset[a:b]
        except (OSError, RuntimeError) as err:
            last = min((a // dataset.chunks[0] + 1) * dataset.chunks[0], dataset.shape[0]) - 1
            raise FileFormatError(
                f"table {dataset.name.split('/')[-2]!r}: rows {a - a % dataset.chunks[0]}..{last} "
                "do not fit their checksum; the file is damaged there: run featx verify, and "
                "extract into a new file"
            ) from err
    raise cause
