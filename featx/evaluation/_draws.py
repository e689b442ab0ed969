"""The order in which rows are drawn for training: the first n of it are a draw of n.

One order serves all sizes, so a draw of five contains the draw of two and a learning curve shows
more labels rather than other labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._values import is_missing, label_array
from featx.errors import ParameterError

__all__ = ["class_ranks", "known_classes", "multilabel_ranks"]

Rows = NDArray[np.intp]
NEVER = np.iinfo(np.intp).max  # a rank that no draw reaches


def known_classes(y: Any, pool: Rows) -> tuple[NDArray[Any], Rows]:
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


def class_ranks(codes: Rows, groups: Rows, rng: np.random.RandomState) -> Rows:
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


def multilabel_ranks(Y: NDArray[np.float64], groups: Rows, rng: np.random.RandomState) -> Rows:
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
