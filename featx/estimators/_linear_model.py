"""What the linear classifiers share: prepared rows, their scores, and the checks of parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from featx._arrays import scale_to_unit
from featx._repr import OneLine
from featx.errors import ParameterError, choose, require_count, require_number
from featx.estimators._axes import Axes
from featx.estimators._fit import Design
from featx.estimators._path import choose_grid

__all__ = ["LinearModel", "check_weights"]

METHODS = ("logistic", "svm")
DTYPES = [np.float64, np.float32]


class LinearModel(OneLine, BaseEstimator):  # type: ignore[misc]
    """Base of `LinearProbeClassifier` and `AttributeClassifier`."""

    method: str
    Cs: Any
    cv: Any
    normalize: bool
    tol: float
    max_iter: int
    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]

    def _check_parameters(self) -> None:
        choose("method", self.method, METHODS)
        if isinstance(self.cv, int | np.integer):
            require_count("cv", self.cv, 2)
        require_number("tol", self.tol, 0, above=True)
        require_count("max_iter", self.max_iter)

    def _prepare(self, X: NDArray[Any]) -> NDArray[Any]:
        return scale_to_unit(X) if self.normalize else X

    def _design(
        self,
        X: NDArray[Any],
        weights: NDArray[np.float64] | None = None,
        dtype: Any = np.float64,
        basis: NDArray[np.float64] | None = None,
    ) -> Design:
        """Rotate rows that are prepared, see `Axes.of`.

        float32 takes half the time and memory, and is enough where no model is kept.
        """
        Cs, fallback = choose_grid(self.Cs, self.method, X)
        axes = Axes.of(X, self.method, weights, basis, dtype)
        return Design(axes, Cs, fallback, self.method, self.tol, self.max_iter)

    def _scores(self, X: Any) -> NDArray[Any]:
        """Return (n_samples, n_columns), float32 where X is."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=DTYPES)
        coef, intercept = self.coef_.astype(X.dtype), self.intercept_.astype(X.dtype)
        return np.asarray(self._prepare(X) @ coef.T + intercept)


def check_weights(sample_weight: Any, X: NDArray[Any]) -> NDArray[np.float64]:
    """Return one weight per sample, ones for None.

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
