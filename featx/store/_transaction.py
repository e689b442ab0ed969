"""The files that HDF5 reads and writes through: all that it writes is visible at once or never.

h5py hands HDF5 any Python file object. Readers use one for two reasons: a complete journal
beside the store can be applied in memory where the medium is read-only, and two openings of one
store in one process stay independent (HDF5 shares the state of files that it opens itself, so a
second opening would still show the first one's row count).

HDF5 writes where it likes. Above the committed end of the file nothing refers to the bytes yet,
so they go straight to the disk; below it they stay in memory as pages. `commit` then, in this
order,

1. waits until the new tail is on the medium,
2. writes the pages to the journal and waits for it (from here on the commit has happened),
3. writes the pages into the file, waits, and removes the journal.

A crash in 1 or 2 leaves the old state with bytes behind its end that nobody reads; one in 3
leaves a journal that the next writer applies. An error in 1 or 2, such as a full disk, cuts the
tail off. HDF5 itself is never shown a write error: it could neither finish nor close a file
after one. What cannot be written is kept in memory until HDF5 has closed the file, then thrown
away.
"""

from __future__ import annotations

import errno
import io
import os
from io import FileIO
from pathlib import Path

from featx.files.locks import require_named
from featx.store import _disk
from featx.store._journal import ID_BYTES, Journal, apply_journal, journal_path

__all__ = ["AppliedLaterError", "PatchedFile", "TransactionFile"]

PAGE_BYTES = 4096
# So much of a new tail at a time is sent on its way to the medium while the rest is being written.
HASTEN_BYTES = 8 * 1024 * 1024


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


class AppliedLaterError(OSError):
    """The commit stands in the journal, but could not be written into the file."""


class TransactionFile(PatchedFile):
    """A file for `h5py.File` whose changes wait for `commit`.

    Parameters
    ----------
    path : Path
        The store.
    file : FileIO
        The store, open for reading and writing.
    committed_eof : int
        Committed size in bytes; what stands behind it is overwritten.

    Attributes
    ----------
    is_durable : bool
        Whether the commit has happened, so that nothing may undo it.

    Notes
    -----
    Memory: the changed pages below `committed_eof`. An append changes the last chunk of each
    column and HDF5's own records, about 0.5 MiB per table.
    """

    def __init__(self, path: Path, file: FileIO, committed_eof: int) -> None:
        super().__init__(file, committed_eof)
        self._path, self._committed_eof = path, committed_eof
        self._error: OSError | None = None
        self.is_durable = self._is_over = False
        self._hastened = committed_eof

    def writable(self) -> bool:
        """Return True."""
        return True

    def flush(self) -> None:
        """Do nothing: only `commit` makes anything durable."""

    def write(self, data: bytes | memoryview, /) -> int:  # type: ignore[override]
        """Keep what lies below the committed end; write the rest behind it."""
        view = memoryview(data).cast("B")
        if self._is_over:  # HDF5 could not close the file and tries again later
            return len(view)
        start, stop = self._position, self._position + len(view)
        kept = len(view) if self._error else max(0, min(stop, self._committed_eof) - start)
        if kept < len(view):
            try:
                _disk.write_at(self._file, start + kept, view[kept:])
                self._hasten(stop)
            except OSError as err:
                self._fail(err)
                kept = len(view)
        self._keep(start, view[:kept])
        self._position = stop
        self._eof = max(self._eof, stop)
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size that the file will have."""
        self._eof = self._position if size is None else size
        if not self._error and not self._is_over:
            try:
                _disk.resize(self._file, max(self._eof, self._committed_eof))
            except OSError as err:
                self._fail(err)
        return self._eof

    @property
    def new_eof(self) -> int:
        """Size of the file once this is committed."""
        return self._eof

    def commit(self, id_offset: int, old_id: bytes, new_id: bytes) -> None:
        """Make the transaction durable.

        Parameters
        ----------
        id_offset : int
            Where the commit id stands, before and after.
        old_id, new_id : bytes
            The committed one, and the one that this transaction has written.

        Raises
        ------
        AppliedLaterError
            If it is durable, but only in the journal; the file must be opened anew.
        OSError
            If it could not be made durable; the file is as before.
        """
        journal = self._prepare(id_offset, old_id, new_id)
        self.is_durable = self._is_over = True
        try:
            apply_journal(journal, self._file)
            _disk.remove(journal_path(self._path))
        except OSError as err:
            raise AppliedLaterError(*err.args) from err

    def rollback(self) -> None:
        """Forget everything since the last commit; only while the path names this file.

        The tail goes only once the journal is gone for good: a journal that a power cut brought
        back would else refer to bytes that are no longer there.

        Raises
        ------
        OSError
            If the disk refuses. Nothing is lost by it, but the file must be opened anew.
        """
        self._is_over = True
        journal = journal_path(self._path)
        if os.path.lexists(journal):
            _disk.remove(journal)
            _disk.sync_folder(journal.parent)
        _disk.resize(self._file, self._committed_eof)

    def _prepare(self, id_offset: int, old_id: bytes, new_id: bytes) -> Journal:
        """Do steps 1 and 2; return the journal."""
        if self._error:
            raise self._error
        written = bytearray(ID_BYTES)
        self.seek(id_offset)
        self.readinto(written)
        if written != new_id:
            raise OSError(
                errno.EIO, f"commit id at {id_offset} is {bytes(written)!r}, not {new_id!r}"
            )
        _disk.sync(self._file)
        require_named(self._path, self._file)  # else the journal would lie beside another file
        journal = Journal(
            self._committed_eof, self._eof, id_offset, old_id, new_id, self._ranges()
        )
        target = journal_path(self._path)
        with _disk.open_file(target, "wb") as file:
            _disk.write_at(file, 0, journal.to_bytes())
            _disk.sync(file)
        _disk.sync_folder(target.parent)
        return journal

    def _hasten(self, stop: int) -> None:
        if stop - self._hastened >= HASTEN_BYTES:
            _disk.start_writing(self._file, self._hastened, stop - self._hastened)
            self._hastened = stop

    def _keep(self, start: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            number, within = divmod(start + done, PAGE_BYTES)
            page = self._page(number)
            part = view[done : done + len(page) - within]
            page[within : within + len(part)] = part
            done += len(part)

    def _page(self, number: int) -> bytearray:
        page = self._pages.get(number)
        if page is None:
            first = number * PAGE_BYTES
            limit = first + PAGE_BYTES if self._error else self._committed_eof
            page = bytearray(min(PAGE_BYTES, limit - first))
            _disk.read_at(self._file, first, memoryview(page))
            self._pages[number] = page
        return page

    def _fail(self, error: OSError) -> None:
        """From here on keep every write in memory, so that HDF5 can close the file in peace."""
        self._error = error
        number, within = divmod(self._committed_eof, PAGE_BYTES)
        page = self._pages.get(number)
        if page is not None and within:
            rest = bytearray(PAGE_BYTES - within)
            _disk.read_at(self._file, self._committed_eof, memoryview(rest))
            page += rest

    def _ranges(self) -> tuple[tuple[int, bytearray], ...]:
        """Return the changed pages as runs, clipped to the new end."""
        runs: list[tuple[int, bytearray]] = []
        for number in sorted(self._pages):
            first = number * PAGE_BYTES
            page = self._pages[number][: max(0, self._eof - first)]
            if runs and runs[-1][0] + len(runs[-1][1]) == first:
                runs[-1][1].extend(page)
            elif page:
                runs.append((first, page))
        return tuple(runs)
