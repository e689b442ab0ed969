"""The figures of a classifier on a test set, each with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.utils import check_random_state

from featx._values import require_known
from featx.errors import ParameterError, require_count, require_number
from featx.evaluation._scores import (
    mean_over_attributes,
    mean_per_class_accuracy,
    measure_average_precision,
)

__all__ = ["bootstrap_interval", "evaluate_attributes", "evaluate_classes", "wilson_interval"]

N_RESAMPLES = 500
MAX_SHOWN = 5


def bootstrap_interval(
    metric: Callable[..., float],
    *arrays: Any,
    n_resamples: int = 1000,
    level: float = 0.95,
    random_state: Any = 0,
) -> tuple[float, float]:
    """Return a percentile bootstrap interval.

    Parameters
    ----------
    metric : callable
        Takes the arrays' resampled rows and returns a number.
    *arrays : array-like of shape (n_samples, ...)
        Resampled together, with replacement.
    n_resamples : int, default 1000
        Cost grows linearly; the ends jitter by about 1 / sqrt(n_resamples) of the width.
    level : float, default 0.95
        In (0, 1).
    random_state : int, RandomState or None, default 0

    Returns
    -------
    (low, high) : tuple of float
        Efron and Tibshirani 1993, section 13.3. A resample without value, where the metric gives
        NaN or raises ValueError because, say, the one positive was not drawn, is left out.

    Raises
    ------
    ParameterError
        For arrays of different lengths, or where fewer than half of the resamples have a value.

    Examples
    --------
    >>> low, high = bootstrap_interval(lambda x: float(np.mean(x)), np.arange(100.0))
    >>> bool(40 < low < 49.5 < high < 59)
    True
    """
    require_count("n_resamples", n_resamples)
    require_number("level", level, 0, 1, above=True, below=True)
    columns = [np.asarray(array) for array in arrays]
    lengths = sorted({len(column) for column in columns})
    if len(lengths) != 1 or lengths[0] == 0:
        raise ParameterError(f"arrays: got lengths {lengths}, expected one length above 0")
    metric(*columns)  # what is wrong with all rows is no matter of resampling, and raises here
    rng = check_random_state(random_state)
    values = np.full(n_resamples, np.nan)
    for i in range(n_resamples):
        rows = rng.randint(lengths[0], size=lengths[0])
        try:
            values[i] = metric(*(column[rows] for column in columns))
        except ValueError:
            continue
    known = values[~np.isnan(values)]
    if len(known) < n_resamples / 2:
        raise ParameterError(
            f"bootstrap_interval: got a value from {len(known)} of {n_resamples} resamples, "
            "expected at least half; there are too few samples of some class for an interval"
        )
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(is_right: Any, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a share, such as an accuracy.

    Parameters
    ----------
    is_right : array-like of shape (n_samples,), bool
        At least one.
    level : float, default 0.95
        In (0, 1).

    Returns
    -------
    (low, high) : tuple of float
        Wilson 1927, without correction for continuity. Unlike a bootstrap's, it has a width where
        all are right: that no mistake was seen does not say that there is none.

    Examples
    --------
    >>> low, high = wilson_interval([True] * 20)
    >>> round(low, 3), high
    (0.839, 1.0)
    """
    require_number("level", level, 0, 1, above=True, below=True)
    right = np.asarray(is_right, bool)
    if right.ndim != 1 or not right.size:
        raise ParameterError(
            f"is_right: got shape {right.shape}, expected (n_samples,), 1 or more"
        )
    found = binomtest(int(right.sum()), right.size).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def evaluate_classes(
    y_true: Any,
    y_pred: Any,
    scores: Any,
    classes: Any,
    *,
    n_resamples: int = N_RESAMPLES,
    random_state: Any = 0,
) -> dict[str, Any]:
    """Return the figures of a classifier.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Labels. One that is not among `classes` counts as wrong.
    scores : array-like of shape (n_samples, n_classes)
        Higher is more likely; columns as `classes`.
    classes : array-like of shape (n_classes,)
        What the classifier knows.
    n_resamples : int, default 500
        Of the bootstrap; cost grows linearly.
    random_state : int, RandomState or None, default 0
        Draws the resamples.

    Returns
    -------
    dict
        "accuracy"; "balanced_accuracy", the mean over classes of the share predicted right; "map",
        the mean over classes of the step average precision of their scores; "intervals", 95 %
        intervals: Wilson's of the accuracy, of the others percentiles of a bootstrap, None where
        too few resamples have a value or all have the same, as where no mistake was made;
        "n_samples";
        "n_unknown", how many labels are not among `classes`.

    Examples
    --------
    >>> found = evaluate_classes(["a", "b"], ["a", "b"], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"])
    >>> found["accuracy"], found["map"], found["n_unknown"]
    (1.0, 1.0, 0)
    """
    truth, predicted, known = (
        require_known(y_true, "y_true"),
        np.asarray(y_pred),
        np.asarray(classes),
    )
    is_class = (truth[:, None] == known[None, :]).astype(float)
    if not is_class.any():
        found = np.unique(truth)[:MAX_SHOWN].tolist()
        raise ParameterError(
            f"y_true: got none of the classes {known[:MAX_SHOWN].tolist()}, but {found}, expected "
            "labels that the model was trained on"
        )
    result = _add_intervals(
        {
            "accuracy": lambda t, p, _, __: float(np.mean(t == p)),
            "balanced_accuracy": lambda t, p, _, __: mean_per_class_accuracy(t, p),
            "map": lambda _, __, m, s: _measure_map(m, s),
        },
        (truth, predicted, is_class, np.asarray(scores, float)),
        n_resamples,
        random_state,
    )
    result["intervals"]["accuracy"] = list(wilson_interval(truth == predicted))
    return {**result, "n_unknown": int((is_class.sum(axis=1) == 0).sum())}


def evaluate_attributes(
    y_true: Any, scores: Any, *, n_resamples: int = N_RESAMPLES, random_state: Any = 0
) -> dict[str, Any]:
    """Return the figures of an attribute detector.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_attributes)
        1, 0, or NaN for not known: left out.
    scores : array-like of the same shape
        Probabilities; above 0.5 counts as yes.
    n_resamples, random_state
        As for `evaluate_classes`.

    Returns
    -------
    dict
        "accuracy", the share of known labels that are predicted right; "balanced_accuracy", the
        mean over attributes of the mean of both answers' shares; "map", the mean over attributes
        of the step average precision; "intervals" and "n_samples" as for `evaluate_classes`.

    Examples
    --------
    >>> found = evaluate_attributes([[1, 0], [0, np.nan]], [[0.9, 0.6], [0.2, 0.8]])
    >>> round(found["accuracy"], 3)
    0.667
    """
    truth, probabilities = np.asarray(y_true, float), np.asarray(scores, float)
    if truth.shape != probabilities.shape or truth.ndim != 2:
        raise ParameterError(
            f"y_true and scores: got shapes {truth.shape} and {probabilities.shape}, expected the "
            "same shape (n_samples, n_attributes)"
        )
    return _add_intervals(
        {
            "accuracy": _measure_accuracy,
            "balanced_accuracy": _measure_balanced_accuracy,
            "map": _measure_map,
        },
        (truth, probabilities),
        n_resamples,
        random_state,
    )


def _add_intervals(
    metrics: dict[str, Callable[..., float]],
    arrays: tuple[NDArray[Any], ...],
    n_resamples: int,
    random_state: Any,
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for name, metric in metrics.items():
        result[name] = metric(*arrays)
        try:
            found = bootstrap_interval(
                metric, *arrays, n_resamples=n_resamples, random_state=random_state
            )
            # Resamples of what has no mistake have none: that says nothing of the next image.
            intervals[name] = list(found) if found[0] < found[1] else None
        except ParameterError:  # a handful of samples has no interval worth a number
            intervals[name] = None
    return {**result, "intervals": intervals, "n_samples": len(arrays[0])}


def _measure_map(truth: NDArray[Any], scores: NDArray[Any]) -> float:
    return float(mean_over_attributes(truth, scores, metric=measure_average_precision))


def _measure_accuracy(truth: NDArray[Any], probabilities: NDArray[Any]) -> float:
    known = ~np.isnan(truth)
    if not known.any():
        raise ParameterError("y_true: got no known label, expected at least one")
    return float(np.mean((probabilities > 0.5)[known] == (truth > 0.5)[known]))


def _measure_balanced_accuracy(truth: NDArray[Any], probabilities: NDArray[Any]) -> float:
    values = []
    for labels, scores in zip(truth.T, probabilities.T, strict=True):
        known = ~np.isnan(labels)
        if known.any():
            values.append(mean_per_class_accuracy(labels[known] > 0.5, scores[known] > 0.5))
    if not values:
        raise ParameterError("y_true: got no known label, expected at least one")
    return float(np.mean(values))
