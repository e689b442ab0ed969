"""Held-out scores of labelled images, by the C that makes the labels likeliest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress, count_steps
from featx.auditing._noise import NoiseModel
from featx.estimators import AttributeClassifier, LinearProbeClassifier
from featx.estimators.path_scores import score_path

__all__ = ["N_FOLDS", "hold_out", "iter_judged"]

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]
N_FOLDS = 5
STRENGTHS = (0.32, 1.0, 3.2, 10.0, 32.0, 100.0, 316.0)  # of unit rows
TOL = 1e-3  # what the solver gains below it moves no probability that matters here
MOST_CHOSEN_FROM = 10_000  # images; more move C little
MOST_FITTED = 100_000  # images at once, which bounds the memory of a fit
MOST_ATTRIBUTES = 10  # by which C is chosen
FAR = 10.0  # below the least score: a class of which there was no example


def hold_out(
    X: Floats,
    y: NDArray[Any],
    groups: Rows,
    *,
    show: bool | None = None,
    random_state: int = 0,
) -> Floats:
    """Score each image by probes that have seen neither it nor a copy of it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32
        Unit rows.
    y : ndarray of shape (n_samples,), intp, or (n_samples, n_attributes), float64
        Code of each image's class, every code in use; or 1, 0 and NaN where it is not known.
    groups : ndarray of shape (n_samples,), intp
        Of copies.
    show : bool, optional
        Whether there is progress on stderr, as for `Progress`.
    random_state : int, default 0
        Shuffles the folds, and draws the images that C is chosen by.

    Returns
    -------
    ndarray of shape (n_samples, n_classes or n_attributes), float32
        Logarithms of probabilities but for a constant for each sample, or log-odds of yes; NaN
        where there was no other example of the label to learn from.

    Notes
    -----
    The folds are those of the probe's own path, and runs of successive images. C is the one by
    which the labels are likeliest under the `NoiseModel`: accuracy and log loss are measured on
    labels of which some are wrong. It is chosen by at most 10,000 images, and of more than 100,000
    each learns from as many others.
    """
    n = len(y)
    rng = np.random.default_rng(random_state)
    some = np.sort(rng.permutation(n)[:MOST_CHOSEN_FROM])
    n_parts = -(-n // MOST_FITTED) if len(some) < n else 0
    make = AttributeClassifier if y.ndim == 2 else LinearProbeClassifier
    model = make(Cs=STRENGTHS, cv=N_FOLDS, tol=TOL, random_state=random_state)
    n_fits = 2 * N_FOLDS * (len(STRENGTHS) + n_parts)
    with (
        Progress(n_fits, "audit: judge labels", unit="fit", enabled=show) as bar,
        count_steps(bar.advance),
    ):
        path = score_path(model, X[some], y[some], groups[some], runs=True)
        best = _find_likeliest(path, y[some])
        if not n_parts:
            return _spread(path[best], y)
        del path
        model.set_params(Cs=STRENGTHS[best])
        shape = y.shape if y.ndim == 2 else (n, int(y.max()) + 1)
        scores = np.empty(shape, np.float32)
        part_of = rng.integers(n_parts, size=int(groups.max()) + 1)[groups]
        for part in range(n_parts):
            rows = np.flatnonzero(part_of == part)
            found = score_path(model, X[rows], y[rows], groups[rows], runs=True)[0]
            scores[rows] = _spread(found, y[rows], shape[1])
    return scores


def iter_judged(
    scores: Floats, y: NDArray[Any]
) -> Iterator[tuple[int, Rows, Floats, NDArray[np.intp]]]:
    """Yield for each problem its number, the rows that are judged, their scores and labels.

    Classes are one problem; each attribute is one, whose labels are 0 and 1.
    """
    if y.ndim == 1:
        rows = np.flatnonzero(~np.isnan(scores[:, 0]))
        yield 0, rows, scores[rows], y[rows]
        return
    for k in range(y.shape[1]):
        rows = np.flatnonzero(~np.isnan(scores[:, k]))
        yield k, rows, _both_sides(scores[rows, k]), y[rows, k].astype(np.intp)


def _find_likeliest(path: Floats, y: NDArray[Any]) -> int:
    """Return the place of the C of the least loss, from weak to strong; two rises end the search.

    By ten of the attributes where there are more.
    """
    if y.ndim == 1:
        y = np.unique(y, return_inverse=True)[1].reshape(-1)
    else:
        columns = np.unique(np.linspace(0, y.shape[1] - 1, MOST_ATTRIBUTES).astype(int))
        path, y = path[:, :, columns], y[:, columns]
    losses: list[float] = []
    for scores in path:
        problems = iter_judged(_spread(scores, y), y)
        losses.append(
            sum(NoiseModel.fit(s, c, quick=True).loss for _, rows, s, c in problems if len(rows))
        )
        if len(losses) > 2 and min(losses[-2:]) > min(losses):
            break
    return int(np.argmin(losses))


def _spread(found: Floats, y: NDArray[Any], n_classes: int = 0) -> Floats:
    """Return a column for each class: of two there was one, and of absent ones none."""
    if y.ndim == 2:
        return found
    classes = np.unique(y)
    found = _both_sides(found[:, 0]) if len(classes) == 2 else found
    if len(classes) >= n_classes:
        return found
    scores = np.repeat(found.min(axis=1, keepdims=True) - FAR, n_classes, axis=1)
    scores[:, classes] = found
    return scores


def _both_sides(scores: Floats) -> Floats:
    """Return two columns, no and yes, from log-odds of yes."""
    return np.stack([-scores / 2, scores / 2], axis=1)
