"""What each place of a picture adds to the score of a class, where the model is linear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from featx._arrays import scale_to_unit
from featx.errors import ParameterError, choose
from featx.estimators._attributes import AttributeClassifier
from featx.estimators._linear_probe import LinearProbeClassifier
from featx.estimators._pca_whitening import PCAWhitening
from featx.estimators.certainty import name_columns

__all__ = ["position_weights", "require_linear"]

Array = NDArray[np.float64]


def require_linear(model: Any) -> None:
    """Refuse a model that does more to a vector than to scale, shift and project it.

    Raises
    ------
    ParameterError
        With the step that does.
    """
    *steps, final = _steps(model)
    for step in steps:
        is_linear = isinstance(step, StandardScaler | PCAWhitening)
        if not is_linear and not (isinstance(step, Normalizer) and step.norm == "l2"):
            raise ParameterError(f"the model's step {type(step).__name__} is not linear")
    if not isinstance(final, LinearProbeClassifier | AttributeClassifier):
        raise ParameterError(
            f"the model is a {type(final).__name__}, expected a LinearProbeClassifier or an "
            "AttributeClassifier on the vector of one view"
        )


def position_weights(model: Any, vector: NDArray[Any], classes: Sequence[str]) -> tuple[Any, Any]:
    """Return weights and shifts that spread the scores of classes over the places of one picture.

    Parameters
    ----------
    model : LinearProbeClassifier or AttributeClassifier, or a pipeline that ends in one
        Fitted. Steps before it may be `StandardScaler`, `PCAWhitening` and ``Normalizer("l2")``.
    vector : ndarray of shape (n_features,)
        The picture's features: the mean over places p of a map M(p).
    classes : sequence of str
        Names of classes or attributes.

    Returns
    -------
    weights : ndarray of shape (n_classes, n_features), float64
    shifts : ndarray of shape (n_classes,), float64
        ``weights @ M(p) + shifts`` is what place p adds. Its mean over places is the class's score
        (`decision_function`; of two classes minus it for the first) less the model's intercept.

    Raises
    ------
    ParameterError
        As `require_linear`, or for a class that the model does not know.

    Notes
    -----
    Class activation maps, Zhou et al. 2016, arXiv 1512.04150, eq. 2: of a linear classifier on
    averaged maps f = mean of M(p), the score is w·f + b = mean of w·M(p), plus b. The steps of
    featx's models between f and w are of two kinds. An affine one, (f - o) A, moves into the
    weights as it is: w·((f - o) A) = mean of (A w)·(M(p) - o), which is where the shift -(A w)·o
    comes from. Scaling to length 1 divides by |f|, which is the same number for all places of a
    picture: w·(f / |f|) = mean of (w / |f|)·M(p). So that map is exact, too, but of maps of two
    pictures each has a factor of its own. Probabilities are a softmax of scores times a positive
    slope, which changes no map's shape.

    Examples
    --------
    >>> from featx.estimators import LinearProbeClassifier
    >>> X = np.array([[3.0, 0.0], [2.0, 1.0], [0.0, 2.0], [1.0, 4.0]])
    >>> probe = LinearProbeClassifier().fit(X, ["a", "a", "b", "b"])
    >>> places = np.array([[6.0, 0.0], [0.0, 2.0]])  # of one picture, whose vector is their mean
    >>> weights, shifts = position_weights(probe, places.mean(axis=0), ["b"])
    >>> added = places @ weights.T + shifts
    >>> score = probe.decision_function(places.mean(axis=0)[None]) - probe.intercept_
    >>> bool(np.isclose(added.mean(), score[0]))
    True
    """
    require_linear(model)
    *steps, final = _steps(model)
    columns = name_columns(final)
    rows = [columns.index(choose("class", name, columns)) for name in classes]
    signed = final.coef_ if len(final.coef_) > 1 or len(columns) == 1 else _both(final.coef_)
    weights, shifts = signed[rows].astype(np.float64), np.zeros(len(rows))
    inputs = [np.asarray(vector, np.float64)]
    for step in steps:
        inputs.append(step.transform(inputs[-1][None])[0])
    if final.normalize:
        weights = weights / _length(inputs[-1])
    for step, before in zip(reversed(steps), reversed(inputs[:-1]), strict=True):
        weights, shifts = _pull_back(step, before, weights, shifts)
    return weights, shifts


def _steps(model: Any) -> list[Any]:
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    return [step for step in steps if step not in (None, "passthrough")]


def _both(coef: Array) -> Array:
    """Return the weights of both classes, where there is one row for the second."""
    return np.concatenate([-coef, coef])


def _pull_back(step: Any, before: Array, weights: Array, shifts: Array) -> tuple[Array, Array]:
    """Return weights and shifts for the input of a step from those for its output."""
    if isinstance(step, Normalizer):
        return weights / _length(before), shifts
    if isinstance(step, StandardScaler):
        weights = weights / step.scale_ if step.with_std else weights
        return weights, shifts - weights @ step.mean_ if step.with_mean else shifts
    variance = step.explained_variance_
    scale = (variance + step.regularization * variance[0]) ** (-step.power / 2)
    unit = scale_to_unit(before) if step.l2_before else before
    if step.l2_after:
        weights = weights / _length((unit - step.mean_) @ step.components_.T * scale)
    weights = (weights * scale) @ step.components_
    shifts = shifts - weights @ step.mean_
    return weights / _length(before) if step.l2_before else weights, shifts


def _length(vector: Array) -> float:
    return float(np.linalg.norm(vector)) or 1.0
