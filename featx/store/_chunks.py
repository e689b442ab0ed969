"""Read rows past HDF5: vectors and text from where their chunks lie in the file.

HDF5 tells where the chunks are; the bytes come from the file straight into the result. HDF5's own
reading copies each vector twice, sums up a Fletcher-32 over whole chunks, and needs a whole chunk
for one row. Of text it has no checksum at all: a flipped byte may make free space in a heap 0
bytes long, and HDF5 2.0 then stands still. A layout that featx does not write (compressed, say, by
another tool) is left to HDF5, and its vectors are checked in the same way.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, NoReturn

import h5py
import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError
from featx.files.formats import STORE
from featx.store._layout import feature_crcs
from featx.store._transaction import PatchedFile

__all__ = ["Vectors", "chunk_blocks", "read_any", "read_run", "read_text", "read_unchecked"]

# Of variable-length text, as "HDF5 File Format Specification", III.E has it.
_ELEMENT = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size in bytes with this
# Index, size in bytes without this header; the bytes follow, filled up to a multiple of 8.
_OBJECT = struct.Struct("<H6xQ")
# A heap is 4 KiB, or as large as its one large text: a damaged size is not to fill the memory.
_SLACK_BYTES = 16 * 1024 * 1024
_ADVICE = f"the file is damaged: {STORE.remedy}"


def read_run(dataset: Any, start: int, stop: int) -> NDArray[Any]:
    """Read rows `start` to `stop` through HDF5.

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
    """Read `rows` through HDF5, in their order, repeats included.

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


def read_unchecked(dataset: Any, file: PatchedFile) -> NDArray[Any]:
    """Read all rows past HDF5: of checksums, which tell by themselves whether they fit."""
    size = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
    addresses = _chunk_addresses(dataset, size)
    if addresses is None or not (addresses >= 0).all():
        return read_run(dataset, 0, len(dataset))
    out = np.empty(dataset.shape, dataset.dtype)
    flat, chunk_rows = out.view(np.uint8).reshape(-1).data, dataset.chunks[0]
    for address, start in zip(addresses.tolist(), range(0, len(out), chunk_rows), strict=True):
        file.read_at(address, flat[start * size : (start + chunk_rows) * size])
    return out


def read_text(dataset: Any, file: PatchedFile, start: int, stop: int) -> NDArray[np.object_]:
    """Read rows `start` to `stop` of a text dataset that HDF5 reads through `file`, as bytes.

    Each step moves on within a heap's bytes, or is refused. Whether the text is right, `row_crc`
    says.

    Raises
    ------
    FileFormatError
        If a heap is damaged; not where only its text is.
    """
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None:
        raise FileFormatError(
            f"dataset {dataset.name!r}: holds {dataset.dtype}, expected text; the file is damaged"
        )
    addresses = _chunk_addresses(dataset, _ELEMENT.itemsize)
    texts = np.empty(stop - start, object)
    if addresses is None or kind.length is not None:
        texts[:] = list(dataset[start:stop])  # of another tool
        return texts
    elements = np.zeros(stop - start, _ELEMENT)
    flat, size = elements.view(np.uint8).data, _ELEMENT.itemsize
    chunk_rows = dataset.chunks[0]
    for a, b in chunk_blocks(start, stop, chunk_rows):
        if addresses[a // chunk_rows] >= 0:  # else nothing was ever written there: empty text
            at = int(addresses[a // chunk_rows]) + a % chunk_rows * size
            file.read_at(at, flat[(a - start) * size : (b - start) * size])
    heaps: dict[int, dict[int, bytes]] = {}
    found = []
    for length, address, index in elements.tolist():
        if not length:
            found.append(b"")
            continue
        if address not in heaps:
            heaps[address] = _read_heap(file, address, length)
        text = heaps[address].get(index, b"")
        if len(text) < length:
            raise _make_heap_error(address)
        found.append(text[:length])
    texts[:] = found
    return texts


def _read_heap(file: PatchedFile, address: int, length: int) -> dict[int, bytes]:
    """Return the objects of a heap by index; one of them should have `length` bytes."""
    head = bytearray(_HEAP.size)
    n = file.read_at(address, memoryview(head))
    signature, version, size = _HEAP.unpack(head)
    is_heap = n == _HEAP.size and (signature, version) == (b"GCOL", 1)
    if not is_heap or not _HEAP.size <= size <= 2 * length + _SLACK_BYTES:
        raise _make_heap_error(address)
    buffer = bytearray(size)
    if file.read_at(address, memoryview(buffer)) < size:
        raise _make_heap_error(address)
    raw, objects, at = bytes(buffer), {}, _HEAP.size
    while size - at >= _OBJECT.size:
        index, n = _OBJECT.unpack_from(raw, at)
        if index == 0:  # free space, up to the end
            if at + n != size:
                raise _make_heap_error(address)
            break
        at += _OBJECT.size
        if n > size - at:
            raise _make_heap_error(address)
        objects[index] = raw[at : at + n]
        at += -(-n // 8) * 8
    return objects


def _make_heap_error(address: int) -> FileFormatError:
    return FileFormatError(f"the heap of texts at byte {address} is damaged: {STORE.remedy}")


class Vectors:
    """The features of one table in one open state of a store, each checked when it is read.

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
        self._width, self._dtype = self._dataset.shape[1], self._dataset.dtype
        self._chunk_rows: int = self._dataset.chunks[0] if self._dataset.chunks else 0
        self._row_bytes = self._width * self._dtype.itemsize
        addresses = _chunk_addresses(self._dataset, self._row_bytes)
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
        flat, size = out.view(np.uint8).reshape(-1).data, self._row_bytes
        for a, b in chunk_blocks(start, stop, self._chunk_rows):
            at = int(self._addresses[a // self._chunk_rows]) + a % self._chunk_rows * size
            self._file.read_at(at, flat[(a - start) * size : (b - start) * size])
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
                f"its checksum; {_ADVICE}"
            )


def chunk_blocks(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield (a, b) that cover `start` to `stop`, cut at multiples of `step`."""
    while start < stop:
        end = min(stop, (start // step + 1) * step)
        yield start, end
        start = end


def _chunk_addresses(dataset: Any, row_bytes: int) -> NDArray[np.int64] | None:
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


def _raise_for_chunk(dataset: Any, start: int, stop: int, cause: Exception) -> NoReturn:
    """Find the first chunk that fails and name its rows."""
    for a, b in chunk_blocks(start, stop, dataset.chunks[0]):
        try:
            dataset[a:b]
        except (OSError, RuntimeError) as err:
            last = min((a // dataset.chunks[0] + 1) * dataset.chunks[0], dataset.shape[0]) - 1
            raise FileFormatError(
                f"table {dataset.name.split('/')[-2]!r}: rows {a - a % dataset.chunks[0]}..{last} "
                f"do not fit their checksum; {_ADVICE}"
            ) from err
    raise cause
