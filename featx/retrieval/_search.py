"""Nearest neighbours: exactly, block by block, or of the candidates that a finder names.

Exact candidates come from one matrix product per block, of which only what beats the k-th best so
far is looked at again: no n x n matrix ever exists. Small distances of the k that remain are then
computed from the difference of the vectors: the product loses half of the digits where two vectors
are nearly equal, and a copy of an image should be at distance 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from featx._arrays import scale_to_unit
from featx.errors import ParameterError
from featx.retrieval._nearest import Nearest, Room
from featx.retrieval._threads import Shared, run_in_threads
from featx.retrieval._vectors import BLOCK_BYTES, FIRST_ROWS, Block, Floats, Mask, Rows, Vectors

__all__ = ["scale_for", "search", "search_within"]

QUERIES_AT_A_TIME = 1024
# From so many on, threads that each compute products of their own are faster than threads that
# share each product.
MANY_QUERIES = 512
GROUP = 8  # rows of a block
FEW_KEYS = 2**15  # of which all may be sorted
QUERIES_TO_A_FINDER = 8192  # it shares them out among threads
# Of a squared distance to the squared lengths: below it a product has lost more than two of its
# seven digits.
IS_CLOSE = 0.02
# Where fewer rows than this, or than this share, are allowed, they are all compared: a finder
# would look at as many that are not.
FEW_ROWS = 4096
# Of float32.
LEAST_EXACT, MOST_EXACT = 1e-30, 1e38
FEW_SHARE = 1 / 16


def search(
    vectors: Vectors,
    queries: Floats,
    k: int,
    *,
    exclude: Rows | None = None,
    among: Mask | None = None,
) -> tuple[Rows, Floats]:
    """Find the k nearest rows of each query.

    Parameters
    ----------
    vectors : Vectors
        The database; with a finder, k nearest of the candidates that it names.
    queries : ndarray of shape (n_queries, n_features), float32
        Finite.
    k : int
        At most the number of rows allowed, less one where rows are excluded.
    exclude : ndarray of shape (n_queries,), optional
        A row for each query that is left out: itself.
    among : ndarray of shape (n_samples,), bool, optional
        Rows allowed. Default: all.

    Returns
    -------
    rows : ndarray of shape (n_queries, k), intp
    distances : ndarray of shape (n_queries, k), float32
        Ascending; equal ones in order of rows.

    Notes
    -----
    O(n_queries * n_samples * n_features) time; holds a block of the database, 8192 queries at a
    time, and 5 MiB per thread: the distances of 1024 queries to 1024 rows. With a finder, queries
    for which it names fewer than k are compared with all.
    """
    parts = []
    for start in range(0, len(queries) if k else 0, QUERIES_TO_A_FINDER):
        part = slice(start, start + QUERIES_TO_A_FINDER)
        asked = scale_for(vectors.metric, queries[part])
        left_out = None if exclude is None else exclude[part]
        candidates = _find_candidates(vectors, asked, k, left_out, among)
        parts.append(_refine(vectors, asked, candidates, k))
    rows, distances = _join(parts, (len(queries), k))
    if not np.isfinite(distances).all():
        raise _too_large()
    return rows, distances


def _join(parts: list[tuple[Rows, Floats]], shape: tuple[int, int]) -> tuple[Rows, Floats]:
    if len(parts) == 1:  # copies nothing
        return parts[0]
    if not parts:
        return np.empty(shape, np.intp), np.empty(shape, np.float32)
    rows, distances = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(distances)


def search_within(
    vectors: Vectors,
    queries: Floats,
    radius: float,
    *,
    among: Mask | None = None,
) -> list[tuple[Rows, Floats]]:
    """Find all rows at most `radius` away, always by comparing every row.

    Returns
    -------
    list of (rows, distances)
        For each query, of whatever length; distances ascend, equal ones in order of rows.
    """
    allowed = None if among is None else np.flatnonzero(among)
    metric, asked = vectors.metric, scale_for(vectors.metric, queries)
    squares = np.einsum("ij,ij->i", asked, asked)
    found: list[list[Rows]] = [[] for _ in asked]
    starts = range(0, len(asked), QUERIES_AT_A_TIME)
    parts = [slice(start, start + QUERIES_AT_A_TIME) for start in starts]
    columns = [_turn(asked[part], metric) for part in parts]
    for numbers, block, norms in vectors.blocks_among(allowed, len(asked)):
        slack = 1e-5 * (squares + norms.max(initial=0) ** 2 + 1)  # the products' rounding
        if metric == "euclidean":
            limits = radius**2 - squares + slack
        else:
            limits = radius - (metric == "cosine") + slack
        for part, of_part in zip(parts, columns, strict=True):
            keys = np.empty((len(numbers), of_part.shape[1]), np.float32)
            _fill_keys(keys, block, norms, of_part, metric)
            at, query = np.nonzero(keys <= limits[part])
            for i in np.unique(query).tolist():
                found[part.start + i].append(numbers[at[query == i]])
    return [
        _keep_within(vectors, asked[i], np.concatenate([np.empty(0, np.intp), *of_query]), radius)
        for i, of_query in enumerate(found)
    ]


def _keep_within(
    vectors: Vectors, query: Floats, candidates: Rows, radius: float
) -> tuple[Rows, Floats]:
    n = len(candidates)
    if not n:
        return candidates, np.empty(0, np.float32)
    rows, distances = _refine(vectors, query[None], candidates[None], n)
    kept = distances[0] <= radius
    return rows[0][kept], distances[0][kept]


def scale_for(metric: str, X: Floats) -> Floats:
    """Scale vectors to length 1, zeros aside, where the metric is cosine."""
    if metric != "cosine":
        return X
    squares = np.einsum("ij,ij->i", X, X)[:, None]
    # Sums of squares that have all their digits need no care, which one query would pay most for.
    if len(X) and squares.min() > LEAST_EXACT and squares.max() < MOST_EXACT:
        unit: Floats = X / np.sqrt(squares)
        return unit
    return scale_to_unit(X)


def _find_candidates(
    vectors: Vectors, queries: Floats, k: int, exclude: Rows | None, among: Mask | None
) -> Rows:
    """Return k candidates of each query, in no order, or more with -1 among them."""
    allowed = None if among is None else np.flatnonzero(among)
    found = None
    if allowed is None or len(allowed) > max(FEW_ROWS, FEW_SHARE * vectors.shape[0]):
        found = vectors.finder.find(queries, k + (exclude is not None), among)
    if found is None:
        return _compare_all(vectors, queries, k, exclude, allowed)
    if exclude is not None:
        found = np.where(found == exclude[:, None], -1, found)
    if found.min() >= 0:
        return found
    short = np.flatnonzero((found >= 0).sum(axis=1) < k)
    if len(short):
        left_out = None if exclude is None else exclude[short]
        found[short] = -1
        found[short, :k] = _compare_all(vectors, queries[short], k, left_out, allowed)
    return found


def _compare_all(
    vectors: Vectors, queries: Floats, k: int, exclude: Rows | None, among: Rows | None
) -> Rows:
    """Return the k nearest rows of each query, in no order."""
    rows = np.empty((len(queries), k), np.intp)
    for start in range(0, len(queries), QUERIES_AT_A_TIME):
        part = slice(start, start + QUERIES_AT_A_TIME)
        left_out = None if exclude is None else exclude[part]
        rows[part] = _compare_part(vectors, queries[part], k, left_out, among)
    return rows


def _compare_part(
    vectors: Vectors, queries: Floats, k: int, exclude: Rows | None, among: Rows | None
) -> Rows:
    """Return the k nearest rows of at most 1024 queries, in no order."""
    columns, nearest = _turn(queries, vectors.metric), Nearest(len(queries), k)
    blocks = Shared(vectors.blocks_among(among, len(queries)))

    def compare(blocks: Iterable[tuple[Rows, Block, Floats]]) -> None:
        room = Room(len(queries))
        for numbers, block, norms in blocks:
            keys, is_hit = room.of(len(numbers))
            _fill_keys(keys, block, norms, columns, vectors.metric)
            if exclude is not None:
                at = np.searchsorted(numbers, exclude)
                mine = np.flatnonzero(numbers[np.minimum(at, len(numbers) - 1)] == exclude)
                keys[at[mine], mine] = np.inf
            limits = nearest.limits  # another thread may replace them
            np.less_equal(keys, limits, out=is_hit)
            at, asked = np.divmod(_choose(keys, is_hit, limits, k), len(queries))
            nearest.add(asked, numbers[at], keys[at, asked])

    compare(itertools.islice(blocks, 1))  # so that the threads begin with limits
    n_rows = vectors.shape[0] if among is None else len(among)
    if n_rows > FIRST_ROWS and (len(queries) >= MANY_QUERIES or vectors.is_converted):
        run_in_threads(lambda: compare(blocks), blocks.stop)
    else:
        compare(blocks)
    rows = nearest.rows()
    if (rows < 0).any():
        raise _too_large()
    return rows


def _too_large() -> ParameterError:
    return ParameterError(
        "X: squares of its values, or of the database's, are beyond float32, expected lengths "
        "below 1e19; divide features and queries by the same number"
    )


def _choose(keys: Floats, is_hit: Mask, limits: Floats, k: int) -> Rows:
    """Return the places of (n_block, n_queries) `keys` that may be among the k least."""
    n, m = keys.shape
    if n <= k or 32 * np.count_nonzero(is_hit) <= max(keys.size, FEW_KEYS):
        return np.flatnonzero(is_hit)
    # The k-th least of the groups' least keys has k keys at or below it, and few more.
    grouped = n - n % GROUP
    low = keys[:grouped].reshape(-1, GROUP, m).min(axis=1) if grouped >= k * GROUP else keys
    closer = np.minimum(limits, np.partition(low, k - 1, axis=0)[k - 1])
    np.less_equal(keys, closer, out=is_hit)
    if np.count_nonzero(is_hit) > GROUP * k * m:
        # Many are equal, of which the first k rows will do.
        is_equal = keys == closer
        is_hit &= ~is_equal | (np.cumsum(is_equal, axis=0, dtype=np.int32) <= k)
    return np.flatnonzero(is_hit)


def _turn(queries: Floats, metric: str) -> Floats:
    """Return queries as columns whose products with rows are least for the nearest."""
    factor = np.float32(-2 if metric == "euclidean" else -1)
    return np.multiply(queries.T, factor, order="C")  # BLAS reads it many times


def _fill_keys(keys: Floats, block: Block, norms: Floats, columns: Floats, metric: str) -> None:
    """Fill (n_block, n_queries) `keys` with numbers in the order of the distances."""
    for start, piece in block:
        np.matmul(piece, columns, out=keys[start : start + len(piece)])
    if metric == "euclidean":
        keys += (norms**2)[:, None]
    if metric == "cosine":
        keys *= _invert(norms)[:, None]


def _invert(norms: Floats) -> Floats:
    """Return what vectors are scaled by; a row of zeros is at right angles to everything."""
    if norms.min(initial=1) > 0:
        return np.reciprocal(norms)
    return np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)


def _refine(vectors: Vectors, queries: Floats, candidates: Rows, k: int) -> tuple[Rows, Floats]:
    """Return the k nearest candidates, of which -1 is none, and their distances."""
    step = max(1, BLOCK_BYTES // (4 * max(queries.shape[1] * candidates.shape[1], 1)))
    rows = np.maximum(candidates, 0)
    parts = [
        _measure(vectors, queries[start : start + step], rows[start : start + step])
        for start in range(0, len(queries), step)
    ]
    distances = parts[0] if len(parts) == 1 else np.concatenate(parts)
    distances[candidates < 0] = np.inf
    order = np.lexsort((candidates, distances), axis=1)[:, :k]
    if len(order) == 1:  # plain indexing takes a third of the time
        return candidates[0, order[0]][None], distances[0, order[0]][None]
    return np.take_along_axis(candidates, order, 1), np.take_along_axis(distances, order, 1)


def _measure(vectors: Vectors, queries: Floats, rows: Rows) -> Floats:
    """Return the distances of (m, d) queries to their (m, k) rows, (m, k)."""
    metric, products = vectors.metric, vectors.finder.products(vectors, queries, rows)
    if metric == "dot":
        return -products
    norms = vectors.norms[rows]
    if metric == "cosine":
        lengths = _invert(norms)
        products *= lengths
        both = np.float32(2)  # of unit vectors |a|^2 + |b|^2 = 2, and 1 - cos = |a - b|^2 / 2
    else:
        both = np.einsum("md,md->m", queries, queries)[:, None] + norms**2
    squares = np.maximum(both - 2 * products, 0)
    i, j = np.nonzero(squares < IS_CLOSE * both)
    if len(i):
        near = vectors.rows(rows[i, j])
        difference = queries[i] - (near if metric == "euclidean" else near * lengths[i, j, None])
        squares[i, j] = np.einsum("nd,nd->n", difference, difference)
    distances: Floats = np.sqrt(squares) if metric == "euclidean" else squares / 2
    return distances
