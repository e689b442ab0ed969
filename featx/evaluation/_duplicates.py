"""Find near-duplicates among features: copies in train and test that flatter a result.

A copy is known by its bytes' hash, a copy that was saved again, scaled, cropped or mirrored by the
cosine of its features. Both are found block by block, without an n by n matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils import gen_batches

from featx._arrays import scale_to_unit
from featx._progress import Progress
from featx._repr import FieldTable
from featx.errors import ParameterError, require_count, require_number

__all__ = ["Leaks", "duplicate_groups", "find_leaks"]

Rows = NDArray[np.intp]
Array = NDArray[np.float32]

# Where 265 photographs of seven sets, their altered copies and 23 million other pairs part; see
# Notes of `find_leaks`.
THRESHOLD = 0.95
ROUNDING = 1e-6  # of a float32 dot product: a threshold of 1 must still find equal features
N_AXES, SAMPLE_ROWS = 64, 8192
MANY_ROWS = 10_000  # fewer are compared whole before the axes are known
SHORT_ROUNDING = 1e-5  # of products of 65 float32
MAX_PAIRS = 5_000_000  # 105 MB; so many are no list of copies, but a threshold that is too low


@dataclass(frozen=True, eq=False, repr=False)
class Leaks(FieldTable):
    """Pairs of a train row and a test row that show the same; exact ones first, then by cosine.

    Parameters
    ----------
    train, test : ndarray of shape (n_pairs,), int
        Rows.
    cosine : ndarray of shape (n_pairs,), float32
        Of their features.
    is_exact : ndarray of shape (n_pairs,), bool
        Whether their hashes are equal.
    threshold : float
        Smallest cosine that was looked for.
    """

    train: Rows
    test: Rows
    cosine: Array
    is_exact: NDArray[np.bool_]
    threshold: float

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.train)

    @property
    def train_rows(self) -> Rows:
        """Train rows with a copy in test, each once, rising."""
        return np.unique(self.train)

    @property
    def test_rows(self) -> Rows:
        """Test rows with a copy in train, each once, rising."""
        return np.unique(self.test)


def find_leaks(
    train_features: Any,
    test_features: Any,
    *,
    train_hashes: Any = None,
    test_hashes: Any = None,
    threshold: float = THRESHOLD,
    block_size: int = 1024,
) -> Leaks:
    """Find rows of train and test that are copies of one photograph, or nearly.

    Parameters
    ----------
    train_features, test_features : array-like of shape (n_train, d) and (n_test, d)
        Of one recipe; lengths do not matter. A row of zeros is near to none.
    train_hashes, test_hashes : array-like of str, or None, default None
        Of the images' bytes, as `FeatureStore.digests`; "" is not known. Equal ones are a pair
        whatever their features.
    threshold : float, default 0.95
        In (0, 1]: smallest cosine of a pair.
    block_size : int, default 1024
        Rows compared at once. Holds block_size² float32, besides the features as float32, and
        of many rows 65 more numbers each.

    Returns
    -------
    Leaks

    Raises
    ------
    ParameterError
        For features that do not fit, hashes of one side alone, or over 5,000,000 pairs.

    Notes
    -----
    The default was measured with `featx_small`. Of 265 photographs of seven sets, 97 % of the
    mirrored copies, 100 and 98 % of those saved again as JPEG of quality 75 and 40, 88 % of those
    at half size, 79 % of those cropped to 90 % or scaled to 160 px, and 20 % of those turned grey
    have a cosine of at least 0.95. Of 23 million pairs of different files 128 have, and about 100
    of these are copies or shots of one scene; the others are daisies and portraits that look
    alike. At 0.98: 17, 100, 71, 63, 7 and 39, 17 %, and 75 pairs, all copies. At 0.9: over 98 % of
    all but grey, and 7,709 pairs, most of them no copies. `featx_base` finds fewer at 0.95: of 420
    photographs of three sets 91 % of the mirrored copies (`featx_small` 96 %), 95 % of those of
    JPEG quality 50 (99 %) and 67 % of those at half size (86 %). Another network has other
    cosines: look at the pairs.

    Examples
    --------
    >>> leaks = find_leaks([[1.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [1.0, 1.0]])
    >>> leaks.train.tolist(), leaks.test.tolist(), leaks.cosine.tolist()
    ([1], [0], [1.0])
    """
    train, test = (
        _scale_rows("train_features", train_features),
        _scale_rows("test_features", test_features),
    )
    if train.shape[1] != test.shape[1]:
        raise ParameterError(
            f"test_features: got {test.shape[1]} features per row and {train.shape[1]} in "
            "train_features, expected as many; both need one recipe"
        )
    if (train_hashes is None) != (test_hashes is None):
        given = "train_hashes" if test_hashes is None else "test_hashes"
        raise ParameterError(f"{given}: got hashes of one side alone, expected both or neither")
    require_number("threshold", threshold, 0, 1, above=True)
    least = float(threshold) - ROUNDING
    require_count("block_size", block_size)
    codes = _number_hashes(("train_hashes", train_hashes, len(train)),
                        ("test_hashes", test_hashes, len(test)))  # fmt: skip
    codes_a, codes_b = codes[: len(train)], codes[len(train) :]
    i, j = _equal_pairs(codes_a, codes_b)
    found, n_pairs = [(i, j, _cosines(train, test, i, j))], len(i)
    for i, j, cosine in _iter_near(train, test, least, block_size):
        other = (codes_a[i] != codes_b[j]) | (codes_a[i] < 0)
        n_pairs += int(other.sum())
        _require_few(n_pairs, f"threshold: {threshold!r} gives", "raise it")
        found.append((i[other], j[other], cosine[other]))
    i, j, cosines = (np.concatenate(part) for part in zip(*found, strict=True))
    is_exact = (codes_a[i] == codes_b[j]) & (codes_a[i] >= 0)
    order = np.lexsort((j, i, -cosines, ~is_exact))
    values = np.clip(cosines[order], -1, 1)
    return Leaks(i[order], j[order], values, is_exact[order], float(threshold))


def duplicate_groups(
    features: Any, *, threshold: float = THRESHOLD, hashes: Any = None, block_size: int = 1024
) -> Rows:
    """Give the rows that are copies of one photograph, or nearly, one number.

    Parameters
    ----------
    features : array-like of shape (n_samples, n_features)
    threshold, block_size
        As for `find_leaks`. Copies of copies are of one group, so a low threshold chains many
        rows together.
    hashes : array-like of shape (n_samples,), str, or None, default None
        As for `find_leaks`.

    Returns
    -------
    ndarray of shape (n_samples,), int
        From 0, in the order of each group's first row: for `groups` of `few_label_split` or of
        scikit-learn's `GroupKFold`. Time grows with the square of n_samples; among many rows most
        pairs are told apart by 65 numbers.

    Examples
    --------
    >>> duplicate_groups([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]]).tolist()
    [0, 1, 0]
    """
    rows = _scale_rows("features", features)
    require_number("threshold", threshold, 0, 1, above=True)
    least = float(threshold) - ROUNDING
    require_count("block_size", block_size)
    codes = _number_hashes(("hashes", hashes, len(rows)))
    known = np.flatnonzero(codes >= 0)
    _, first, inverse = np.unique(codes[known], return_index=True, return_inverse=True)
    groups = _join_groups(np.arange(len(rows)), known, known[first[inverse.reshape(-1)]])
    for i, j, _ in _iter_near(rows, rows, least, block_size):
        groups = _join_groups(groups, i, j)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    places = np.argsort(np.argsort(first))[inverse.reshape(-1)]
    return places.astype(np.intp)


def _join_groups(groups: Rows, i: Rows, j: Rows) -> Rows:
    """Return the groups after the rows i and j were joined pairwise."""
    a, b = groups[i], groups[j]
    if (a == b).all():
        return groups
    graph = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(len(groups), len(groups)))
    components: Rows = connected_components(graph, directed=False)[1].astype(np.intp)
    return components[groups]


def _iter_near(
    train: Array, test: Array, least: float, size: int
) -> Iterator[tuple[Rows, Rows, Array]]:
    """Yield pairs of rows with a cosine of at least so much, block by block.

    Where train is test, a pair comes once, and each row with itself.
    """
    short, other = _shorten(train, test)
    is_short = short is not train
    bound = least - SHORT_ROUNDING if is_short else least
    is_one = train is test
    rows, columns = -(-len(train) // size), -(-len(test) // size)
    n_blocks = rows * (rows + 1) // 2 if is_one else rows * columns
    starts = (
        (a * size, b * size) for a in range(rows) for b in range(a if is_one else 0, columns)
    )
    room = np.empty(min(size, len(train)) * min(size, len(test)), np.float32)
    with Progress(n_blocks, "compare", unit="blocks") as progress:
        for a, b in starts:
            one, two = short[a : a + size], other[b : b + size]
            products = room[: len(one) * len(two)].reshape(len(one), len(two))
            np.matmul(one, two.T, out=products)  # new memory would take longer than the product
            i, j = np.divmod(np.flatnonzero(products >= bound), products.shape[1])
            if is_short and len(i) > size:  # then the block's own product costs less
                cosines = (train[a : a + size] @ test[b : b + size].T)[i, j]
            elif is_short:
                cosines = _cosines(train, test, a + i, b + j)
            else:
                cosines = products[i, j]
            near = cosines >= least
            yield a + i[near], b + j[near], cosines[near]
            progress.advance(1)


def _shorten(train: Array, test: Array) -> tuple[Array, Array]:
    """Return vectors of 65 numbers whose products are at least the rows' cosines, where many.

    With P onto some axes at right angles, x.y = Px.Py + (x - Px).(y - Py), whose second part is at
    most the product of both lengths (Cauchy-Schwarz): the length is the last number. The axes are
    those of the largest second moments of a sample, so that little is left beside them.
    """
    d = train.shape[1]
    if len(train) * len(test) < MANY_ROWS**2 or d < 4 * N_AXES:
        return train, test
    sample = train[:: -(-len(train) // SAMPLE_ROWS)].astype(np.float64)
    axes = np.linalg.eigh(sample.T @ sample)[1][:, -N_AXES:].astype(np.float32)
    short = _project(train, axes)
    return short, short if train is test else _project(test, axes)


def _project(rows: Array, axes: Array) -> Array:
    short = np.empty((len(rows), axes.shape[1] + 1), np.float32)
    for part in gen_batches(len(rows), 65536):
        short[part, :-1] = rows[part] @ axes
        inside = np.einsum("nd,nd->n", short[part, :-1], short[part, :-1])
        # rounded up: of a row that lies within the axes nearly all digits of the rest are lost
        short[part, -1] = np.sqrt(np.maximum(1 - inside, 0) + np.float32(1e-6))
    return short


def _cosines(train: Array, test: Array, i: Rows, j: Rows) -> Array:
    """Return the cosine of each pair of rows."""
    parts = [
        np.einsum("nd,nd->n", train[i[start : start + 4096]], test[j[start : start + 4096]])
        for start in range(0, len(i), 4096)
    ]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _equal_pairs(a: Rows, b: Rows) -> tuple[Rows, Rows]:
    """Return all pairs of places where known codes are equal."""
    order = np.argsort(b, kind="stable")
    first, end = (np.searchsorted(b[order], a, side) for side in ("left", "right"))
    counts = np.where(a >= 0, end - first, 0)
    _require_few(int(counts.sum()), "hashes: equal ones give", "give each image once")
    i = np.repeat(np.arange(len(a)), counts)
    within = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    return i, order[np.repeat(first, counts) + within]


def _require_few(n_pairs: int, what: str, advice: str) -> None:
    if n_pairs > MAX_PAIRS:
        raise ParameterError(f"{what} over {MAX_PAIRS:,} pairs, expected few; {advice}")


def _scale_rows(name: str, features: Any) -> Array:
    rows = np.asarray(features)
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "fiu":
        raise ParameterError(
            f"{name}: got shape {rows.shape} and dtype {rows.dtype}, expected numbers of shape "
            "(n_samples, n_features)"
        )
    unit = np.empty(rows.shape, dtype=np.float32)
    for part in gen_batches(len(rows), 4096):  # no float64 copy of the whole
        unit[part] = scale_to_unit(rows[part])
    if not np.isfinite(unit).all():
        row = int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise ParameterError(f"{name}: row {row} has NaN or infinity, expected finite numbers")
    return unit


def _number_hashes(*sides: tuple[str, Any, int]) -> Rows:
    """Return one number per row of all sides, equal where hashes are, -1 where not known."""
    texts = []
    for name, hashes, n in sides:
        side = np.full(n, "") if hashes is None else np.asarray(hashes)
        if side.shape != (n,) or side.dtype.kind not in "UO":
            raise ParameterError(
                f"{name}: got shape {side.shape} and dtype {side.dtype}, expected {n} texts, one "
                "per row of features"
            )
        texts.append(side.astype(str))
    every = np.concatenate(texts)
    codes = np.unique(every, return_inverse=True)[1].reshape(-1).astype(np.intp)
    return np.where(every == "", -1, codes)
