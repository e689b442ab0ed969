"""Draw a few labelled rows for training: so many a class, nested, copies kept together.

scikit-learn's splitters want shares or total numbers; few-label work counts labels a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from featx.errors import ParameterError, require_count
from featx.evaluation._draws import NEVER, class_ranks, known_classes, multilabel_ranks
from featx.evaluation._validation import as_group_numbers, as_labels, as_rows

__all__ = ["Draw", "Split", "draw_order", "few_label_split", "few_label_splits"]

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to train on and rows that are left to test on.

    Parameters
    ----------
    train : ndarray of int
        Drawn rows, in rising order.
    test : ndarray of int
        The pool's other rows, without those of a group that `train` has a row of.
    left_out : ndarray of int
        Those: neither to train nor to test on. Empty without groups.
    """

    train: Rows
    test: Rows
    left_out: Rows

    def __iter__(self) -> Iterator[Rows]:
        """Yield train and test, as scikit-learn's splitters do."""
        return iter((self.train, self.test))


def few_label_split(
    y: Any,
    n_per_class: int,
    *,
    pool: Any = None,
    groups: Any = None,
    random_state: Any = 0,
) -> Split:
    """Draw rows for training, n of each class.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Labels, numbers or text; or attributes: 1, 0, NaN for not known.
    n_per_class : int
        Labels of each class. For attributes the number of all rows drawn: random ones, with at
        least one yes and one no of each attribute as far as n reaches, the rarest first.
    pool : array-like of int or bool, or None, default None
        Rows to draw from, as row numbers or a mask. None is all. A set with test rows of its own
        passes its training rows here.
    groups : array-like of shape (n_samples,) or None, default None
        Rows with one value, say copies of one photograph (`duplicate_groups`), never part between
        train and test, and count as one label: at most one of a class is drawn.
    random_state : int, RandomState or None, default 0
        With one seed, a draw of more labels contains the draw of fewer.

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        Where a class has fewer rows than asked for (without copies).

    Examples
    --------
    >>> train, test = few_label_split(["cat", "cat", "dog", "dog", "dog"], 2)
    >>> train.tolist(), test.tolist()
    ([0, 1, 2, 4], [3])
    """
    require_count("n_per_class", n_per_class)
    return draw_order(y, pool, groups, check_random_state(random_state)).take(n_per_class)


def few_label_splits(
    y: Any,
    n_per_class: int,
    n_repeats: int,
    *,
    pool: Any = None,
    groups: Any = None,
    random_state: Any = 0,
) -> tuple[Split, ...]:
    """Draw rows for training several times.

    Parameters
    ----------
    y, n_per_class, pool, groups
        As for `few_label_split`.
    n_repeats : int
        Independent draws, which overlap where the pool is small.
    random_state : int, RandomState or None, default 0
        As for `few_label_split`, repeat by repeat.

    Returns
    -------
    tuple of n_repeats Split

    Examples
    --------
    >>> splits = few_label_splits([0, 0, 0, 1, 1, 1], 1, 3)
    >>> [len(train) for train, test in splits]
    [2, 2, 2]
    """
    require_count("n_per_class", n_per_class)
    require_count("n_repeats", n_repeats)
    rng = check_random_state(random_state)
    return tuple(draw_order(y, pool, groups, rng).take(n_per_class) for _ in range(n_repeats))


@dataclass(frozen=True, eq=False)
class Draw:
    """One random order of a pool: `take(n)` is the split of its first n rows a class.

    Parameters
    ----------
    pool : ndarray of int
        Row numbers.
    ranks, groups : ndarray of int, as long
        Place of each in its class's order, and its group.
    codes : ndarray of int, as long, or None
        Class numbers; None for attributes.
    classes : ndarray
        What a message calls them.
    """

    pool: Rows
    ranks: Rows
    groups: Rows
    codes: Rows | None
    classes: NDArray[Any]

    def require(self, n: int, *, spare: bool = False) -> None:
        """Refuse a draw of n where a class has not so many, and one more to `spare`."""
        codes = np.zeros(len(self.pool), dtype=np.intp) if self.codes is None else self.codes
        found = np.bincount(codes[self.ranks != NEVER], minlength=max(len(self.classes), 1))
        needed = n + spare
        if (short := np.flatnonzero(found < needed)).size == 0:
            return
        rows = np.bincount(codes, minlength=len(found))[short[0]]
        copies = f" ({rows} with copies)" if rows > found[short[0]] else ""
        others = f"; {len(short) - 1} more classes are short" if len(short) > 1 else ""
        which = "the pool" if self.codes is None else f"class {self.classes[short[0]].item()!r}"
        rest = ", one of them to test on" if spare else ""
        raise ParameterError(
            f"n_per_class: {which} has {found[short[0]]} rows{copies}, expected at least "
            f"{needed}{rest}{others}; ask for fewer labels, or leave the class out of `pool`"
        )

    def take(self, n: int) -> Split:
        """Return the split of the first n rows a class."""
        self.require(n)
        is_train = self.ranks < n
        is_copy = ~is_train & np.isin(self.groups, self.groups[is_train])
        return Split(self.pool[is_train], self.pool[~is_train & ~is_copy], self.pool[is_copy])


def draw_order(y: Any, pool: Any, groups: Any, rng: np.random.RandomState) -> Draw:
    """Shuffle the rows of `pool`, class by class."""
    labels = as_labels(y)
    rows = np.sort(as_rows("pool", pool, len(labels)))
    numbers = as_group_numbers(groups, len(labels))[rows]
    if labels.ndim == 2:
        ranks = multilabel_ranks(labels[rows], numbers, rng)
        return Draw(rows, ranks, numbers, None, np.empty(0))
    classes, codes = known_classes(labels, rows)
    return Draw(rows, class_ranks(codes, numbers, rng), numbers, codes, classes)
