"""Draw a few labelled rows for training: so many a class, nested, copies kept together.

One random order serves all sizes: its first n rows are a draw of n, so a draw of five contains
the draw of two and a learning curve shows more labels rather than other labels. scikit-learn's
splitters want shares or total numbers; few-label work counts labels per class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from featx._values import answer_array, is_missing, label_array
from featx.errors import ParameterError, require_count

__all__ = [
    "Draw",
    "Split",
    "as_group_numbers",
    "as_labels",
    "as_rows",
    "draw_order",
    "few_label_splits",
]

Rows = NDArray[np.intp]
NEVER = np.iinfo(np.intp).max  # a rank that no draw reaches


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


def few_label_splits(
    y: Any,
    n_per_class: int,
    n_repeats: int = 1,
    *,
    pool: Any = None,
    groups: Any = None,
    random_state: Any = 0,
) -> tuple[Split, ...]:
    """Draw rows for training, n of each class, several times.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Labels, numbers or text; or attributes: 1, 0, NaN for not known.
    n_per_class : int
        Labels of each class. For attributes the number of all rows drawn: random ones, with at
        least one yes and one no of each attribute as far as n reaches, the rarest first.
    n_repeats : int, default 1
        Independent draws, which overlap where the pool is small.
    pool : array-like of int or bool, or None, default None
        Rows to draw from, as row numbers or a mask. None is all. A set with test rows of its own
        passes its training rows here.
    groups : array-like of shape (n_samples,) or None, default None
        Rows with one value, say copies of one photograph (`duplicate_groups`), never part between
        train and test, and count as one label: at most one of a class is drawn.
    random_state : int, RandomState or None, default 0
        With one seed, a draw of more labels contains the draw of fewer, repeat by repeat.

    Returns
    -------
    tuple of n_repeats Split

    Raises
    ------
    ParameterError
        Where a class has fewer rows than asked for (without copies).

    Examples
    --------
    >>> ((train, test),) = few_label_splits(["cat", "cat", "dog", "dog", "dog"], 2)
    >>> train.tolist(), test.tolist()
    ([0, 1, 2, 4], [3])
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
    """One random order of a pool: `take(n)` is the split of its first n rows per class.

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
        """Return the split of the first n rows per class."""
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
        ranks = _rank_for_attributes(labels[rows], numbers, rng)
        return Draw(rows, ranks, numbers, None, np.empty(0))
    classes, codes = _number_classes(labels, rows)
    return Draw(rows, _rank_in_classes(codes, numbers, rng), numbers, codes, classes)


def _number_classes(y: Any, pool: Rows) -> tuple[NDArray[Any], Rows]:
    """Return the sorted classes of the pool's labels and each pool row's class number.

    Raises
    ------
    ParameterError
        Where a label is missing or labels cannot be sorted.
    """
    labels = label_array(y)[pool]
    values = labels.tolist()
    missing = [i for i, value in enumerate(values) if is_missing(value, words=False)]
    if missing:
        raise ParameterError(
            f"y: row {int(pool[missing[0]])} has no label ({values[missing[0]]!r}), expected one "
            "for each row of the pool; pass the labelled rows as `pool`"
        )
    try:
        classes, codes = np.unique(labels, return_inverse=True)
    except TypeError as err:
        raise ParameterError(f"y: got labels of several types, expected one type: {err}") from err
    return classes, codes.reshape(-1).astype(np.intp)


def _rank_in_classes(codes: Rows, groups: Rows, rng: np.random.RandomState) -> Rows:
    """Return each row's place in the random order of its class; copies come once.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), int
        Class numbers.
    groups : ndarray of shape (n_rows,), int
        Of the rows of one group and class the first drawn has a place, the others have none.

    Returns
    -------
    ndarray of shape (n_rows,), int
        From 0 in each class; `NEVER` for none.
    """
    ranks = np.full(len(codes), NEVER, dtype=np.intp)
    for code in range(codes.max(initial=-1) + 1):
        rows = rng.permutation(np.flatnonzero(codes == code))
        chosen = rows[np.sort(np.unique(groups[rows], return_index=True)[1])]
        ranks[chosen] = np.arange(len(chosen))
    return ranks


def _rank_for_attributes(Y: NDArray[np.float64], groups: Rows, rng: np.random.RandomState) -> Rows:
    """Return each row's place in one random order that soon has every answer of every attribute.

    Parameters
    ----------
    Y : ndarray of shape (n_rows, n_attributes)
        1, 0 and NaN for not known.
    groups : ndarray of shape (n_rows,), int
        As for `class_ranks`.

    Returns
    -------
    ndarray of shape (n_rows,), int

    Notes
    -----
    Rows are shuffled. Then, from the rarest answer (yes or no of an attribute) to the commonest,
    the first row that has it is put in front, unless a row in front has it already: rarest first
    as in Sechidis et al. 2011, "On the stratification of multi-label data".
    """
    rows = rng.permutation(len(Y))
    rows = rows[np.sort(np.unique(groups[rows], return_index=True)[1])]
    has = np.concatenate([Y[rows] == 1, Y[rows] == 0], axis=1)
    counts = has.sum(axis=0)
    front: list[int] = []
    for answer in np.argsort(counts, kind="stable"):
        if counts[answer] and not has[front, answer].any():
            front.append(int(np.argmax(has[:, answer])))
    order = np.concatenate([rows[front], np.delete(rows, front)])
    ranks = np.full(len(Y), NEVER, dtype=np.intp)
    ranks[order] = np.arange(len(order))
    return ranks


def as_labels(y: Any) -> NDArray[Any]:
    """Return labels of shape (n_samples,), or float attributes (n_samples, n_attributes).

    Raises
    ------
    ParameterError
        For another shape, or attributes that are not 1, 0 or NaN.
    """
    labels = label_array(y)
    if labels.ndim not in (1, 2) or not labels.size:
        raise ParameterError(
            f"y: got shape {labels.shape}, expected (n_samples,) or (n_samples, n_attributes)"
        )
    if labels.ndim == 1:
        return labels
    return answer_array(labels)


def as_rows(name: str, rows: Any, n_samples: int) -> Rows:
    """Return row numbers from numbers or a mask; None gives all.

    Raises
    ------
    ParameterError
        For rows that are not there, or twice, or a mask of another length.
    """
    if rows is None:
        return np.arange(n_samples)
    array = np.asarray(rows)
    if array.dtype == bool:
        if array.shape != (n_samples,):
            raise ParameterError(
                f"{name}: got a mask of shape {array.shape}, expected ({n_samples},)"
            )
        array = np.flatnonzero(array)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise ParameterError(
            f"{name}: got shape {array.shape} and dtype {array.dtype}, expected row numbers or a "
            "mask, with at least one row"
        )
    outside = (array < 0) | (array >= n_samples)
    if outside.any():
        raise ParameterError(
            f"{name}: got row {int(array[outside][0])}, expected 0 to {n_samples - 1}"
        )
    values, counts = np.unique(array, return_counts=True)
    if len(values) != len(array):
        raise ParameterError(
            f"{name}: got row {int(values[counts > 1][0])} more than once, expected each once"
        )
    return array.astype(np.intp)


def as_group_numbers(groups: Any, n_samples: int) -> Rows:
    """Return one number per row, equal where groups are; a row without one has its own.

    Raises
    ------
    ParameterError
        For another length.
    """
    if groups is None:
        return np.arange(n_samples)
    array = label_array(groups)
    if array.shape != (n_samples,):
        raise ParameterError(
            f"groups: got shape {array.shape}, expected ({n_samples},), a value for each row of y"
        )
    is_known = np.array([not is_missing(value, words=False) for value in array.tolist()], bool)
    numbers = np.arange(n_samples) + n_samples  # beyond those of the groups
    numbers[is_known] = np.unique(array[is_known], return_inverse=True)[1].reshape(-1)
    return numbers.astype(np.intp)
