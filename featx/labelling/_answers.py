"""The labels that have been given so far, by row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._values import as_texts
from featx.errors import ParameterError
from featx.images import attribute_labels
from featx.images.join import join_labels
from featx.images.labels import is_table
from featx.labelling._guesses import Guesser

if TYPE_CHECKING:
    from featx.store.reader import FeatureStore

__all__ = ["Answers", "read_answers", "read_values"]

Rows = NDArray[np.intp]
NUMBERS = {"1": 1.0, "0": 0.0}


@dataclass(frozen=True, eq=False)
class Answers:
    """Labels of some rows: classes, or attributes.

    Parameters
    ----------
    taken : ndarray of shape (n_taken,), intp
        Rows that have been looked at, labelled or not.
    rows : ndarray of shape (n_labelled,), intp
        Rows that have a label.
    labels : ndarray of shape (n_labelled,), str
        Their classes; empty where there are attributes.
    values : ndarray of shape (n_labelled, n_attributes), float64
        Their attributes: 1, 0, or NaN.
    names : tuple of str
        The attributes.
    """

    taken: Rows
    rows: Rows
    labels: NDArray[np.str_]
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    names: tuple[str, ...] = ()

    @property
    def can_fit(self) -> bool:
        """Whether there are two classes, or an attribute with both answers."""
        if self.names:
            return any({0.0, 1.0} <= set(column) for column in self.values.T)
        return len(np.unique(self.labels)) > 1

    def fit(self, X: NDArray[np.float32], before: Guesser | None = None) -> Guesser | None:
        """Fit a probe to unit vectors of all rows; None while there are too few labels.

        `before` is that of some labels less, where the new one begins.
        """
        if not self.can_fit:
            return None
        labels = self.values if self.names else self.labels
        others = np.setdiff1d(self.taken, self.rows)
        return Guesser(X, self.rows, labels, self.names, others, before)


def read_values(found: Mapping[int, tuple[str, ...]], names: tuple[str, ...]) -> Answers:
    """Return what a label file says of some rows: a class each, or a value of each attribute."""
    taken = np.fromiter(found, np.intp, len(found))
    if not names:
        labels = np.array([values[0] for values in found.values()], dtype=np.str_)
        return Answers(taken, taken[labels != ""], labels[labels != ""])
    values = np.array(
        [[NUMBERS.get(v, np.nan) for v in row] for row in found.values()], dtype=float
    ).reshape(len(found), len(names))
    has_any = ~np.isnan(values).all(axis=1)
    return Answers(taken, taken[has_any], np.empty(0, np.str_), values[has_any], names)


def read_answers(store: FeatureStore, labels: Any) -> Answers:
    """Join labels to the rows of a store; see `featx.suggest`."""
    nothing = np.empty(0, np.intp)
    if labels is None:
        return Answers(nothing, nothing, np.empty(0, np.str_))
    if not is_table(labels) and not isinstance(labels, (str, os.PathLike)):
        return _in_row_order(store, labels)
    joined = join_labels(store.paths.tolist(), labels)
    if joined.table.labels is None and joined.columns:
        found = attribute_labels(store, labels)
        has_any = ~np.isnan(found.values).all(axis=1)
        return Answers(
            found.rows, found.rows[has_any], np.empty(0, np.str_), found.values[has_any],
            found.names,
        )  # fmt: skip
    given = np.array(joined.labels or (), dtype=np.str_)
    has_label = given != ""
    return Answers(joined.rows, joined.rows[has_label], given[has_label])


def _in_row_order(store: FeatureStore, labels: Sequence[Any]) -> Answers:
    given = np.array(as_texts(labels, "labels"), dtype=np.str_)
    if given.shape != (len(store),):
        raise ParameterError(
            f"labels: got {len(given)} labels for {len(store)} images, expected one for each row "
            'of the store ("" where there is none), a label file, or a mapping with "path" and '
            '"label"'
        )
    rows = np.flatnonzero(given != "")
    return Answers(rows, rows, given[rows])
