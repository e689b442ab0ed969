"""Metrics of the standard sets that the library does without."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from featx.errors import ParameterError, choose
from featx.evaluation import mean_over_attributes

__all__ = ["average_precision_voc", "mean_roc_auc", "ukbench_score"]


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
    return mean_over_attributes(y_true, score, metric=partial(_voc, year=year), average=average)


def mean_roc_auc(y_true: Any, score: Any, *, average: str | None = "macro") -> Any:
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
    >>> mean_roc_auc([[1, 0], [0, 1], [1, np.nan]],
    ...                         [[0.9, 0.1], [0.5, 0.8], [0.3, 0.9]])
    0.75
    """
    return mean_over_attributes(
        y_true,
        score,
        metric=lambda truth, scores: np.nan if truth.all() else roc_auc_score(truth, scores),
        average=average,
    )


def ukbench_score(indices: Any, groups: Any, *, query_groups: Any = None) -> float:
    """Return the N-S score: how many of the first four rows show the query's object.

    Parameters
    ----------
    indices : array-like of shape (n_queries, k), int
        At least four rows per query, best first; the query itself counts where it is found.
    groups : array-like of shape (n_database,)
        The object of each database row.
    query_groups : array-like of shape (n_queries,) or None, default None
        The object of each query; None means that the queries are the database, in its order.

    Returns
    -------
    float
        In [0, 4]. Nister and Stewenius, "Scalable recognition with a vocabulary tree", CVPR 2006.

    Examples
    --------
    >>> ukbench_score([[0, 1, 2, 3], [1, 0, 3, 2]], ["cup", "cup", "lamp", "lamp"],
    ...               query_groups=["cup", "cup"])
    2.0
    """
    rankings = [np.asarray(ranking) for ranking in indices]
    database = np.asarray(groups)
    queries = database if query_groups is None else np.asarray(query_groups)
    if len(queries) != len(rankings):
        raise ParameterError(
            f"indices: got {len(rankings)} rankings for {len(queries)} queries, expected one each"
        )
    short = [query for query, ranking in enumerate(rankings) if len(ranking) < 4]
    if short:
        raise ParameterError(
            f"indices: query {short[0]} has {len(rankings[short[0]])} rows, expected at least 4"
        )
    hits = [
        (database[ranking[:4]] == label).sum()
        for ranking, label in zip(rankings, queries, strict=True)
    ]
    return float(np.mean(hits))


def _voc(truth: np.ndarray, scores: np.ndarray, *, year: int) -> float:
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
