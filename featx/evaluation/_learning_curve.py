"""Accuracy against labels per class: the same nested draws for every estimator.

It fits and scores; what more labels would buy is a matter of `_power_law`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state

from featx._progress import Progress
from featx._repr import OneLine, as_table
from featx.errors import ParameterError, choose, require_count
from featx.evaluation._scores import mean_per_class_accuracy
from featx.evaluation._splits import Draw, as_group_numbers, as_labels, as_rows, draw_order

__all__ = ["FewLabelCurve", "few_label_curve"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
LEVEL = 0.95

METRICS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": lambda truth, predicted: float(np.mean(np.asarray(truth) == predicted)),
    "balanced_accuracy": mean_per_class_accuracy,
}


@dataclass(frozen=True, eq=False, repr=False)
class FewLabelCurve(OneLine):
    """Scores by number of labels per class, for each of some estimators.

    Parameters
    ----------
    n_per_class : tuple of int
        Rising.
    scores : mapping of str to ndarray of shape (n_sizes, n_repeats), float64
        A column is one draw, the same for every estimator.
    scoring : str
        What the scores are.
    n_left_out : int, default 0
        Rows never drawn because their group is among the test rows.
    """

    n_per_class: tuple[int, ...]
    scores: Mapping[str, Array]
    scoring: str = "accuracy"
    n_left_out: int = 0

    @property
    def mean(self) -> dict[str, Array]:
        """Mean over the draws, (n_sizes,), of each estimator."""
        return {name: values.mean(axis=1) for name, values in self.scores.items()}

    @property
    def intervals(self) -> dict[str, Array]:
        """95 % interval of the mean, (n_sizes, 2), of each estimator; empty for a single draw.

        Student's t over the draws: a bootstrap of ten values is too narrow by its missing t factor
        and by sqrt(9 / 10). It tells how far another set of draws could lie from this; the test
        rows are the same, and draws that use up much of the pool overlap, for which it is too
        narrow (Nadeau and Bengio 2003, "Inference for the generalization error").
        """
        found = {}
        for name, values in self.scores.items():
            n = values.shape[1]
            if n < 2:
                continue
            reach = student.ppf((1 + LEVEL) / 2, n - 1) * values.std(axis=1, ddof=1) / np.sqrt(n)
            ends = values.mean(axis=1)[:, None] + reach[:, None] * np.array([-1.0, 1.0])
            found[name] = np.clip(ends, 0, 1) if self.scoring in METRICS else ends
        return found

    def _repr_html_(self) -> str:
        """Show each estimator's mean scores with their intervals in a notebook."""
        columns = []
        for name, means in self.mean.items():
            cells = [f"{mean:.3f}" for mean in means]
            if name in self.intervals:
                ends = [f" ({low:.3f} to {high:.3f})" for low, high in self.intervals[name]]
                cells = [cell + span for cell, span in zip(cells, ends, strict=True)]
            columns.append(cells)
        caption = f"{self.scoring.replace('_', ' ').capitalize()}, 95 % interval"
        rows = zip(self.n_per_class, *columns, strict=True)
        return as_table(caption, rows, head=("labels per class", *self.mean))


def few_label_curve(
    X: Any,
    y: Any,
    estimators: Mapping[str, Any],
    *,
    n_per_class: Sequence[int] = (1, 2, 5, 10, 20),
    n_repeats: int = 10,
    test: Any = None,
    groups: Any = None,
    scoring: str | Callable[[Any, Any, Any], float] = "accuracy",
    random_state: Any = 0,
    progress: bool | None = None,
) -> FewLabelCurve:
    """Train on few labels per class, and on more, and score on the same test rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), or sequence of n_samples paths
        What the estimators take.
    y : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Labels, or attributes (1, 0, NaN for not known).
    estimators : mapping of str to scikit-learn estimator
        Not fitted; each is cloned for every fit.
    n_per_class : sequence of int, default (1, 2, 5, 10, 20)
        Labels of each class, rising; for attributes the number of all rows. The draw of more
        contains the draw of fewer.
    n_repeats : int, default 10
        Draws. Fits are len(estimators) * len(n_per_class) * n_repeats.
    test : array-like of int or bool, or None, default None
        The set's own test rows, as row numbers or a mask; the others are drawn from. None tests
        each draw on the rows that its largest size leaves.
    groups : array-like of shape (n_samples,) or None, default None
        As for `few_label_split`. Rows of a test row's group are never drawn.
    scoring : {"accuracy", "balanced_accuracy"} or callable, default "accuracy"
        A callable is a scikit-learn scorer, called with the fitted estimator, X and y; for
        attributes it has to be one.
    random_state : int, RandomState or None, default 0
        Draws the rows.
    progress : bool or None, default None
        On stderr; None shows it only where it takes long, False never.

    Returns
    -------
    FewLabelCurve

    Raises
    ------
    ParameterError
        Where a class has too few rows, or none left to test on.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> curve = few_label_curve(X, y, {"nearest": KNeighborsClassifier(1)}, n_repeats=3,
    ...                         n_per_class=(1, 5, 20))
    >>> curve.mean["nearest"].round(1).tolist(), curve.scores["nearest"].shape
    ([0.7, 0.8, 0.9], (3, 3))
    """
    labels = as_labels(y)
    rows = X if hasattr(X, "shape") or isinstance(X, list) else list(X)
    n_rows = rows.shape[0] if hasattr(rows, "shape") else len(rows)
    if n_rows != len(labels):
        raise ParameterError(f"X: got {n_rows} rows, expected {len(labels)}, one for each of y")
    if not estimators:
        raise ParameterError("estimators: got none, expected at least one name and estimator")
    score, title = _get_scorer(scoring, labels)
    sizes = _check_sizes(n_per_class)
    require_count("n_repeats", n_repeats)
    draws, own_test, n_left_out = _make_draws(
        labels, test, groups, sizes[-1], n_repeats, random_state
    )
    scores = {name: np.empty((len(sizes), n_repeats)) for name in estimators}
    n_fits = len(estimators) * len(sizes) * n_repeats
    with Progress(n_fits, "few_label_curve", unit="fit", enabled=progress) as bar:
        for repeat, draw in enumerate(draws):
            tested = draw.take(sizes[-1]).test if own_test is None else own_test
            X_test, y_test = _safe_indexing(rows, tested), labels[tested]
            for place, size in enumerate(sizes):
                train = draw.take(size).train
                X_train, y_train = _safe_indexing(rows, train), labels[train]
                for name, estimator in estimators.items():
                    try:
                        fitted = clone(estimator).fit(X_train, y_train)
                        scores[name][place, repeat] = score(fitted, X_test, y_test)
                    except Exception as err:
                        err.add_note(f"few_label_curve: {name!r} at {size} labels per class")
                        raise
                    bar.advance()
    return FewLabelCurve(sizes, scores, title, n_left_out)


def _make_draws(
    labels: NDArray[Any], test: Any, groups: Any, largest: int, n_repeats: int, random_state: Any
) -> tuple[list[Draw], Rows | None, int]:
    """Return the draws, the set's own test rows, and how many rows are kept out for them."""
    numbers = as_group_numbers(groups, len(labels))
    rng = check_random_state(random_state)
    pool = np.arange(len(labels))
    tested = None if test is None else as_rows("test", test, len(labels))
    n_left_out = 0
    if tested is not None:
        others = np.setdiff1d(pool, tested)
        pool = others[~np.isin(numbers[others], numbers[tested])]
        n_left_out = len(others) - len(pool)
        if not len(pool):
            raise ParameterError(
                f"test: got {len(tested)} of {len(labels)} rows, which with their groups are all; "
                "expected some to draw from"
            )
    draws = [draw_order(labels, pool, numbers, rng) for _ in range(n_repeats)]
    for draw in draws:
        draw.require(largest, spare=tested is None)
    return draws, tested, n_left_out


def _get_scorer(
    scoring: Any, labels: NDArray[Any]
) -> tuple[Callable[[Any, Any, Any], float], str]:
    if callable(scoring):
        return scoring, str(getattr(scoring, "__name__", type(scoring).__name__))
    choose("scoring", scoring, tuple(METRICS))
    if labels.ndim == 2:
        raise ParameterError(
            f"scoring: got {scoring!r} for y of shape {labels.shape}, expected a scikit-learn "
            "scorer, a callable of the estimator, X and y"
        )
    metric = METRICS[scoring]
    return lambda fitted, X, y: metric(y, fitted.predict(X)), scoring


def _check_sizes(n_per_class: Sequence[int]) -> tuple[int, ...]:
    for size in n_per_class:
        require_count("n_per_class", size)
    sizes = tuple(int(size) for size in n_per_class)
    if not sizes or any(a >= b for a, b in pairwise(sizes)):
        raise ParameterError(f"n_per_class: got {sizes}, expected rising numbers, at least one")
    return sizes
