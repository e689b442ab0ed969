"""Several views of an image in a row: all of them train, or mirror images are averaged."""

from __future__ import annotations

import numbers
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from featx._repr import OneLine
from featx._values import require_known
from featx.errors import ParameterError, require_count
from featx.estimators._folds import draw_rows
from featx.estimators._linear_probe import LinearProbeClassifier

__all__ = ["MirrorMean", "MultiViewClassifier"]

# Of ten crops: the corners and the centre, then where each one's mirror image is in the mirrored
# picture, whose left corner shows what the picture has on its right.
PLACES, MIRRORED = [0, 1, 2, 3, 4], [6, 5, 8, 7, 9]

Array = NDArray[np.float64]


class MultiViewClassifier(OneLine, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fit a classifier on all views of the training images and average it over those of a new one.

    A row holds an image's views side by side, as `featx.extract` with an `augment` that ends in
    ":keep" writes them. Every view is a training sample with the image's label; folds are drawn
    over images, so that views of one image never lie on both sides.

    Parameters
    ----------
    estimator : classifier or None, default None
        With `decision_function` or `predict_proba`. If it, or a step of it, has a parameter `cv`
        that is a number, folds over images take its place. None is `LinearProbeClassifier()`.
    n_views : int, default 1
        Views in a row. Training costs that many times as much.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on ``n_samples * n_views`` rows.
    classes_ : ndarray
        Of `estimator_`; absent for attributes.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    Razavian et al. 2014, section 3.1: all 16 views train, and the responses to the 16 views of a
    test image are summed.

    Examples
    --------
    >>> X = np.array([[0.0, 1.0, 0.1, 1.0], [1.0, 0.0, 1.0, 0.2]] * 5)  # two views of two numbers
    >>> model = MultiViewClassifier(n_views=2).fit(X, ["a", "b"] * 5)
    >>> model.predict([[0.1, 0.9, 0.2, 0.9]]).tolist()
    ['a']
    """

    def __init__(self, estimator: Any = None, n_views: int = 1) -> None:
        self.estimator = estimator
        self.n_views = n_views

    def fit(self, X: Any, y: Any) -> Self:
        """Fit on every view.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_views * n_features)
        y : array-like of shape (n_samples,), or (n_samples, n_attributes) for attributes

        Returns
        -------
        MultiViewClassifier

        Raises
        ------
        ParameterError
            If the rows do not divide into `n_views` views of one length.
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        require_count("n_views", self.n_views)
        if X.shape[1] % self.n_views:
            raise ParameterError(
                f"n_views: got {self.n_views}, expected a divisor of the {X.shape[1]} features; "
                "extract with an augment that ends in ':keep', and give its number of views"
            )
        labels = _labels(y)
        estimator = LinearProbeClassifier() if self.estimator is None else clone(self.estimator)
        self._set_folds(estimator, labels)
        estimator.fit(self._views(X), np.repeat(labels, self.n_views, axis=0))
        self.estimator_: Any = estimator
        if hasattr(estimator, "classes_"):
            self.classes_: NDArray[Any] = estimator.classes_
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the mean score over the views, of the shape that `estimator` gives."""
        return self._mean(X, "decision_function")

    def predict_proba(self, X: Any) -> Array:
        """Return the mean probability over the views, of the shape that `estimator` gives."""
        return self._mean(X, "predict_proba")

    def predict(self, X: Any) -> NDArray[Any]:
        """Return each image's label: of the highest mean score; for attributes, 0 or 1."""
        check_is_fitted(self)
        name = "decision_function" if hasattr(self.estimator_, "decision_function") else None
        scores = self._mean(X, name or "predict_proba")
        if not hasattr(self, "classes_"):
            return (scores > (0 if name else 0.5)).astype(np.int64)
        if scores.ndim == 1:
            return np.asarray(self.classes_[(scores > 0).astype(int)])
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; as in `fit`, no label may be missing."""
        return float(super().score(X, require_known(y), sample_weight))

    def _mean(self, X: Any, method: str) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        scores = getattr(self.estimator_, method)(self._views(X))
        mean: Array = scores.reshape(len(X), self.n_views, *scores.shape[1:]).mean(axis=1)
        return mean

    def _views(self, X: NDArray[Any]) -> NDArray[Any]:
        return X.reshape(len(X) * self.n_views, -1)

    def _set_folds(self, estimator: Any, labels: NDArray[Any]) -> None:
        for name, value in estimator.get_params().items():
            if name.split("__")[-1] == "cv" and isinstance(value, numbers.Integral):
                folds = self._folds(labels, int(value))
                if folds:
                    estimator.set_params(**{name: folds})

    def _folds(
        self, labels: NDArray[Any], n_splits: int
    ) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Deal images, then list their views; nothing where there is one view or too few."""
        drawn = draw_rows(labels, 0)
        _, counts = np.unique(labels[drawn], return_counts=True)
        n = min(n_splits, len(labels) if labels.ndim > 1 else int(counts.min()))
        if self.n_views == 1 or n < 2:
            return []
        from sklearn.model_selection import KFold, StratifiedKFold

        maker = KFold if labels.ndim > 1 else StratifiedKFold
        split = maker(n, shuffle=True, random_state=0).split(drawn, labels[drawn])
        offsets = np.arange(self.n_views)

        def views_of(rows: NDArray[np.intp]) -> NDArray[np.intp]:
            return (drawn[rows][:, None] * self.n_views + offsets).ravel()

        return [(views_of(train), views_of(test)) for train, test in split]


def _labels(y: Any) -> NDArray[Any]:
    if y is None:
        raise ParameterError(
            "MultiViewClassifier requires y to be passed, but the target y is None"
        )
    labels = np.asarray(y)
    if labels.ndim == 1 or labels.shape[1:] == (1,):
        labels = column_or_1d(require_known(y), warn=True)
        check_array(labels, ensure_2d=False, dtype=None, input_name="y")
        check_classification_targets(labels)
    return labels


class MirrorMean(OneLine, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Average each of the five places of ten crops with its mirror image.

    A row holds the vectors of ten crops side by side, as `featx.extract` with ``augment=
    "ten-crop:keep"`` writes them; it becomes those of the five places.

    Attributes
    ----------
    n_features_in_, feature_names_in_
        As in scikit-learn. Nothing else is learned.

    Examples
    --------
    >>> MirrorMean().fit_transform(np.arange(10.0)[None])
    array([[3. , 3. , 5. , 5. , 6.5]])
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Note the number of features.

        Parameters
        ----------
        X : array-like of shape (n_samples, 10 * n_features)
        y : Any
            Ignored.

        Raises
        ------
        ParameterError
            If the rows do not divide into ten views of one length.
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        if X.shape[1] % 10:
            raise ParameterError(
                f"X: got rows of {X.shape[1]} features, expected those of ten views side by side; "
                "extract with augment 'ten-crop:keep' (--augment ten-crop:keep)"
            )
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Return the rows, (n_samples, 5 * n_features), float32 where X is, else float64."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        views = X.reshape(len(X), 10, -1)
        return np.asarray((views[:, PLACES] + views[:, MIRRORED]) / 2).reshape(len(X), -1)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: float32 is kept, and only the width is learned."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.requires_fit = True
        return tags
