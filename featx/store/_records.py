"""The rows of a table without their vectors, and the checksums that tie both together.

`features_crc` is the CRC-32 of a row's vector as stored. `row_crc` is the CRC-32 of everything
else of the row and of `features_crc`, so that no text, digest or vector can change, and no
vector can come to stand beside another image's path, without a checksum that disagrees. HDF5
guards numbers with a checksum of its own (Fletcher-32 for each chunk) but not text, so whoever
reads text checks `row_crc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError
from featx.store._crc import crc32
from featx.store._heap import read_text
from featx.store._patched import PatchedFile
from featx.store._text import column_name, dataset_name

__all__ = ["NUMERIC", "UNKNOWN_DIGEST", "Records", "digest_bytes", "digest_text"]

# Besides text; the order and the little-endian types are those that row_crc is taken over.
NUMERIC: dict[str, tuple[str, tuple[int, ...]]] = {
    "digest": ("u1", (32,)),
    "size_bytes": ("<i8", ()),
    "mtime_ns": ("<i8", ()),
    "features_crc": ("<u4", ()),
}
_TAIL = np.dtype([(name, kind, shape) for name, (kind, shape) in NUMERIC.items()])
UNKNOWN_DIGEST = bytes(32)


@dataclass
class Records:
    """Some rows of a table, column by column.

    Parameters
    ----------
    path, label : list of bytes
        UTF-8; a label that is absent is empty.
    metadata : dict of str to list of bytes
        By column name; what a row has no value for is empty.
    numbers : structured ndarray of shape (n,)
        `digest`, `size_bytes`, `mtime_ns`, `features_crc`.
    """

    path: list[bytes] = field(default_factory=list)
    label: list[bytes] = field(default_factory=list)
    metadata: dict[str, list[bytes]] = field(default_factory=dict)
    numbers: NDArray[Any] = field(default_factory=lambda: np.zeros(0, _TAIL))

    def __len__(self) -> int:
        return len(self.path)

    @classmethod
    def empty(cls, n: int) -> Records:
        """Return `n` rows of nothing."""
        return cls([b""] * n, [b""] * n, {}, np.zeros(n, _TAIL))

    @classmethod
    def read(cls, group: Any, file: PatchedFile, start: int, stop: int) -> Records:
        """Read rows `start` to `stop` of a table's group, which HDF5 reads through `file`."""
        numbers = np.zeros(stop - start, _TAIL)
        for name in NUMERIC:
            numbers[name] = group[name][start:stop]
        metadata = {
            column_name(name): read_text(dataset, file, start, stop)
            for name, dataset in group["metadata"].items()
        }
        path, label = (read_text(group[name], file, start, stop) for name in ("path", "label"))
        return cls(path, label, metadata, numbers)

    @classmethod
    def read_checked(
        cls,
        group: Any,
        file: PatchedFile,
        start: int,
        stop: int,
        crcs: NDArray[np.uint32] | None = None,
    ) -> Records:
        """Read, and refuse rows that do not fit their checksum: the stored one, or of `crcs`.

        Raises
        ------
        FileFormatError
            Naming the first such row.
        """
        records = cls.read(group, file, start, stop)
        expected = group["row_crc"][start:stop] if crcs is None else crcs
        bad = np.flatnonzero(records.crcs() != expected)
        if len(bad):
            raise FileFormatError(
                f"table {group.name.split('/')[-1]!r}: {len(bad)} rows do not fit their checksum, "
                f"first row {start + int(bad[0])}; the file is damaged there: run featx verify, "
                "and extract into a new file"
            )
        return records

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """Return the rows of all parts; where a part lacks a metadata column, it is empty."""
        names = dict.fromkeys(name for part in parts for name in part.metadata)
        return cls(
            [path for part in parts for path in part.path],
            [label for part in parts for label in part.label],
            {
                name: [
                    value for part in parts for value in part.metadata.get(name, [b""] * len(part))
                ]
                for name in names
            },
            np.concatenate([part.numbers for part in parts]),
        )

    def take(self, rows: Sequence[int]) -> Records:
        """Return some of the rows."""
        return Records(
            [self.path[i] for i in rows],
            [self.label[i] for i in rows],
            {name: [column[i] for i in rows] for name, column in self.metadata.items()},
            self.numbers[list(rows)],
        )

    def crcs(self) -> NDArray[np.uint32]:
        """Return `row_crc` of each row.

        A metadata value counts only where it is not empty, so that a column that comes later
        leaves the checksums of earlier rows alone.
        """
        texts = zip(self.path, self.label, self._extra(), strict=True)
        heads = (crc32(b"%b\0%b\0%b" % row) for row in texts)
        tails = self.numbers.view(f"V{_TAIL.itemsize}").tolist()
        return np.fromiter(map(crc32, tails, heads), np.uint32, len(self))

    def _extra(self) -> list[bytes]:
        names = sorted(self.metadata)
        if not names:
            return [b""] * len(self)
        keys = [dataset_name(name).encode() for name in names]
        rows = zip(*(self.metadata[name] for name in names), strict=True)
        return [
            b"".join(b"%b\0%b\0" % pair for pair in zip(keys, row, strict=True) if pair[1])
            for row in rows
        ]


def digest_bytes(digest: str) -> bytes:
    """Return the 32 bytes of 64 hexadecimal digits; the empty digest is 32 zero bytes."""
    return bytes.fromhex(digest) if digest else UNKNOWN_DIGEST


def digest_text(digests: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Return (n, 32) bytes as n texts of 64 hexadecimal digits; zeros are "" (not known)."""
    flat = np.frombuffer(digests.tobytes().hex().encode(), "S64").astype("U64")
    flat[~digests.any(axis=1)] = ""
    return flat
