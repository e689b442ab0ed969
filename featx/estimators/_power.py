"""`PowerNormalizer`: signed power of each element, then unit length."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from featx._arrays import scale_to_unit
from featx._repr import OneLine
from featx.errors import require_number

__all__ = ["PowerNormalizer"]


class PowerNormalizer(OneLine, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Raise each element's magnitude to a power, keep its sign, and scale rows to length 1.

    Parameters
    ----------
    power : float, default 0.5
        ``sign(x) * |x| ** power``. Below 1 it evens out a few large elements; 0.5 is the signed
        square root, 2 the "signed power of 2" of Razavian et al. 2014, section 3.5.
    l2 : bool, default True
        Scale each row to Euclidean length 1 afterwards; a row of zeros stays one.

    Attributes
    ----------
    n_features_in_, feature_names_in_
        As in scikit-learn. Nothing else is learned.

    Notes
    -----
    Perronnin, Sanchez and Mensink, "Improving the Fisher kernel for large-scale image
    classification", ECCV 2010, section 3.2.

    Examples
    --------
    >>> PowerNormalizer().fit_transform([[9.0, -16.0, 0.0]])
    array([[ 0.6, -0.8,  0. ]])
    """

    def __init__(self, power: float = 0.5, *, l2: bool = True) -> None:
        self.power = power
        self.l2 = l2

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and note the number of features; X of (n_samples, n_features)."""
        require_number("power", self.power, 0, above=True)
        validate_data(self, X, dtype=[np.float64, np.float32])
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Transform rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            float32 where X is, else float64.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        raised = np.sign(X) * np.abs(X) ** X.dtype.type(self.power)
        return scale_to_unit(raised) if self.l2 else np.asarray(raised)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: float32 is kept, and only the width is learned."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.requires_fit = True
        return tags
