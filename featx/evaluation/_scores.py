"""Scores of classes and attributes that scikit-learn lacks, or has not for unknown labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from featx._values import answer_array
from featx.errors import ParameterError, choose, require_count

__all__ = [
    "calibration_error",
    "mean_over_attributes",
    "mean_per_class_accuracy",
    "measure_average_precision",
    "precision_recall_points",
]

Array = NDArray[np.float64]


def mean_over_attributes(
    y_true: Any,
    score: Any,
    *,
    metric: Callable[[Array, Array], float] = average_precision_score,
    average: str | None = "macro",
) -> Any:
    """Return the mean over attributes of a metric of their known labels.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_attributes)
        1 for yes, 0 for no, NaN for not known: left out.
    score : array-like of the same shape
        Higher is more likely.
    metric : callable, default `sklearn.metrics.average_precision_score`
        Takes the known labels and scores of one attribute that has a positive; NaN leaves it out.
    average : {"macro", None}, default "macro"
        Mean over the attributes that have a positive, or None for each attribute's value, NaN
        where it has none.

    Returns
    -------
    float, or ndarray of shape (n_attributes,) where `average` is None

    Raises
    ------
    ParameterError
        For malformed arrays, or where no attribute has a positive.

    Examples
    --------
    >>> mean_over_attributes([[1, 0], [0, 1], [1, np.nan]], [[0.9, 0.1], [0.5, 0.8], [0.3, 0.9]])
    0.9166666666666666
    """
    choose("average", average, ("macro", None))
    labels, scores, is_single = _read_labels_and_scores(y_true, score)
    values = np.full(labels.shape[1], np.nan)
    for column in range(labels.shape[1]):
        known = ~np.isnan(labels[:, column])
        truth = labels[known, column]
        if truth.any():
            values[column] = metric(truth, scores[known, column])
    if average is None and not is_single:
        return values
    if np.isnan(values).all():
        raise ParameterError("y_true: got no positive label in any class, expected at least one")
    return float(np.nanmean(values))


def measure_average_precision(truth: Array, scores: Array) -> float:
    """Return `sklearn.metrics.average_precision_score` of checked labels, as a resample needs it.

    Parameters
    ----------
    truth, scores : ndarray of shape (n_samples,), float64
        0 or 1, with at least one 1; finite, higher is more likely.

    Returns
    -------
    float
        Equal scores are one step. scikit-learn checks and encodes its arrays at each call, which
        takes longer than the sum itself where a bootstrap calls it thousands of times.

    Examples
    --------
    >>> measure_average_precision(np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.8, 0.8]))
    0.8333333333333333
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(truth[order])[ends]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (ends + 1)) / hits[-1])


def precision_recall_points(
    y_true: Any, score: Any, *, max_points: int = 200
) -> tuple[Array, Array]:
    """Return points of the precision-recall curve, by rising recall.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        1 for yes, 0 for no, NaN for not known: left out.
    score : array-like of shape (n_samples,)
        Higher is more likely.
    max_points : int, default 200
        At least 4. Beyond, recalls are thinned evenly, each with its highest and its lowest
        precision, so that the saw's teeth stay.

    Returns
    -------
    (recall, precision) : tuple of ndarray of shape (n_points,), float64
        From recall 0 at precision 1 to recall 1; the points of
        `sklearn.metrics.precision_recall_curve` with `drop_intermediate=True`.

    Raises
    ------
    ParameterError
        Where no label is 1.

    Examples
    --------
    >>> recall, precision = precision_recall_points([1, 0, np.nan, 1], [0.9, 0.8, 0.7, 0.6])
    >>> recall.tolist(), precision.round(2).tolist()
    ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.5, 0.67])
    """
    require_count("max_points", max_points, 4)
    labels, scores, is_single = _read_labels_and_scores(y_true, score)
    if not is_single:
        raise ParameterError(
            f"y_true: got shape {labels.shape}, expected (n_samples,): one attribute at a time"
        )
    known = ~np.isnan(labels[:, 0])
    truth = labels[known, 0]
    if not truth.any():
        raise ParameterError("y_true: got no positive label, expected at least one")
    precision, recall, _ = precision_recall_curve(truth, scores[known, 0], drop_intermediate=True)
    recall, precision = recall[::-1], precision[::-1]
    if len(recall) <= max_points:
        return recall, precision
    starts = np.flatnonzero(np.diff(recall, prepend=-1))
    ends = np.append(starts[1:], len(recall)) - 1
    wanted = np.linspace(0, 1, max_points // 2)
    levels = np.unique(np.abs(recall[starts][None, :] - wanted[:, None]).argmin(axis=1))
    kept = np.unique(np.concatenate([starts[levels], ends[levels]]))
    return recall[kept], precision[kept]


def mean_per_class_accuracy(y_true: Any, y_pred: Any) -> float:
    """Return the mean, over the classes of `y_true`, of the share predicted right.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Labels, numbers or text.

    Returns
    -------
    float
        The same as `sklearn.metrics.balanced_accuracy_score`, but silent where a class is
        predicted that `y_true` has not, as happens in a resample.

    Examples
    --------
    >>> mean_per_class_accuracy(["a", "a", "a", "b"], ["a", "a", "b", "b"])
    0.8333333333333333
    """
    truth, predicted = np.asarray(y_true), np.asarray(y_pred)
    if truth.shape != predicted.shape or truth.ndim != 1 or not truth.size:
        raise ParameterError(
            f"y_true and y_pred: got shapes {truth.shape} and {predicted.shape}, expected the "
            "same shape (n_samples,)"
        )
    _, codes = np.unique(truth, return_inverse=True)
    return float(np.mean(np.bincount(codes, weights=truth == predicted) / np.bincount(codes)))


def _read_labels_and_scores(
    y_true: Any, score: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return labels (0, 1, NaN) and scores as (n_samples, n_classes), and whether they were 1-D.

    Raises
    ------
    ParameterError
        For shapes that differ, other labels, or scores that are not finite.
    """
    labels = answer_array(y_true, "y_true")
    scores = np.asarray(score, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim not in (1, 2) or not labels.size:
        raise ParameterError(
            f"y_true and score: got shapes {labels.shape} and {scores.shape}, expected the same "
            "shape, (n_samples,) or (n_samples, n_classes)"
        )
    if not np.isfinite(scores).all():
        raise ParameterError("score: got NaN or infinity, expected finite numbers")
    if labels.ndim == 1:
        return labels[:, None], scores[:, None], True
    return labels, scores, False


def calibration_error(confidence: Any, is_right: Any, *, n_bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017).

    Parameters
    ----------
    confidence : array-like of shape (n_samples,)
        Probability that each prediction is right.
    is_right : array-like of shape (n_samples,), bool
        Whether it is.
    n_bins : int, default 15
        Of equal width.

    Returns
    -------
    float
        Mean over the samples of the difference, in each bin, of the mean confidence and the share
        that is right.

    Examples
    --------
    >>> calibration_error([0.8, 0.8, 0.8, 0.8], [True, True, True, False])
    0.05
    """
    require_count("n_bins", n_bins)
    sure, right = np.asarray(confidence, float), np.asarray(is_right, float)
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    return float(round(np.abs(np.bincount(bins, sure - right)).sum() / len(sure), 12))
