"""Text read from HDF5's global heaps past HDF5, which loops for ever where one is damaged.

HDF5 has no checksum there: a flipped byte may make free space 0 bytes long, and HDF5 2.0 then
stands still. Here each step moves on within the heap's bytes, or is refused. Whether the text is
right, `row_crc` says. The layout is that of "HDF5 File Format Specification", III.E.
"""

from __future__ import annotations

import struct
from typing import Any

import h5py
import numpy as np

from featx.errors import FileFormatError
from featx.store._patched import PatchedFile
from featx.store._rows import chunk_addresses, chunk_blocks

__all__ = ["read_text"]

_ELEMENT = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size in bytes with this
# Index, size in bytes without this header; the bytes follow, filled up to a multiple of 8.
_OBJECT = struct.Struct("<H6xQ")
# A heap is 4 KiB, or as large as its one large text: a damaged size is not to fill the memory.
_SLACK_BYTES = 16 * 1024 * 1024


def read_text(dataset: Any, file: PatchedFile, start: int, stop: int) -> list[bytes]:
    """Read rows `start` to `stop` of a text dataset that HDF5 reads through `file`.

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
    addresses = chunk_addresses(dataset, _ELEMENT.itemsize)
    if addresses is None or kind.length is not None:
        return list(dataset[start:stop])  # of another tool
    elements = np.zeros(stop - start, _ELEMENT)
    flat, size = elements.view(np.uint8).data, _ELEMENT.itemsize
    chunk_rows = dataset.chunks[0]
    for a, b in chunk_blocks(start, stop, chunk_rows):
        chunk, within = divmod(a, chunk_rows)
        if addresses[chunk] >= 0:  # else nothing was ever written there: empty text
            view = flat[(a - start) * size : (b - start) * size]
            file.read_at(int(addresses[chunk]) + within * size, view)
    heaps: dict[int, dict[int, bytes]] = {}
    texts = []
    for length, address, index in elements.tolist():
        if not length:
            texts.append(b"")
            continue
        if address not in heaps:
            heaps[address] = _read_heap(file, address, length)
        text = heaps[address].get(index, b"")
        if len(text) < length:
            raise _damaged(address)
        texts.append(text[:length])
    return texts


def _read_heap(file: PatchedFile, address: int, length: int) -> dict[int, bytes]:
    """Return the objects of a heap by index; one of them should have `length` bytes."""
    head = bytearray(_HEAP.size)
    n = file.read_at(address, memoryview(head))
    signature, version, size = _HEAP.unpack(head)
    is_heap = n == _HEAP.size and (signature, version) == (b"GCOL", 1)
    if not is_heap or not _HEAP.size <= size <= 2 * length + _SLACK_BYTES:
        raise _damaged(address)
    buffer = bytearray(size)
    if file.read_at(address, memoryview(buffer)) < size:
        raise _damaged(address)
    raw, objects, at = bytes(buffer), {}, _HEAP.size
    while size - at >= _OBJECT.size:
        index, n = _OBJECT.unpack_from(raw, at)
        if index == 0:  # free space, up to the end
            if at + n != size:
                raise _damaged(address)
            break
        at += _OBJECT.size
        if n > size - at:
            raise _damaged(address)
        objects[index] = raw[at : at + n]
        at += -(-n // 8) * 8
    return objects


def _damaged(address: int) -> FileFormatError:
    return FileFormatError(
        f"the heap of texts at byte {address} is damaged: run featx verify, and extract into a "
        "new file"
    )
