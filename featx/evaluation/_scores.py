"""Average precision of classes and attributes from their scores, and accuracy by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from featx.errors import ParameterError, choose
from featx.evaluation._validation import labels_and_scores

__all__ = [
    "average_precision_voc",
    "mean_per_class_accuracy",
    "multilabel_mean_average_precision",
    "multilabel_mean_roc_auc",
]

Array = NDArray[np.float64]


def average_precision_voc(
    y_true: Any, score: Any, *, year: int = 2007, average: str | None = "macro"
) -> Any:
    """Return average precision as the PASCAL VOC challenge counts it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_classes)
        1 for yes, 0 for no, NaN for "difficult" or not known: left out.
    score : array-like of the same shape
        Higher is more likely. Equal scores enter the ranking together.
    year : {2007, 2010}, default 2007
        2007: the mean, over the recalls 0, 0.1 to 1, of the highest precision at that recall or a
        higher one. 2010, which holds for all later years: the area under that envelope.
    average : {"macro", None}, default "macro"
        Mean over the classes that have a positive, or None for each class's value, NaN where it
        has none.

    Returns
    -------
    float, or ndarray of shape (n_classes,) where `average` is None
        Everingham et al., "The PASCAL visual object classes challenge", IJCV 2010, section 4.2.

    Raises
    ------
    ParameterError
        For malformed arrays, or where no class has a positive.

    Examples
    --------
    >>> round(average_precision_voc([1, 0, 1], [0.9, 0.8, 0.7]), 4)
    0.8485
    >>> round(average_precision_voc([1, 0, 1], [0.9, 0.8, 0.7], year=2010), 4)
    0.8333
    """
    choose("year", year, (2007, 2010))
    return _over_classes(y_true, score, average, lambda labels, scores: _voc(labels, scores, year))


def multilabel_mean_average_precision(
    y_true: Any, score: Any, *, average: str | None = "macro"
) -> Any:
    """Return the mean over attributes of the step average precision.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_attributes)
        1 for yes, 0 for no, NaN for not known: left out.
    score : array-like of the same shape
    average : {"macro", None}, default "macro"
        As for `average_precision_voc`.

    Returns
    -------
    float, or ndarray of shape (n_attributes,) where `average` is None
        `sklearn.metrics.average_precision_score` of each attribute's known labels.

    Examples
    --------
    >>> multilabel_mean_average_precision([[1, 0], [0, 1], [1, np.nan]],
    ...                                   [[0.9, 0.1], [0.5, 0.8], [0.3, 0.9]])
    0.9166666666666666
    """
    return _over_classes(y_true, score, average, average_precision_score)


def multilabel_mean_roc_auc(y_true: Any, score: Any, *, average: str | None = "macro") -> Any:
    """Return the mean over attributes of the area under the ROC curve.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_attributes)
        1 for yes, 0 for no, NaN for not known: left out.
    score : array-like of the same shape
    average : {"macro", None}, default "macro"
        Mean over the attributes that have both answers, or None for each attribute's value, NaN
        where it has one.

    Returns
    -------
    float, or ndarray of shape (n_attributes,) where `average` is None
        `sklearn.metrics.roc_auc_score` of each attribute's known labels.

    Examples
    --------
    >>> multilabel_mean_roc_auc([[1, 0], [0, 1], [1, np.nan]],
    ...                         [[0.9, 0.1], [0.5, 0.8], [0.3, 0.9]])
    0.75
    """
    return _over_classes(
        y_true,
        score,
        average,
        lambda truth, scores: np.nan if truth.all() else roc_auc_score(truth, scores),
    )


def _over_classes(y_true: Any, score: Any, average: str | None, metric: Any) -> Any:
    choose("average", average, ("macro", None))
    labels, scores, is_single = labels_and_scores(y_true, score)
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


def _voc(truth: Array, scores: Array, year: int) -> float:
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # last of each tie
    right = np.cumsum(truth[order])[ends]
    precision, recall = right / (ends + 1), right / truth.sum()
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if year == 2007:
        # Rounding must not put a recall of 3 of 10 beside the level 0.3.
        levels = np.arange(11) / 10
        places = np.searchsorted(recall, levels - 1e-12)
        return float(np.append(envelope, 0)[places].mean())
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


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
