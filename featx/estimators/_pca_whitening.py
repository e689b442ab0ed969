"""`PCAWhitening`: the retrieval recipe L2, PCA, whitening, L2, each step a switch."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from featx._arrays import scale_to_unit
from featx._repr import OneLine
from featx.errors import ParameterError, require_number

__all__ = ["PCAWhitening"]

Array = NDArray[np.float64]
BLOCK_ROWS = 4096


class PCAWhitening(OneLine, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Scale to unit length, rotate onto principal components, even out their variances, rescale.

    Fit it on other images than those that are searched: whitening learned on the database itself
    flatters the result.

    Parameters
    ----------
    n_components : int, float or None, default None
        Components to keep; a number between 0 and 1 keeps as many as explain that share of the
        variance; None keeps every direction in which the rows differ.
    power : float, default 1.0
        Each component is divided by its standard deviation to this power: 1 is full whitening, 0
        is PCA alone, 0.5 lies between. Full whitening amplifies the noise of small components
        where `n_components` is large for the number of images.
    regularization : float, default 0.0
        Added to each variance before the division, as a share of the largest variance.
    l2_before : bool, default True
        Scale rows to Euclidean length 1 first; a row of zeros stays one.
    l2_after : bool, default True
        Scale the result's rows to length 1, so that dot products are cosines.

    Attributes
    ----------
    components_ : ndarray of shape (`n_components_`, n_features), float64
        Orthonormal rows, by falling variance; the largest element of each is positive.
    mean_ : ndarray of shape (n_features,), float64
    explained_variance_, explained_variance_ratio_ : ndarray of shape (`n_components_`,)
        With n_samples - 1 in the denominator.
    n_components_ : int
    n_samples_ : int
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    With both switches off and power 1 it equals `sklearn.decomposition.PCA(whiten=True)` up to
    signs. The recipe is that of Jegou and Chum, "Negative evidences and co-occurrences in image
    retrieval", ECCV 2012, and of Razavian et al. 2014, section 3.5. Fitting costs
    O(n_samples * n_features**2) and, where there are more samples than features, holds blocks of
    4096 rows and a covariance of n_features**2 float64.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(100, 8))
    >>> white = PCAWhitening(4).fit_transform(X)
    >>> white.shape, bool(np.allclose(np.linalg.norm(white, axis=1), 1))
    ((100, 4), True)
    """

    def __init__(
        self,
        n_components: float | None = None,
        *,
        power: float = 1.0,
        regularization: float = 0.0,
        l2_before: bool = True,
        l2_after: bool = True,
    ) -> None:
        self.n_components = n_components
        self.power = power
        self.regularization = regularization
        self.l2_before = l2_before
        self.l2_after = l2_after

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn mean, components and variances.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows that differ.
        y : ignored

        Returns
        -------
        PCAWhitening

        Raises
        ------
        ParameterError
            For a parameter out of range, or more components than directions in which rows differ.
        """
        require_number("power", self.power, 0)
        require_number("regularization", self.regularization, 0)
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        variance, components, self.mean_ = _find_axes(X, l2=self.l2_before)
        total = float(variance.sum())
        # Singular values below max(shape) * eps of the largest are rounding, and variances are
        # their squares; the covariance itself is summed in float64.
        size = max(X.shape)
        floor = max((size * np.finfo(X.dtype).eps) ** 2, size * np.finfo(np.float64).eps)
        rank = int((variance > variance[0] * floor).sum())
        n = self._count_kept(variance, rank, X.shape[1])
        self.components_ = components[:n].copy()
        self.explained_variance_ = variance[:n].copy()
        self.explained_variance_ratio_ = variance[:n] / total
        self.n_components_, self.n_samples_ = n, len(X)
        return self

    def _count_kept(self, variance: Array, rank: int, n_features: int) -> int:
        if rank == 0:
            raise ParameterError(
                f"PCAWhitening: all rows are equal (after scaling to length 1, if l2_before) with "
                f"n_features={n_features}, so there is no direction to keep; expected at "
                "least two rows that differ"
            )
        n: Any = self.n_components
        if n is None:
            return rank
        if isinstance(n, int | np.integer) and not isinstance(n, bool) and 1 <= n <= rank:
            return int(n)
        if isinstance(n, float | np.floating) and 0 < n < 1:
            share = np.cumsum(variance) / variance.sum()
            return min(int(np.searchsorted(share, float(n))) + 1, rank)
        raise ParameterError(
            f"n_components: got {n!r}, expected None, a share of the variance between 0 and 1, or "
            f"an integer from 1 to {rank}, the number of directions in which the rows differ; fit "
            "on more images or ask for fewer components"
        )

    def transform(self, X: Any) -> NDArray[Any]:
        """Transform rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, `n_components_`)
            float32 where X is, else float64.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        if self.l2_before:
            X = scale_to_unit(X)
        variance = self.explained_variance_
        scale = (variance + self.regularization * variance[0]) ** (-self.power / 2)
        projection = (self.components_.T * scale).astype(X.dtype)
        out = (X - self.mean_.astype(X.dtype)) @ projection
        return scale_to_unit(out) if self.l2_after else np.asarray(out)

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: float32 is kept."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _find_axes(X: NDArray[Any], *, l2: bool) -> tuple[Array, Array, Array]:
    """Return variances (falling), components (rows) and mean."""
    n_samples, n_features = X.shape

    def blocks() -> Any:
        for rows in gen_batches(n_samples, BLOCK_ROWS):
            block = X[rows].astype(np.float64)
            yield scale_to_unit(block) if l2 else block

    mean = sum(block.sum(axis=0) for block in blocks()) / n_samples
    if n_samples < n_features:
        rows = np.concatenate([block - mean for block in blocks()])
        _, singular, components = np.linalg.svd(rows, full_matrices=False)
        variance = singular**2 / (n_samples - 1)
    else:
        covariance = np.zeros((n_features, n_features))
        for block in blocks():
            block -= mean
            covariance += block.T @ block
        variance, axes = np.linalg.eigh(covariance / (n_samples - 1))
        variance, components = np.maximum(variance[::-1], 0), axes.T[::-1]
    peaks = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
    return variance, components * np.where(peaks < 0, -1.0, 1.0)[:, None], mean
