"""Check parameters at the boundary, with messages that say which, what was found and what fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from featx.errors import ParameterError, nearest, require_number

__all__ = ["checked_weights", "class_factors"]


def checked_weights(sample_weight: Any, X: NDArray[Any]) -> NDArray[np.float64]:
    """Return one weight a sample, ones for None.

    Raises
    ------
    ParameterError
        Where one is negative or all are zero.
    """
    if sample_weight is not None and not np.any(np.asarray(sample_weight)):
        raise ParameterError("sample_weight: got zero for every sample, expected some above zero")
    weights: NDArray[np.float64] = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if weights.min() < 0:
        row = int(weights.argmin())
        raise ParameterError(
            f"sample_weight: got {weights[row]!r} for sample {row}, expected no negative weight"
        )
    return weights


def class_factors(
    class_weight: Any, classes: NDArray[Any], codes: NDArray[Any], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the factor of each sample's weight, by its class.

    Parameters
    ----------
    class_weight : None, "balanced" or mapping from class to number
        "balanced" gives every class the same sum of weights. Classes that a mapping leaves out
        have 1.
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_samples,), int
    weights : ndarray of shape (n_samples,), float64

    Returns
    -------
    ndarray of shape (n_samples,), float64
    """
    if class_weight is None:
        return np.ones(len(codes))
    if isinstance(class_weight, str) and class_weight == "balanced":
        sums = np.bincount(codes, weights=weights, minlength=len(classes))
        return np.asarray(weights.sum() / (len(classes) * sums[codes]))
    if not isinstance(class_weight, Mapping):
        raise ParameterError(
            f"class_weight: got {class_weight!r}, expected None, 'balanced' or a dict from class "
            "to weight"
        )
    known = classes.tolist()
    for label, factor in class_weight.items():
        if label not in known:
            raise ParameterError(
                f"class_weight: got a weight for {label!r}, expected classes of y: {known[:10]!r}"
                f"{nearest(str(label), map(str, known))}"
            )
        require_number(f"class_weight of {label!r}", factor, 0, above=True)
    factors = np.array([float(class_weight.get(label, 1.0)) for label in known])
    return np.asarray(factors[codes])
