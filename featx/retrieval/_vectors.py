"""The vectors of an index: held or left where they are, and read block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError
from featx.retrieval._file_rows import FileRows

__all__ = [
    "COMPARE_ALL",
    "METRICS",
    "Block",
    "Finder",
    "Floats",
    "Mask",
    "Rows",
    "Vectors",
    "convert_to",
    "require_memory",
    "row_norms",
]

METRICS = ("cosine", "euclidean", "dot")
Floats = NDArray[np.float32]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
# Pieces, each with the number of its first row in the block; one is gone with the next.
Block = Iterable[tuple[int, Floats]]

BLOCK_BYTES = 32 * 2**20
BLOCK_ROWS = 16384
CACHED_ROWS = 1024
FIRST_ROWS = 1024


class Finder:
    """What names candidates, so that a query is not compared with every row; this one names none.

    `add`, `update` and `keep` follow the rows of the index, and leave this finder as it is.
    """

    @property
    def is_worn(self) -> bool:
        """Whether it should be built again after a change."""
        return False

    def find(self, queries: Floats, k: int, among: Mask | None) -> Rows | None:
        """Return candidates for each query, (n_queries, at least k), in no order.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, n_features), float32
            Of length 1 where the metric is cosine.
        k : int
            Rows wanted.
        among : ndarray of shape (n_samples,), bool, or None
            Rows allowed; None allows all.

        Returns
        -------
        ndarray of intp, or None
            -1 stands where there is no further candidate. None: comparing all is better here.
        """
        return None

    def products(self, vectors: Vectors, queries: Floats, rows: Rows) -> Floats:
        """Return inner products of (m, d) queries with their (m, k) rows, (m, k)."""
        found = vectors.rows(rows.reshape(-1)).reshape(*rows.shape, -1)
        products: Floats = np.matmul(found, queries[:, :, None])[..., 0]
        return products

    def add(self, vectors: Floats, rows: Rows) -> Self:
        """Return a finder with these vectors as well, of rows that it has none of."""
        return self

    def update(self, vectors: Floats, rows: Rows) -> Self:
        """Return a finder with other vectors for some of its rows."""
        return self

    def keep(self, kept: Mask) -> Self:
        """Return a finder of some rows, which are numbered anew."""
        return self


COMPARE_ALL = Finder()


@dataclass(frozen=True)
class _Pieces:
    """A block of rows in memory or in a file, read or converted whenever it is gone through."""

    data: FileRows | NDArray[Any]
    start: int
    stop: int

    def __iter__(self) -> Iterator[tuple[int, Floats]]:
        if isinstance(self.data, np.ndarray):
            yield 0, _as_float32(self.data[self.start : self.stop])
            return
        for first, piece in self.data.pieces(self.start, self.stop):
            yield first - self.start, _as_float32(piece)


@dataclass(frozen=True)
class Vectors:
    """A database that is read block by block.

    Parameters
    ----------
    data : ndarray, memmap, FileRows or FeatureStore of shape (n_samples, n_features)
        What gives rows for slices and for arrays of row numbers; float32 or float16.
    norms : ndarray of shape (n_samples,), float32
        Euclidean lengths of the rows.
    metric : {"cosine", "euclidean", "dot"}
        See `RetrievalIndex`.
    finder : Finder
        Names the candidates. Default: all rows are compared.
    """

    data: Any
    norms: Floats
    metric: str
    finder: Finder = COMPARE_ALL

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features)."""
        return int(self.data.shape[0]), int(self.data.shape[1])

    def rows(self, numbers: Any) -> Floats:
        """Return the vectors of row numbers, or of one, in float32."""
        return _as_float32(self.data[numbers])

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Yield the first row and the vectors of each block."""
        n, step = self.shape[0], self._rows_per_block
        for start in range(0, n, step):
            yield start, self.rows(slice(start, start + step))

    def blocks_among(
        self, among: Rows | None, n_queries: int
    ) -> Iterator[tuple[Rows, Block, Floats]]:
        """Yield row numbers, vectors and their lengths of each block of some rows, or of all."""
        n = self.shape[0] if among is None else len(among)
        every = np.arange(n) if among is None else among
        # few rows, so that their products are still in the cache when they are looked at; those of
        # a single query are anyway
        few = CACHED_ROWS if n_queries > 1 or self.is_converted else max(n, 1)
        step = few if among is None and self._is_read_in_place else self._rows_per_block
        # the first rows are few: until k of a query are known, all of them may be among these
        starts = [0, *range(min(FIRST_ROWS, step), n, step)]
        for start, stop in pairwise([*starts, n]):
            numbers = every[start:stop]
            norms = self.norms[start:stop] if among is None else self.norms[numbers]
            if among is None and self._is_read_in_place:
                yield numbers, _Pieces(self.data, start, stop), norms
                continue
            # all rows lie side by side, and need no copy
            rows = self.rows(slice(start, stop) if among is None else numbers)
            for first in range(0, len(rows), few):
                part = slice(first, first + few)
                yield numbers[part], ((0, rows[part]),), norms[part]

    @property
    def is_converted(self) -> bool:
        """Whether every search converts the rows that it compares."""
        return self._is_read_in_place and self.data.dtype != np.float32

    @property
    def _is_read_in_place(self) -> bool:
        return isinstance(self.data, np.ndarray | FileRows)

    @property
    def _rows_per_block(self) -> int:
        return max(1, min(BLOCK_BYTES // (4 * max(self.shape[1], 1)), BLOCK_ROWS))


def _as_float32(X: NDArray[Any]) -> Floats:
    """Convert; half precision by its bits: numpy takes 5 to 24 times as long."""
    if X.dtype != np.float16:
        return np.asarray(X, np.float32)
    # Moved to where float32 has its exponent and fraction, they make 2**-112 of the number, since
    # the exponents' biases are 15 and 127; subnormal ones too.
    bits = np.ascontiguousarray(X, "=f2").view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= ~0x70000000  # copies of the sign
    numbers: Floats = bits.view(np.float32)
    numbers *= np.float32(2**112)
    if max(numbers.max(initial=0), -numbers.min(initial=0)) >= 2**16:  # infinite, or no number
        return X.astype(np.float32)
    return numbers


def row_norms(data: Any) -> Floats:
    """Return the Euclidean length of each row, (n_samples,); holds one block.

    Raises
    ------
    ParameterError
        If one is not finite.
    """
    vectors = Vectors(data, np.empty(0, np.float32), "euclidean")
    parts = [np.sqrt(np.einsum("ij,ij->i", b, b, dtype=np.float64)) for _, b in vectors.blocks()]
    with np.errstate(over="ignore"):
        norms = np.concatenate([np.empty(0), *parts]).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(norms))
    if len(bad):
        raise ParameterError(
            f"X: row {int(bad[0])} has a value that is not finite, or is too long for float32; "
            "expected finite numbers"
        )
    return norms


def convert_to(dtype: str, X: Floats) -> NDArray[Any]:
    """Return vectors in the type that they are held in.

    Raises
    ------
    ParameterError
        If a value is beyond float16.
    """
    if dtype == "float32":
        return X
    with np.errstate(over="ignore"):
        half = X.astype(np.float16)
    if not np.isfinite(half).all():
        raise ParameterError(
            f"dtype: got 'float16' for values up to {np.abs(X).max():.3g}, expected at most "
            "65504; scale the features or hold them in float32"
        )
    return half


def require_memory(data: Any, method: str) -> NDArray[Any]:
    """Return vectors that may be replaced.

    Raises
    ------
    ParameterError
        If they are in a file.
    """
    if not isinstance(data, np.ndarray) or isinstance(data, np.memmap):
        raise ParameterError(
            f"{method}: got an index whose vectors are in a {type(data).__name__}, expected "
            "one in memory; fit it with storage='memory', or load it with mmap=False"
        )
    in_memory: NDArray[Any] = data
    return in_memory
