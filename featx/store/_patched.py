"""A file that HDF5 reads through, with pages in memory that take precedence over the disk.

h5py hands HDF5 any Python file object. Readers use one for two reasons: a complete journal
beside the store can be applied in memory where the medium is read-only, and two openings of one
store in one process stay independent (HDF5 shares the state of files that it opens itself, so a
second opening would still show the first one's row count).
"""

from __future__ import annotations

import io
import os
from io import FileIO

from featx.store import _disk
from featx.store._journal import Journal

__all__ = ["PAGE_BYTES", "PatchedFile"]

PAGE_BYTES = 4096


class PatchedFile(io.RawIOBase):
    """Read a file as if its pages in `pages` had been written.

    Parameters
    ----------
    file : FileIO
        Stays open when this is closed.
    size_bytes : int
        Where the file ends, as far as the reader is concerned.
    """

    def __init__(self, file: FileIO, size_bytes: int) -> None:
        self._file, self._eof, self._position = file, size_bytes, 0
        self._pages: dict[int, bytearray] = {}

    @classmethod
    def with_journal(cls, file: FileIO, journal: Journal | None) -> PatchedFile:
        """Show the state after `journal` without writing it."""
        if journal is None:
            return cls(file, os.fstat(file.fileno()).st_size)
        patched = cls(file, journal.new_eof)
        for offset, data in journal.ranges:
            for start in range(0, len(data), PAGE_BYTES):
                page = bytearray(data[start : start + PAGE_BYTES])
                patched._pages[(offset + start) // PAGE_BYTES] = page
        return patched

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move within the patched file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._eof}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` from the position on, as far as the file goes."""
        length = self.read_at(self._position, memoryview(buffer).cast("B"))
        self._position += length
        return length

    def read_at(self, offset: int, view: memoryview) -> int:
        """Fill `view` from `offset` on, as far as the file goes; the position stays."""
        length = max(0, min(len(view), self._eof - offset))
        view = view[:length]
        got = _disk.read_at(self._file, offset, view)
        if got < length:
            view[got:] = bytes(length - got)
        if self._pages:
            self._patch(offset, view)
        return length

    def _patch(self, start: int, view: memoryview) -> None:
        stop = start + len(view)
        for number in range(start // PAGE_BYTES, -(-stop // PAGE_BYTES)):
            page = self._pages.get(number)
            if page is None:
                continue
            first = number * PAGE_BYTES
            low, high = max(first, start), min(first + len(page), stop)
            if low < high:
                view[low - start : high - start] = page[low - first : high - first]
