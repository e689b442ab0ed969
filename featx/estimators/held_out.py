"""Predictions for training images by a classifier that has not seen them, and its last step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from featx.estimators._folds import deal, number_copies
from featx.estimators.multi_view import MultiViewClassifier

__all__ = ["final_estimator", "predict_held_out"]


def final_estimator(model: Any) -> Any:
    """Return the linear model of a fitted pipeline, or of all views; else the model itself."""
    if isinstance(model, Pipeline):
        return final_estimator(model[-1])
    return final_estimator(model.estimator_) if isinstance(model, MultiViewClassifier) else model


def predict_held_out(model: Any, X: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """Predict every sample by a model that was fitted without it and without its copies.

    Parameters
    ----------
    model : classifier
        Fitted on X and y: `LinearProbeClassifier`, `AttributeClassifier`, or what a preset makes
        of one. It is not changed.
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,), or (n_samples, n_attributes) with NaN for not known

    Returns
    -------
    ndarray of shape (n_samples, n_classes or n_attributes), float64
        Probabilities; NaN where a sample is never held out, as the only one of its class. Of
        classes the folds are those by which C was chosen (of several views per image, others),
        and C is the model's: one more fit per fold. Of attributes each fold chooses its own.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from featx.estimators import LinearProbeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> probe = LinearProbeClassifier().fit(X[:200], y[:200])
    >>> scores = predict_held_out(probe, X[:200], y[:200])
    >>> accuracy = (probe.classes_[scores.argmax(axis=1)] == y[:200]).mean()
    >>> bool(abs(accuracy - probe.best_score_) < 0.01)
    True
    """
    probe = final_estimator(model)
    fresh = clone(model)
    if y.ndim == 1:
        codes = np.unique(y, return_inverse=True)[1]
        fresh.set_params(**{n: probe.C_ for n in fresh.get_params() if n.split("__")[-1] == "Cs"})
    else:
        codes = np.zeros(len(y), np.intp)
    folds = deal(codes, number_copies(_feed(model, X)), _count_folds(model), probe.random_state)
    scores = np.full((len(y), len(model.predict_proba(X[:1])[0])), np.nan)
    for fold in range(folds.max() + 1):
        held_out = folds == fold
        has_labels = y.ndim == 1 or (~np.isnan(y[~held_out])).any(axis=0).all()
        if held_out.any() and has_labels:
            fresh.fit(X[~held_out], y[~held_out])
            scores[held_out] = fresh.predict_proba(X[held_out])
    return scores


def _feed(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    """Return the rows as the linear model deals them into its folds."""
    if isinstance(model, Pipeline):
        return _feed(model[-1], model[:-1].transform(X))
    return X if isinstance(model, MultiViewClassifier) else np.asarray(model._prepare(X))


def _count_folds(model: Any) -> int:
    """Return the number of folds that the parameters ask for; 5 where they name a splitter."""
    asked = [value for name, value in model.get_params().items() if name.split("__")[-1] == "cv"]
    return next((int(value) for value in asked if isinstance(value, int | np.integer)), 5)
