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
from featx._repr import OneLine
from featx.errors import ParameterError, require_count, require_number

__all__ = ["Leaks", "duplicate_groups", "find_leaks"]

Rows = NDArray[np.intp]
Array = NDArray[np.float32]

# Where 265 photographs of seven sets, their altered copies and 23 million other pairs part; see
# Notes of `find_leaks`.
THRESHOLD = 0.95
ROUNDING = 1e-6  # of a float32 dot product: a threshold of 1 must still find equal features
MAX_PAIRS = 5_000_000  # 105 MB; so many are no list of copies, but a threshold that is too low


@dataclass(frozen=True, eq=False, repr=False)
class Leaks(OneLine):
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
        Rows compared at once. Holds block_size² float32, besides the features as float32.

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
    found, n_pairs = [], 0
    for a, b in _iter_blocks(len(train), len(test), block_size):
        cosine = train[a] @ test[b].T
        exact = _compare_codes(codes[: len(train)][a], codes[len(train) :][b])
        i, j = np.nonzero((cosine >= least) | exact)
        n_pairs += len(i)
        if n_pairs > MAX_PAIRS:
            raise ParameterError(
                f"threshold: {threshold!r} gives over {MAX_PAIRS:,} pairs, expected few; raise it"
            )
        found.append((a.start + i, b.start + j, cosine[i, j], exact[i, j]))
    i, j, cosines, is_exact = (np.concatenate(part) for part in zip(*found, strict=True))
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
        scikit-learn's `GroupKFold`. Time grows with the square of n_samples.

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
    for a, b in _iter_blocks(len(rows), len(rows), block_size):
        if a.start <= b.start:
            i, j = np.nonzero(rows[a] @ rows[b].T >= least)
            groups = _join_groups(groups, a.start + i, b.start + j)
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


def _iter_blocks(n: int, m: int, size: int) -> Iterator[tuple[slice, slice]]:
    for start in range(0, n, size):
        for other in range(0, m, size):
            yield slice(start, start + size), slice(other, other + size)


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


def _compare_codes(a: Rows, b: Rows) -> NDArray[np.bool_]:
    return np.asarray((a[:, None] == b[None, :]) & (a >= 0)[:, None])
