"""Probabilities from the scores of a support vector machine, by one slope.

As temperature scaling (Guo et al. 2017): p = softmax(slope * scores), or sigmoid(slope * score)
for one column, the slope fitted on held-out scores. Differs from Platt's sigmoid in having no
offset, and from scikit-learn's `CalibratedClassifierCV` in one slope for all classes: the most
probable class stays the predicted one, and one number can be fitted from few labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

__all__ = ["DEFAULT_SLOPE", "fit_class_slope", "fit_column_slope", "to_probabilities"]

Array = NDArray[np.float64]

# Where nothing can be held out: a sample on the margin (score 1) gets 0.88 against two classes.
DEFAULT_SLOPE = 2.0
LOG_RANGE = (-5.0, 5.0)


def to_probabilities(scores: Array, slope: float) -> Array:
    """Return (n_samples, n_classes) from the scores; one column means two classes."""
    if scores.shape[1] == 1:
        p = expit(slope * scores[:, 0])
        return np.column_stack([1 - p, p])
    return np.asarray(softmax(slope * scores, axis=1))


def fit_class_slope(scores: Array, codes: NDArray[np.intp], weights: Array) -> float:
    """Fit the slope for exclusive classes.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_columns)
        Of samples that the model had not seen; one column means two classes.
    codes : ndarray of shape (n_samples,), int
    weights : ndarray of shape (n_samples,)

    Returns
    -------
    float
        Minimises the log loss where, as in Platt 1999, one right and one wrong answer are added to
        those seen, so that perfectly separated scores do not ask for an infinite slope.
    """
    if scores.shape[1] == 1:
        return fit_column_slope(scores[:, 0], np.where(codes == 1, 1.0, -1.0), weights)
    right = (weights.sum() + 1) / (weights.sum() + 2)
    n_columns = scores.shape[1]

    def loss(log_slope: float) -> float:
        log_p = log_softmax(np.exp(log_slope) * scores, axis=1)
        own = log_p[np.arange(len(codes)), codes]
        others = (log_p.sum(axis=1) - own) / (n_columns - 1)
        return -float(weights @ (right * own + (1 - right) * others))

    return _minimise(loss)


def fit_column_slope(scores: Array, signs: Array, weights: Array) -> float:
    """Fit the slope for one yes-or-no column; arguments of shape (n_samples,)."""
    right = (weights.sum() + 1) / (weights.sum() + 2)
    margins = scores * signs

    def loss(log_slope: float) -> float:
        steep = np.exp(log_slope) * margins
        return -float(weights @ (right * log_expit(steep) + (1 - right) * log_expit(-steep)))

    return _minimise(loss)


def _minimise(loss: object) -> float:
    from scipy.optimize import minimize_scalar  # slow to import, and no prediction needs it

    return float(np.exp(minimize_scalar(loss, bounds=LOG_RANGE, method="bounded").x))
