"""Which of several networks is better beyond noise, and the answer in words.

Noise of accuracy is that of the images: all are probed on the same folds, so two are told apart by
the images that only one of them gets right (McNemar's exact test; Dietterich 1998). Noise of speed
is that of a machine: three timings of each, and never less than a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from featx.tasks.comparison import ComparisonRow

__all__ = ["answer", "find_unbeaten", "is_faster", "is_more_accurate"]

LEVEL = 0.05
LEAST_RATIO = 1.1  # timings of one machine differ by that from one minute to the next
N_NAMED = 3


def is_more_accurate(right: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether the first is right more often, beyond the noise of the images.

    Parameters
    ----------
    right, other : array-like of shape (n_images,), bool
        Whether each image was told right, by either.

    Examples
    --------
    >>> import numpy as np
    >>> is_more_accurate(np.arange(100) < 90, np.arange(100) < 89)
    False
    >>> is_more_accurate(np.arange(100) < 90, np.arange(100) < 80)
    True
    """
    only_first, only_other = int((right & ~other).sum()), int((other & ~right).sum())
    if only_first <= only_other:
        return False
    from scipy.stats import binomtest  # whose import takes a third of a second

    return bool(binomtest(only_first, only_first + only_other).pvalue < LEVEL)


def is_faster(row: ComparisonRow, other: ComparisonRow) -> bool:
    """Return whether the first is faster, beyond the noise of timings."""
    slowest, fastest = row.speed_range[0], other.speed_range[1]
    is_apart = row.images_per_second >= LEAST_RATIO * other.images_per_second
    return is_apart and slowest > fastest


def find_unbeaten(rows: Sequence[ComparisonRow], rights: Sequence[NDArray[Any]]) -> list[bool]:
    """Return which rows no other beats: better in accuracy or speed, and in the other no worse.

    Parameters
    ----------
    rows : sequence of ComparisonRow
    rights : sequence of ndarray of shape (n_images,), bool
        Which images each told right.
    """
    is_unbeaten = [True] * len(rows)
    for i, j in permutations(range(len(rows)), 2):
        gains = (is_more_accurate(rights[i], rights[j]), is_faster(rows[i], rows[j]))
        losses = (is_more_accurate(rights[j], rights[i]), is_faster(rows[j], rows[i]))
        if any(gains) and not any(losses):
            is_unbeaten[j] = False
    return is_unbeaten


def answer(rows: Sequence[ComparisonRow], n_images: int) -> str:
    """Return which is the most accurate, which are as good, and which of these costs least.

    Parameters
    ----------
    rows : sequence of ComparisonRow
        Most accurate first.
    n_images : int
        That they were measured on.
    """
    best, rest = rows[0], rows[1:]
    sentences = [f"{best.name} is the most accurate: {best.accuracy}."]
    if not rest:
        return sentences[0]
    ties = [row for row in rest if row.is_as_accurate]
    if not ties:
        less = "The other one is" if len(rest) == 1 else f"All {len(rest)} others are"
        return f"{sentences[0]} {less} less accurate, beyond the noise of {n_images} images."
    named = [f"{row.name} ({row.accuracy.value:.3f})" for row in ties[:N_NAMED]]
    more = f" and {len(ties) - N_NAMED} more" if len(ties) > N_NAMED else ""
    sentences.append(
        f"With {n_images} images it cannot be told apart from {', '.join(named)}{more}."
    )
    fastest = max(ties, key=lambda row: row.images_per_second)
    if is_faster(fastest, best):
        ratio = fastest.images_per_second / best.images_per_second
        sentences.append(f"{fastest.name} is {ratio:.1f} times faster.")
    shortest = min(ties, key=lambda row: row.n_features)
    if shortest.n_features < best.n_features:
        sentences.append(
            f"The shortest of them is {shortest.name}: {shortest.n_features} numbers per image "
            f"instead of {best.n_features}."
        )
    return " ".join(sentences)
