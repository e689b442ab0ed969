"""The file itself: is it there, is it ours, how long is it, is a commit unfinished.

Everything that opens a store comes through here, so that whatever is wrong with a file is one
`FileFormatError` that names it.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import uuid
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import h5py
import numpy as np

from featx.errors import FileFormatError, StoreWriteError
from featx.files.formats import STORE
from featx.files.hdf5 import LIBVER, require_format, write_format
from featx.files.locks import require_named
from featx.files.remote import plain_path
from featx.store import _disk
from featx.store._journal import ID_BYTES, apply_journal, journal_path, read_journal
from featx.store._layout import FAILURES, create_columns, write_attribute
from featx.store._transaction import PatchedFile

__all__ = [
    "HEAD_BYTES",
    "Opened",
    "create_container",
    "id_offset",
    "new_commit_id",
    "open_for_reading",
    "read_head",
    "recover",
    "require_untouched",
    "store_path",
]

_SUPERBLOCK = struct.Struct("<8sBBBBQQQQI")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# The commit id is written when the file is made, so it stands near its start.
HEAD_BYTES = 65536


@dataclass(frozen=True)
class Opened:
    """A store open for reading.

    Parameters
    ----------
    raw : FileIO
        The file on disk.
    file : PatchedFile
        What HDF5 reads it through.
    h5 : h5py.File
        What HDF5 sees of it.
    id : bytes
        Id of the commit that it was opened after.
    head : bytes
        What `read_head` gave before anything else was read.
    has_journal : bool
        Whether the commit is in the file only as far as its journal, applied in memory, says.
    """

    raw: FileIO
    file: PatchedFile
    h5: h5py.File
    id: bytes
    head: bytes
    has_journal: bool

    def close(self) -> None:
        """Close both."""
        with contextlib.suppress(Exception):  # a damaged file may refuse even that
            self.h5.close()
        self.raw.close()

    def is_current(self) -> bool:
        """Say whether the file on disk still stands at the commit that was opened."""
        with contextlib.suppress(OSError):  # which the caller has met already
            return read_head(self.raw) == self.head
        return True

    def is_settled(self, path: Path) -> bool:
        """Say whether it is current, and no later commit is on its way into the file."""
        # In this order: the journal goes only when the new id stands in the file.
        is_quiet = self.has_journal or not os.path.lexists(journal_path(path))
        return is_quiet and self.is_current()


def new_commit_id() -> bytes:
    """Return 32 random hexadecimal digits."""
    return uuid.uuid4().hex.encode()


def create_container(path: Path, creator: str) -> None:
    """Make an empty store, under its name only once it is complete on the medium."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=LIBVER) as h5:
        write_format(h5, STORE)
        write_attribute(h5, "creator", creator)
        h5.attrs["commit_id"] = np.bytes_(new_commit_id())
        # All that the root group will ever hold, so that its header, and the id in it, stay put.
        h5.create_group("tables")
        create_columns(h5.create_group("failures"), FAILURES)
    beside = path.with_name(f".{path.name}.new")
    with _disk.open_file(beside, "wb") as file:
        _disk.write_at(file, 0, memory.getvalue())
        _disk.sync(file)
    _disk.remove(journal_path(path))  # of a store that is gone
    _disk.rename(beside, path)
    _disk.sync_folder(path.parent)


def recover(path: Path, file: FileIO) -> int:
    """Finish or forget an interrupted commit; return the committed size in bytes.

    The caller holds the lock.
    """
    journal = read_journal(path, file)
    if journal is not None:
        # A killed writer may have left it complete, but on its way to the medium.
        with _disk.open_file(journal_path(path), "r+b") as kept:
            _disk.sync(kept)
        _disk.sync_folder(path.parent)
        apply_journal(journal, file)
    if os.path.lexists(journal_path(path)):
        _disk.remove(journal_path(path))
    size, eof = os.fstat(file.fileno()).st_size, _read_stated_size(path, file)
    if eof is None:
        raise StoreWriteError(
            f"store {str(path)!r}: another tool rewrote it in a way that featx reads but does not "
            "append to; expected the HDF5 1.10 layout that featx writes: export what you need "
            "(featx export) and extract into a new file"
        )
    if size > eof:
        _disk.resize(file, eof)
    return eof


def open_for_reading(path: Path) -> Opened:
    """Open a store in its last committed state.

    Raises
    ------
    MissingFileError, FileFormatError
    """
    with STORE.opening(path):
        raw = _disk.open_file(path, "rb")
    try:
        with STORE.reading(path):
            head = read_head(raw)
            # Applied in memory only: a reader that took the lock to write would keep a writer out.
            journal = read_journal(path, raw)
            if journal is None:
                _read_stated_size(path, raw)
            file = PatchedFile.with_journal(raw, journal)
            h5 = h5py.File(file, "r")
        try:
            require_format(h5, STORE, path)
            with STORE.reading(path, "attribute 'commit_id'"):
                commit_id = bytes(h5.attrs["commit_id"])
            if journal is None:
                _require_one_state(path, raw, head, commit_id)
        except BaseException:
            h5.close()
            raise
    except BaseException:
        raw.close()
        raise
    return Opened(raw, file, h5, commit_id, head, journal is not None)


def id_offset(path: Path, file: FileIO, commit_id: bytes) -> int:
    """Return where the commit id stands in the file."""
    found = read_head(file).find(commit_id)
    if found < 0 or len(commit_id) != ID_BYTES:
        raise StoreWriteError(
            f"store {str(path)!r}: its commit id {commit_id!r} is not within the first "
            f"{HEAD_BYTES} bytes, where featx writes it; another tool rewrote the file: export "
            "what you need (featx export) and extract into a new file"
        )
    return found


def read_head(file: FileIO) -> bytes:
    """Return the first bytes of the file, among them the id of the last commit."""
    head = bytearray(HEAD_BYTES)
    n = _disk.read_at(file, 0, memoryview(head))
    return bytes(head[:n])


def require_untouched(
    path: Path, file: FileIO, eof: int, id_offset: int, commit_id: bytes
) -> None:
    """Refuse to go on writing what is no longer as the last commit left it.

    Raises
    ------
    StoreWriteError
        If the path names another file, or somebody else has written to this one.
    """
    require_named(path, file)
    found = bytearray(ID_BYTES)
    _disk.read_at(file, id_offset, memoryview(found))
    if found != commit_id or os.fstat(file.fileno()).st_size < eof:
        raise StoreWriteError(
            f"store {str(path)!r}: something else has written to it while it was open for writing "
            "(another machine, a backup that was restored); it is left as it is: run again"
        )


def store_path(path: str | os.PathLike[str]) -> Path:
    """Return the file itself: the lock and the journal of a link stand by its target.

    Raises
    ------
    FileFormatError
        If no file can have such a name.
    """
    given = Path(plain_path(os.fspath(path)))
    try:
        if "\0" in str(given):
            raise ValueError("embedded null byte")  # noqa: TRY301 - which some calls pass over
        is_link = given.is_symlink()
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise FileFormatError(
            f"store {str(path)!r:.200}: {reason}, expected the name of a file"
        ) from err
    if not given.name:
        raise FileFormatError(f"store {str(path)!r}: is a folder, expected the name of a file")
    return Path(os.path.realpath(given)) if is_link else given


def _read_stated_size(path: Path, file: FileIO) -> int | None:
    """Return the size that HDF5 recorded; None in a layout that featx does not write.

    Raises
    ------
    FileFormatError
        If the file is not HDF5, or shorter than recorded.
    """
    head = bytearray(_SUPERBLOCK.size)
    n = _disk.read_at(file, 0, memoryview(head))
    if not head.startswith(_SIGNATURE):
        found = "an empty file" if n == 0 else f"one that starts with {bytes(head[:8])!r}"
        raise FileFormatError(
            f"store {str(path)!r}: expected an HDF5 file, found {found}; give the path of a store "
            "made by featx extract"
        )
    _, version, n_offset, n_length, _, base, _, eof, _, _ = _SUPERBLOCK.unpack(head)
    if version != 3 or (n_offset, n_length, base) != (8, 8, 0):
        return None
    size = os.fstat(file.fileno()).st_size
    if size < eof:
        raise FileFormatError(
            f"store {str(path)!r}: got {size} bytes, expected {eof}; it was cut short, perhaps "
            "while it was copied: copy it again, or extract into a new file"
        )
    return int(eof)


def _require_one_state(path: Path, file: FileIO, head: bytes, commit_id: bytes) -> None:
    """Refuse what was read while a commit came in: the size of before, and the rest of after.

    `head` was read before anything else. Another tool may have moved the id out of it; then there
    is no commit.
    """
    if commit_id not in head and read_head(file) != head:
        raise FileFormatError(
            f"store {str(path)!r}: a commit came in while it was being opened, and what was read "
            "is of two states; open it again"
        )
