"""Predictions for training images by a classifier that has not seen them, and its last step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from featx.estimators._folds import deal, number_copies, split
from featx.estimators._linear_probe import LinearProbeClassifier
from featx.estimators._path import FINAL_SHARE
from featx.estimators._pipeline import is_pipeline
from featx.estimators.multi_view import MultiViewClassifier
from featx.estimators.path_scores import count_folds, score_path

__all__ = ["final_estimator", "predict_held_out"]


def final_estimator(model: Any) -> Any:
    """Return the linear model of a fitted pipeline, or of all views; else the model itself."""
    if is_pipeline(model):
        return final_estimator(model[-1])
    return final_estimator(model.estimator_) if isinstance(model, MultiViewClassifier) else model


def predict_held_out(
    model: Any,
    X: NDArray[Any],
    y: NDArray[Any],
    method: str = "predict_proba",
    *,
    n_apart: int = 1,
) -> NDArray[np.float64]:
    """Predict every sample by a model that was fitted without it and without its copies.

    Parameters
    ----------
    model : classifier
        Fitted on X and y: `LinearProbeClassifier`, `AttributeClassifier`, or what a preset makes
        of one. It is not changed.
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,), or (n_samples, n_attributes) with NaN for not known
    method : {"predict_proba", "decision_function"}, default "predict_proba"
        What the models are asked for. Scores are solved for as closely as C is chosen by.
    n_apart : int, default 1
        Folds that a model has not seen: the sample's own and the ones after it. With more, the
        models have fewer images, which shows what the number of images does.

    Returns
    -------
    ndarray of shape (n_samples, n_classes or n_attributes), float64
        Probabilities or scores, of two classes one column of scores; NaN where a sample is never
        held out, as the only one of its class, or where the others lack a class. C is the
        model's: one more fit per fold. Of up to 100,000 samples of classes the folds
        are those by which C was chosen (of several views per image, others).

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
    probe, fresh = final_estimator(model), clone(model)
    asked = {"tol": probe.tol / FINAL_SHARE, "cv": []} if method == "decision_function" else {}
    _set_all(fresh, asked)
    codes = np.unique(y, return_inverse=True)[1] if y.ndim == 1 else np.zeros(len(y), np.intp)
    content = number_copies(_feed(model, X))
    folds = deal(codes, content, count_folds(model), probe.random_state)
    splits = [
        (is_seen, held_out)
        for is_seen, held_out in split(folds, codes, content, n_apart)
        if len(np.unique(codes[is_seen])) == codes.max() + 1
    ]
    if method == "decision_function" and isinstance(model, LinearProbeClassifier):
        (found,) = score_path(clone(model).set_params(Cs=model.C_), X, y, content, n_apart=n_apart)
        is_scored = np.any([held_out for _, held_out in splits], axis=0, keepdims=True).T
        # float32 has no probability between 1 - 6e-8 and 1, whose log-odds are infinite
        return np.where(is_scored, found.astype(np.float64), np.nan)
    scores = np.full((len(y), np.atleast_1d(getattr(model, method)(X[:1])[0]).size), np.nan)
    groups = [(probe.C_, np.arange(scores.shape[1]))] if y.ndim == 1 else _group_columns(probe.C_)
    for is_seen, held_out in splits:
        if y.ndim == 2 and not (~np.isnan(y[is_seen])).any(axis=0).all():
            continue
        for C, columns in groups:
            _set_all(fresh, {"Cs": C, "attribute_names": None})
            fresh.fit(X[is_seen], y[is_seen] if y.ndim == 1 else y[is_seen][:, columns])
            found = getattr(fresh, method)(X[held_out])
            scores[np.ix_(held_out, columns)] = found.reshape(len(found), -1)
    return scores


def _feed(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    """Return the rows as the linear model deals them into its folds."""
    if is_pipeline(model):
        return _feed(model[-1], model[:-1].transform(X))
    return X if isinstance(model, MultiViewClassifier) else np.asarray(model._prepare(X))


def _group_columns(Cs: NDArray[np.float64]) -> list[tuple[float, NDArray[np.intp]]]:
    """Return each C of the attributes, and the columns that have it."""
    Cs = np.nan_to_num(Cs, nan=1.0)  # of an attribute that is always the same
    return [(float(C), np.flatnonzero(Cs == C)) for C in np.unique(Cs)]


def _set_all(model: Any, values: dict[str, Any]) -> None:
    """Set parameters of a model, and of all within it, by their last name."""
    names = {n: n.split("__")[-1] for n in model.get_params()}
    model.set_params(**{n: values[last] for n, last in names.items() if last in values})
