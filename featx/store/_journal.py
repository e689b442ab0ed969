"""The journal: what a commit changes below the committed end of a store.

A commit writes these changes to ``F.h5.journal`` before it makes them in ``F.h5``. Whoever finds
a complete journal makes them again, any number of times, with the same result; a journal that
was cut short never passes its checksum and is discarded. A journal names the state it starts
from and the one it leads to by the `commit_id` at a known place of the store, so that one left
beside another file (a restored backup, a store of the same name) is never applied to it.

Format: ``featxjnl``, version, the fields of `_HEAD`, the two ids, then per range its offset,
length and bytes, and at the end the SHA-256 of all that. Little endian.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from featx.files.atomic import open_regular
from featx.store import _disk

__all__ = ["ID_BYTES", "Journal", "apply_journal", "journal_path", "read_journal"]

MAGIC = b"featxjnl"
VERSION = 1
ID_BYTES = 32
_HEAD = struct.Struct("<8sIIQQQ")  # magic, version, n_ranges, old_eof, new_eof, id_offset
_RANGE = struct.Struct("<QQ")  # offset, length
_DIGEST_BYTES = 32
_SPARE_BYTES = 2**20
# Nothing is there, or a link, a folder, a pipe or a device.
_NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EINVAL)


@dataclass(frozen=True)
class Journal:
    """Changes from one committed state of a store to the next.

    Parameters
    ----------
    old_eof, new_eof : int
        Committed size of the store before and after, in bytes.
    id_offset : int
        Where in the store the commit id stands.
    old_id, new_id : bytes
        32 bytes each.
    ranges : tuple of (int, bytes)
        Offset and new content; in rising order, without overlap.
    """

    old_eof: int
    new_eof: int
    id_offset: int
    old_id: bytes
    new_id: bytes
    ranges: tuple[tuple[int, bytes | bytearray], ...]

    def to_bytes(self) -> bytes:
        """Serialise, checksum included."""
        head = _HEAD.pack(
            MAGIC, VERSION, len(self.ranges), self.old_eof, self.new_eof, self.id_offset
        )
        parts: list[bytes | bytearray] = [head, self.old_id, self.new_id]
        for offset, data in self.ranges:
            parts += [_RANGE.pack(offset, len(data)), data]
        body = b"".join(parts)
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Journal | None:
        """Read what `to_bytes` wrote; None where it is incomplete or damaged.

        A journal from a stranger may have a fitting checksum and still say anything: one whose
        ranges are not all there, in order and within the store is none either.
        """
        body, digest = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
        if len(body) < _HEAD.size or hashlib.sha256(body).digest() != digest:
            return None
        magic, version, n_ranges, old_eof, new_eof, id_offset = _HEAD.unpack_from(body)
        if magic != MAGIC or version != VERSION:
            return None
        at = _HEAD.size + 2 * ID_BYTES
        old_id, new_id = body[at - 2 * ID_BYTES : at - ID_BYTES], body[at - ID_BYTES : at]
        ranges, end = [], 0
        for _ in range(n_ranges):
            if at + _RANGE.size > len(body):
                return None
            offset, length = _RANGE.unpack_from(body, at)
            at += _RANGE.size + length
            if at > len(body) or not end <= offset <= new_eof - length:
                return None
            end = offset + length
            ranges.append((offset, body[at - length : at]))
        if at != len(body):
            return None
        return cls(old_eof, new_eof, id_offset, old_id, new_id, tuple(ranges))

    def belongs_to(self, file: FileIO) -> bool:
        """Say whether `file` is in the old state, in the new one, or between the two.

        Between: a write may stop anywhere, so each byte of the id may be of either. What lies
        behind the old end was on the medium before the journal was.
        """
        size = os.fstat(file.fileno()).st_size
        if size < self.new_eof or self.id_offset > size:
            return False
        found = bytearray(ID_BYTES)
        if _disk.read_at(file, self.id_offset, memoryview(found)) < ID_BYTES:
            return False
        return all(
            byte in (a, b) for byte, a, b in zip(found, self.old_id, self.new_id, strict=True)
        )


def journal_path(store: Path) -> Path:
    """Return ``F.h5.journal`` for ``F.h5``."""
    return store.with_name(f"{store.name}.journal")


def read_journal(store: Path, file: FileIO) -> Journal | None:
    """Return the journal that is to be applied to an open store, if there is one."""
    try:
        with open_regular(journal_path(store), follow=False) as kept:
            # It holds pages of the store: a larger file is none, and may not fit into memory.
            n_bytes, n_stored = (os.fstat(f.fileno()).st_size for f in (kept, file))
            raw = kept.readall() if n_bytes <= 2 * n_stored + _SPARE_BYTES else b""
    except OSError as err:
        if err.errno in _NOT_OURS:
            return None
        raise
    journal = Journal.from_bytes(raw)
    return journal if journal is not None and journal.belongs_to(file) else None


def apply_journal(journal: Journal, file: FileIO) -> None:
    """Make the changes and wait until they are on the medium. May be repeated."""
    for offset, data in journal.ranges:
        _disk.write_at(file, offset, data)
    _disk.resize(file, journal.new_eof)
    _disk.sync(file)
