"""The rows of a table, column by column: checked, joined, changed, and their checksums.

`features_crc` is the CRC-32 of a row's vector as stored. `row_crc` is the CRC-32 of everything
else of the row and of `features_crc`, so that no text, digest or vector can change, and no
vector can come to stand beside another image's path, without a checksum that disagrees. Whoever
reads text checks `row_crc`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.errors import FileFormatError, ParameterError
from featx.files.formats import STORE
from featx.store._chunks import read_text
from featx.store._layout import (
    FEATURES,
    Layout,
    column_name,
    crc32,
    dataset_name,
    encode,
    encode_all,
    metadata_names,
)
from featx.store._transaction import PatchedFile

__all__ = [
    "Columns",
    "Records",
    "check_columns",
    "check_digest",
    "check_digests",
    "check_features",
]

Columns = dict[str, NDArray[Any]]
"""Values by the name of the dataset that they belong to, of which text is bytes in UTF-8."""

DIGEST_BYTES = 32


@dataclass
class Records:
    """Some rows of a table.

    Parameters
    ----------
    n : int
        How many.
    columns : dict of str to ndarray
        Each of `layout`, which are empty and 0 where they are not given; columns of metadata that
        any row has a value for; and of rows that are to be written, the features.
    layout : Layout
        What every row has.
    """

    n: int = 0
    columns: Columns = field(default_factory=dict)
    layout: Layout = FEATURES

    def __post_init__(self) -> None:
        for name in self.layout.texts:
            self._require(name)
        for name, (kind, shape) in self.layout.numbers.items():
            self.columns.setdefault(name, np.zeros((self.n, *shape), kind))

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    @property
    def metadata(self) -> list[str]:
        """Names of the further columns, as their datasets are called."""
        return [name for name in self.columns if name.startswith("metadata/")]

    @classmethod
    def read(
        cls,
        group: Any,
        file: PatchedFile,
        rows: slice,
        crcs: NDArray[np.uint32] | None = None,
        layout: Layout = FEATURES,
    ) -> Records:
        """Read rows of a group, and refuse those that do not fit their checksums.

        Parameters
        ----------
        group : h5py.Group
            The table.
        file : PatchedFile
            What HDF5 reads it through.
        rows : slice
            From where, 0 if None, to where.
        crcs : ndarray of uint32, optional
            What the checksums of `rows` were. Default: those in the table.
        layout : Layout
            The table's.

        Raises
        ------
        FileFormatError
            Naming the first row that does not fit.
        """
        start, stop = rows.start or 0, rows.stop
        columns = {
            name: read_text(group[name], file, start, stop)
            for name in (*layout.texts, *metadata_names(group))
        }
        records = cls(stop - start, columns, layout)
        for name in layout.numbers:
            records[name][:] = group[name][start:stop]
        expected = group["row_crc"][start:stop] if crcs is None else crcs
        bad = np.flatnonzero(records.crcs() != expected)
        if len(bad):
            raise FileFormatError(
                f"table {group.name.split('/')[-1]!r}: {len(bad)} rows do not fit their checksum, "
                f"first row {start + int(bad[0])}; the file is damaged: {STORE.remedy}"
            )
        return records

    @classmethod
    def join(cls, parts: Sequence[Records]) -> Records:
        """Return the rows of all parts; where a part lacks a metadata column, it is empty."""
        names = dict.fromkeys(name for part in parts for name in part.columns)
        return cls(
            sum(map(len, parts)),
            {
                name: np.concatenate(
                    [part.columns.get(name, _empty_texts(len(part))) for part in parts]
                )
                for name in names
            },
        )

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Records:
        """Return some of the rows."""
        places = np.asarray(rows, np.int64)
        return Records(len(places), {name: v[places] for name, v in self.columns.items()})

    def change(self, row: int, values: Mapping[str, Any]) -> None:
        """Set some columns of one row."""
        for name, value in values.items():
            self._require(name)[row] = value

    def crcs(self) -> NDArray[np.uint32]:
        """Return `row_crc` of each row.

        A metadata value counts only where it is not empty, so that a column that comes later
        leaves the checksums of earlier rows alone.
        """
        first, second = self.layout.texts
        texts = zip(self[first].tolist(), self[second].tolist(), self._extra(), strict=True)
        heads = (crc32(b"%b\0%b\0%b" % row) for row in texts)
        numbers = np.empty(self.n, self.layout.dtype)
        for name in self.layout.numbers:
            numbers[name] = self[name]
        tails = numbers.view(f"V{numbers.itemsize}").tolist()
        return np.fromiter(map(crc32, tails, heads), np.uint32, self.n)

    def _require(self, name: str) -> NDArray[Any]:
        """Return a column; one of text may be new, and is empty then."""
        if name not in self.columns:
            self.columns[name] = _empty_texts(self.n)
        return self.columns[name]

    def _extra(self) -> list[bytes]:
        """Return the metadata of each row as `row_crc` is taken over it."""
        parts = []
        for name in sorted(self.metadata, key=column_name):
            key = b"%b\0" % name.removeprefix("metadata/").encode()
            parts.append([b"%b%b\0" % (key, v) if v else b"" for v in self[name].tolist()])
        return list(map(b"".join, zip(*parts, strict=True))) if parts else [b""] * self.n


def _empty_texts(n: int) -> NDArray[np.object_]:
    return np.full(n, b"", object)


def check_features(
    features: ArrayLike, paths: Sequence[str], n_features: int, dtype: str
) -> NDArray[Any]:
    """Return the vectors in the type that the table stores.

    Raises
    ------
    ParameterError
        If the shape does not fit, or a value is not finite: a network that gives NaN has gone
        wrong, and every later step would carry it on.
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.shape[1] != n_features:
        raise ParameterError(
            f"features: got shape {array.shape}, expected (n_samples, {n_features}), the width of "
            "the table; pass the vectors of this table's recipe"
        )
    if len(array) != len(paths):
        raise ParameterError(
            f"features: got {len(array)} rows for {len(paths)} paths, expected as many"
        )
    if array.dtype.kind not in "fiu":
        raise ParameterError(f"features: got dtype {array.dtype}, expected real numbers")
    with np.errstate(over="ignore"):
        stored = np.array(array, np.dtype(dtype).newbyteorder("<"), order="C")
    if not _is_finite(stored):
        row = int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
        column = int(np.flatnonzero(~np.isfinite(stored[row]))[0])
        raise ParameterError(
            f"features of {paths[row]!r}: got {array[row, column]!s} at position {column}, "
            f"expected finite numbers within {dtype}; look at the image and at the precision"
        )
    return stored


def _is_finite(stored: NDArray[Any]) -> bool:
    if stored.dtype.itemsize == 2:  # NumPy takes each half to a float first, which takes long
        return not ((stored.view("<u2") & 0x7C00) == 0x7C00).any()
    return bool(np.isfinite(stored).all())


def check_columns(
    n: int, metadata: Mapping[str, Sequence[str]] | None, **given: Sequence[Any] | None
) -> Columns:
    """Return what is given of `n` rows, by the names of the datasets.

    Raises
    ------
    ParameterError
        If a column has another number of values, or a value is none that a store can hold.
    """
    metadata = metadata or {}
    further = {f"metadata {name}": values for name, values in metadata.items()}
    for name, values in {**given, **further}.items():
        if values is not None and len(values) != n:
            raise ParameterError(
                f"{name}: got {len(values)} values for {n} rows, expected as many"
            )
    columns: Columns = {}
    for name, values in given.items():
        if values is not None and name in FEATURES.texts:
            columns[name] = encode_all(values, name)
        elif values is not None and name == "digest":
            columns[name] = check_digests(values)
        elif values is not None:
            columns[name] = np.array(values, FEATURES.numbers[name][0])
    for name, values in metadata.items():
        _check_name(name)
        columns[dataset_name(name)] = encode_all(values, f"metadata {name!r} of row")
    return columns


def _check_name(column: str) -> None:
    """Refuse what HDF5 takes for no name; a value may hold any byte but NUL."""
    if column == "":
        raise ParameterError("metadata: got a column named '', expected a name")
    raw = encode(column, "metadata column")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ParameterError(
            f"metadata column: got {column!r}, expected a name that UTF-8 can hold; rename it"
        ) from None


def check_digests(digests: Sequence[str]) -> NDArray[np.uint8]:
    if not any(digests):
        return np.zeros((len(digests), DIGEST_BYTES), np.uint8)
    raw = bytearray(b"".join(map(check_digest, digests)))  # an update writes into it
    return np.frombuffer(raw, np.uint8).reshape(len(digests), DIGEST_BYTES)


def check_digest(digest: str) -> bytes:
    """Return the 32 bytes of 64 hexadecimal digits; of "", not known, 32 zero bytes."""
    try:
        raw = bytes.fromhex(digest) if digest else bytes(DIGEST_BYTES)
    except (ValueError, TypeError):
        raw = b""
    if len(raw) != DIGEST_BYTES:
        raise ParameterError(
            f"digest: got {digest!r}, expected 64 hexadecimal digits (SHA-256) or ''"
        )
    return raw
