"""Deal samples into folds: stratified, independent of their order, copies kept together.

scikit-learn's `StratifiedKFold` gives up where a class has fewer samples than there are folds,
which is where few-label work begins, and lets two copies of one photograph fall on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from featx.errors import ParameterError

__all__ = ["deal", "deal_attributes", "draw_rows", "number_copies", "read_splits", "split"]

NEVER = -1
# C and the certainty are learned from about this many samples; more change little.
MOST_DEALT = 100_000
LEAST_OF_CLASS = 2  # drawn: one to learn from, and one to hold out


def draw_rows(y: NDArray[Any], random_state: Any) -> NDArray[np.intp]:
    """Return which samples are dealt into folds: all, or about 100,000, a share of each class.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), or (n_samples, n_attributes)
        Classes; of attributes all samples are taken.
    random_state : int, RandomState or None
        Draws them.

    Returns
    -------
    ndarray of shape (n_drawn,), int
        Rising. More than 100,000 where each class's share is rounded up.

    Examples
    --------
    >>> draw_rows(np.array(["cat", "dog", "cat"]), 0).tolist()
    [0, 1, 2]
    """
    n = len(y)
    if n <= MOST_DEALT or y.ndim == 2:
        return np.arange(n)
    codes, counts = np.unique(y, return_inverse=True, return_counts=True)[1:]
    order = check_random_state(random_state).permutation(n)
    by_class = order[np.argsort(codes[order], kind="stable")]
    place = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)  # within the class
    wanted = np.maximum(np.ceil(counts * (MOST_DEALT / n)), LEAST_OF_CLASS)
    return np.sort(by_class[place < np.repeat(wanted, counts)])


def number_copies(X: NDArray[Any]) -> NDArray[np.intp]:
    """Give equal rows one number, in an order that their content decides.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_samples,), int

    Examples
    --------
    >>> numbers = number_copies(np.array([[1.0], [2.0], [1.0]]))
    >>> bool(numbers[0] == numbers[2] != numbers[1])
    True
    """
    rows = np.ascontiguousarray(X)
    whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    return np.unique(whole, return_inverse=True)[1].reshape(-1)


def deal(
    codes: NDArray[Any],
    content: NDArray[np.intp],
    n_folds: int,
    random_state: Any,
    *,
    runs: bool = False,
) -> NDArray[np.intp]:
    """Give each sample the fold in which it is held out.

    The different images of a class are shuffled and dealt round, each class going on where the
    last one stopped, so that folds are of one size and each has its share of every class as far
    as that goes. A class of one image is never held out: without it nothing could be learned.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,), int
        Class of each sample; negative leaves it out.
    content : ndarray of shape (n_samples,), int
        From `number_copies`: equal numbers go to one fold.
    n_folds : int
        Most folds; there are fewer where fewer images can be held out.
    random_state : int, RandomState or None
        Shuffling.
    runs : bool, default False
        Whether runs of a class's images, by their number, are held out instead of shuffled ones.

    Returns
    -------
    ndarray of shape (n_samples,), int
        -1 where a sample is never held out.

    Examples
    --------
    >>> codes = np.array([0, 0, 0, 1, 1, 2])
    >>> deal(codes, np.arange(6), 2, 0).tolist()[-1]
    -1
    """
    rng = check_random_state(random_state)
    folds = np.full(len(codes), NEVER, dtype=np.intp)
    dealt = 0
    for code in np.unique(codes[codes >= 0]):
        rows = np.flatnonzero(codes == code)
        images, of_row = np.unique(content[rows], return_inverse=True)
        if len(images) == 1:
            continue
        places = np.arange(len(images))
        if runs:
            places = places * n_folds // len(images)
        else:
            places[rng.permutation(len(images))] = np.arange(len(images))
        folds[rows] = (dealt + places[of_row.reshape(-1)]) % n_folds
        dealt += len(images)
    return folds


def deal_attributes(
    Y: NDArray[np.float64],
    content: NDArray[np.intp],
    n_folds: int,
    random_state: Any,
    *,
    runs: bool = False,
) -> NDArray[np.intp]:
    """Deal the labels of each attribute by itself.

    Parameters
    ----------
    Y : ndarray of shape (n_samples, n_attributes)
        1, 0 and NaN for not known.
    content, n_folds, random_state, runs
        As for `deal`.

    Returns
    -------
    ndarray of shape (n_samples, n_attributes), int
        -1 where a label is never held out: it is not known, or the attribute has not two images of
        yes and two of no.
    """
    codes = np.where(np.isnan(Y), -1, np.nan_to_num(Y)).astype(np.intp)
    folds = np.full(Y.shape, NEVER, dtype=np.intp)
    for column in range(Y.shape[1]):
        dealt = deal(codes[:, column], content, n_folds, random_state, runs=runs)
        if all((dealt[codes[:, column] == code] >= 0).any() for code in (0, 1)):
            folds[:, column] = dealt
    return folds


def split(
    folds: NDArray[np.intp], codes: NDArray[Any], content: NDArray[np.intp], n_apart: int = 1
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return for each fold what is trained on and what is held out, masks of the folds' shape.

    A copy of what is held out is not trained on, whatever its own label and fold are; and a label
    of which no example is left to train on is not held out.

    Parameters
    ----------
    folds : ndarray of shape (n_samples,), or (n_samples, n_attributes), int
        From `deal` or `deal_attributes`.
    codes : ndarray of the same shape, int
        Labels; negative for not known.
    content : ndarray of shape (n_samples,), int
        Equal numbers are copies, from 0 on.
    n_apart : int, default 1
        Folds that are not trained on: the one that is held out, and those after it.

    Examples
    --------
    >>> folds, codes = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    >>> [train.tolist() for train, _ in split(folds, codes, np.array([0, 1, 2, 0]))]
    [[False, True, False, False], [False, False, True, False]]
    """
    labels = codes + (codes.max(initial=0) + 1) * np.arange(np.size(codes[:1]))  # of each column
    splits = []
    n_folds = int(folds.max(initial=NEVER)) + 1
    for fold in range(n_folds):
        test = folds == fold
        is_apart = np.zeros((int(content.max()) + 1, *folds.shape[1:]), bool)
        unseen = np.isin(folds, (fold + np.arange(n_apart)) % n_folds)
        np.logical_or.at(is_apart, content, unseen)
        train = ~is_apart[content] & (codes >= 0)
        test &= np.isin(labels, labels[train])
        if test.any():
            splits.append((train, test))
    return splits


def read_splits(splits: Iterable[Any], Y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return which split tests each known label of Y, (n_samples, n_attributes), -1 for none.

    Raises
    ------
    ParameterError
        Where two splits test one row.
    """
    of_row = np.full(len(Y), NEVER, dtype=np.intp)
    for number, (_, test) in enumerate(splits):
        if (of_row[test] >= 0).any():
            row = int(np.arange(len(Y))[test][of_row[test] >= 0][0])
            raise ParameterError(
                f"cv: got row {row} in the test part of two splits, expected each at most once"
            )
        of_row[test] = number
    return np.where(np.isnan(Y), NEVER, of_row[:, None])
