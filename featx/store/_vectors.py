"""Vectors read from where their chunks lie in the file, each checked against its checksum.

HDF5 tells where the chunks are; the bytes come from the file straight into the result. HDF5's own
reading copies each twice, sums up a Fletcher-32 over whole chunks, and needs a whole chunk for one
row. A layout that featx does not write (compressed, say, by another tool) is left to HDF5, and
checked in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError
from featx.store._crc import feature_crcs
from featx.store._patched import PatchedFile
from featx.store._rows import chunk_addresses, chunk_blocks, read_any, read_run

__all__ = ["Vectors"]


class Vectors:
    """The features of one table in one open state of a store.

    Parameters
    ----------
    group : h5py.Group
        The table.
    file : PatchedFile
        What HDF5 reads it through.
    crcs : ndarray of shape (n_samples,), uint32
        What `features_crc` said of the rows that may be asked for.
    """

    def __init__(self, group: Any, file: PatchedFile, crcs: NDArray[np.uint32]) -> None:
        self._group, self._file, self._crcs = group, file, crcs
        self._dataset = group["features"]
        self._width = self._dataset.shape[1]
        self._dtype = self._dataset.dtype
        self._chunk_rows: int = self._dataset.chunks[0] if self._dataset.chunks else 0
        self._row_bytes = self._width * self._dtype.itemsize
        addresses = chunk_addresses(self._dataset, self._row_bytes)
        is_whole = addresses is not None and (addresses >= 0).all()
        self._addresses = addresses if is_whole else None

    def run(self, start: int, stop: int) -> NDArray[Any]:
        """Read rows `start` to `stop`.

        Raises
        ------
        FileFormatError
            If a row does not fit its checksum; the message names it.
        """
        if self._addresses is None:
            out = read_run(self._dataset, start, stop)
            self._check(out, slice(start, stop))
            return out
        out = np.empty((stop - start, self._width), self._dtype)
        flat = out.view(np.uint8).reshape(-1).data
        size = self._row_bytes
        for a, b in chunk_blocks(start, stop, self._chunk_rows):
            chunk, within = divmod(a, self._chunk_rows)
            view = flat[(a - start) * size : (b - start) * size]
            self._file.read_at(int(self._addresses[chunk]) + within * size, view)
            self._check(out[a - start : b - start], slice(a, b))  # while it is in the cache
        return out

    def rows(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read `rows`, in their order, repeats included; see `run`."""
        if self._addresses is None:
            out = read_any(self._dataset, rows)
            self._check(out, rows)
            return out
        out = np.empty((len(rows), self._width), self._dtype)
        flat, size = out.view(np.uint8).reshape(-1).data, self._row_bytes
        chunk, within = np.divmod(rows, self._chunk_rows)
        offsets = self._addresses[chunk] + within * size
        # In the order of the file; neighbours that stand side by side in the result are one read.
        order = np.argsort(rows, kind="stable")
        is_first = np.ones(len(rows), bool)
        is_first[1:] = (np.diff(order) != 1) | (np.diff(offsets[order]) != size)
        first = np.flatnonzero(is_first)
        lengths = np.diff(first, append=len(rows)) * size
        places, offsets = order[first] * size, offsets[order[first]]
        for place, n, at in zip(places.tolist(), lengths.tolist(), offsets.tolist(), strict=True):
            self._file.read_at(at, flat[place : place + n])
        self._check(out, rows)
        return out

    def _check(self, found: NDArray[Any], rows: slice | NDArray[np.int64]) -> None:
        fits = feature_crcs(found) == self._crcs[rows]
        if not fits.all():
            row = np.arange(len(self._crcs))[rows][~fits][0]
            raise FileFormatError(
                f"table {self._group.name.split('/')[-1]!r}: the vector of row {row} does not fit "
                "its checksum; the file is damaged there: run featx verify, and extract into a "
                "new file"
            )
