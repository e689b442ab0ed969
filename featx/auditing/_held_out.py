"""Scores of labelled images from probes that have not seen them, nor a copy of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.auditing._noise import NoiseModel
from featx.estimators import AttributeClassifier, LinearProbeClassifier

__all__ = ["attribute_scores", "both_sides", "choose_attribute_strength",
           "choose_strength", "class_scores", "deal_groups", "to_row_space"]  # fmt: skip

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]
N_FOLDS = 5
STRENGTHS = (0.32, 1.0, 3.2, 10.0, 32.0, 100.0, 316.0)  # of unit rows
MOST_CHOSEN_FROM = 10_000  # images; more move C little
MOST_ATTRIBUTES = 10
TOL = 1e-3  # what the solver gains below it moves no probability that matters here
FAR = 10.0  # below the least score: where a fold had no example of a class


def deal_groups(codes: Rows, groups: Rows, random_state: int | None = None) -> Rows:
    """Return the fold that holds out each image; each class is spread, a group is never parted.

    Parameters
    ----------
    codes, groups : ndarray of shape (n_samples,), intp
        Class and group of each image. A group goes where its first image does.
    random_state : int, optional
        Shuffles each class. Default: runs of images that follow one another.

    Examples
    --------
    >>> deal_groups(np.zeros(6, int), np.array([0, 1, 2, 3, 4, 0])).tolist()
    [0, 1, 2, 3, 4, 0]
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    if random_state is None:
        order = np.argsort(first)
    else:
        order = np.random.default_rng(random_state).permutation(len(first))
    of_group = codes[first][order]
    folds = np.empty(len(first), np.intp)
    for code in np.unique(of_group):
        mine = order[of_group == code]
        # Each class begins at another fold, so that small classes do not all miss the last one.
        folds[mine] = (code + np.arange(len(mine)) * N_FOLDS // len(mine)) % N_FOLDS
    return folds[inverse.reshape(-1)]


def to_row_space(X: Floats) -> Floats:
    """Return the rows in as few coordinates as there are rows: no product of two changes.

    The probes work with such products alone, and each of their many fits is faster by it.
    """
    if len(X) >= X.shape[1]:
        return X
    _, triangle = np.linalg.qr(X.T)
    return np.ascontiguousarray(triangle.T)


def choose_strength(X: Floats, codes: Rows, folds: Rows) -> float:
    """Return the C of the probe whose held-out scores make the labels likeliest.

    Not by accuracy or log loss: these are measured on labels of which some are wrong, and a probe
    that is merely not sure of itself loses nothing here. `NoiseModel` allows for both.

    Parameters
    ----------
    X, codes, folds
        As for `class_scores`; of more than 10,000 images a sample is taken.
    """
    rows = _sample(len(codes))
    _, codes = np.unique(codes[rows], return_inverse=True)
    codes = codes.reshape(-1).astype(np.intp)

    def loss(strength: float) -> float:
        scores, is_judged = class_scores(X[rows], codes, folds[rows], strength)
        return NoiseModel.fit(scores[is_judged], codes[is_judged]).loss if is_judged.any() else 0.0

    return _least(loss)


def class_scores(
    X: Floats,
    codes: Rows,
    folds: Rows,
    strength: float,
    advance: Callable[[], Any] = lambda: None,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return held-out scores.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32
        Unit rows.
    codes, folds : ndarray of shape (n_samples,), intp
    strength : float
        C.
    advance : callable
        Called after each of the five fits.

    Returns
    -------
    scores : ndarray of shape (n_samples, n_classes), float32
        Logarithms of probabilities, but for a constant for each sample.
    is_judged : ndarray of shape (n_samples,), bool
        Whether the probe that scored the image had examples of its class.
    """
    n_classes = int(codes.max()) + 1
    scores = np.zeros((len(codes), n_classes), np.float32)
    is_judged = np.zeros(len(codes), bool)
    for fold in range(N_FOLDS):
        test, train = folds == fold, folds != fold
        if test.any() and len(np.unique(codes[train])) > 1:
            probe = _fit_quietly(
                LinearProbeClassifier(Cs=strength, tol=TOL), X[train], codes[train]
            )
            found = probe.decision_function(X[test])
            if found.ndim == 1:
                found = both_sides(found)
            part = np.repeat(found.min(axis=1, keepdims=True) - FAR, n_classes, axis=1)
            part[:, probe.classes_] = found
            scores[test] = part
            is_judged[test] = np.isin(codes[test], probe.classes_)
        advance()
    return scores, is_judged


def choose_attribute_strength(X: Floats, values: NDArray[np.float64], folds: Rows) -> float:
    """Return the C as `choose_strength`, by ten of the attributes where there are more."""
    rows = _sample(len(values))
    columns = np.unique(np.linspace(0, values.shape[1] - 1, MOST_ATTRIBUTES).astype(int))
    some = values[np.ix_(rows, columns)]

    def loss(strength: float) -> float:
        scores, is_judged = attribute_scores(X[rows], some, folds[rows], strength)
        total = 0.0
        for k in range(len(columns)):
            judged = is_judged[:, k]
            if judged.any():
                codes = some[judged, k].astype(np.intp)
                total += NoiseModel.fit(both_sides(scores[judged, k]), codes).loss
        return total

    return _least(loss)


def both_sides(scores: NDArray[Any]) -> NDArray[Any]:
    """Return two columns, no and yes, from scores that are positive for yes."""
    return np.stack([-scores / 2, scores / 2], axis=1)


def attribute_scores(
    X: Floats,
    values: NDArray[np.float64],
    folds: Rows,
    strength: float,
    advance: Callable[[], Any] = lambda: None,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return held-out scores of attributes, positive for yes, and which labels are judged.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_attributes), float64
        1, 0, and NaN where it is not known.
    X, folds, strength, advance
        As for `class_scores`.

    Returns
    -------
    scores : ndarray of shape (n_samples, n_attributes), float32
    is_judged : ndarray of shape (n_samples, n_attributes), bool
        Known labels whose fold had examples of yes and of no.
    """
    scores = np.zeros(values.shape, np.float32)
    is_judged = np.zeros(values.shape, bool)
    for fold in range(N_FOLDS):
        test, train = folds == fold, folds != fold
        has_both = ((values[train] == 1).any(axis=0)) & ((values[train] == 0).any(axis=0))
        if test.any() and has_both.any():
            model = AttributeClassifier(Cs=strength, tol=TOL)
            model.fit(X[train], values[train][:, has_both])
            scores[np.ix_(test, has_both)] = model.decision_function(X[test])
            is_judged[test] = ~np.isnan(values[test]) & has_both
        advance()
    return scores, is_judged


def _fit_quietly(probe: LinearProbeClassifier, X: Floats, codes: Rows) -> LinearProbeClassifier:
    """Fit without scikit-learn's guess that many classes of few images are a regression."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes")
        return probe.fit(X, codes)


def _sample(n: int) -> Rows:
    if n <= MOST_CHOSEN_FROM:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, MOST_CHOSEN_FROM, replace=False))


def _least(loss: Callable[[float], float]) -> float:
    """Return the strength of the least loss, from weak to strong; two rises end the search."""
    found: list[float] = []
    for strength in STRENGTHS:
        found.append(loss(strength))
        if len(found) > 2 and min(found[-2:]) > min(found):
            break
    return STRENGTHS[int(np.argmin(found))]
