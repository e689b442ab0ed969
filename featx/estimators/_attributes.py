"""`AttributeClassifier`: many yes-or-no attributes at once, each with its own C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.utils.validation import validate_data

from featx._values import answer_array
from featx.errors import ParameterError, choose
from featx.estimators._calibration import DEFAULT_SLOPE
from featx.estimators._fit import Design, fit_linear
from featx.estimators._folds import deal_attributes, number_copies, read_splits
from featx.estimators._linear_model import DTYPES, LinearModel, check_weights
from featx.estimators._targets import Attributes

__all__ = ["AttributeClassifier"]

Array = NDArray[np.float64]

BLOCK = 128  # attributes; wide enough for products at full speed


class AttributeClassifier(LinearModel):
    """Detect attributes in features of a frozen network, by one linear model for each.

    Parameters
    ----------
    method : {"logistic", "svm"}, default "logistic"
        Logistic regression, or a linear support vector machine with squared hinge loss.
    Cs : float, sequence of float or None, default None
        As for `LinearProbeClassifier`; one is chosen for each attribute.
    cv : int or splitter, default 5
        Most folds, stratified for each attribute by itself. A scikit-learn splitter, or an
        iterable of (train, test) rows whose tests do not overlap, holds out the test rows of each
        split for all attributes. Cost grows linearly.
    normalize : bool, default True
        Scale each row to Euclidean length 1 first; a row of zeros stays one.
    class_weight : None or "balanced", default None
        "balanced" gives yes and no the same sum of weights in each attribute. Probabilities are
        then those of a world where both are as frequent.
    attribute_names : sequence of str or None, default None
        Names of the columns of Y; None takes those of a data frame, else "attribute0" and so on.
    tol : float, default 3e-5
        As for `LinearProbeClassifier`.
    max_iter : int, default 1000
        Most iterations for one C.
    random_state : int, RandomState or None, default 0
        Shuffles the folds.

    Attributes
    ----------
    attribute_names_ : ndarray of shape (n_attributes,), str
    coef_ : ndarray of shape (n_attributes, n_features), float64
        On the normalised rows.
    intercept_, C_, slope_ : ndarray of shape (n_attributes,), float64
        As for `LinearProbeClassifier`, one for each attribute.
    constant_ : ndarray of shape (n_attributes,), float64
        The value of an attribute that had only one in training, else NaN. Such an attribute is
        always predicted so, with probability (n + 1) / (n + 2) for n labels seen, and its `C_` is
        NaN.
    n_splits_ : int
        Folds that were fitted; 0 where C was given ("logistic") or nothing could be held out.
    cv_results_ : dict of ndarray of shape (n_Cs, n_attributes)
        "log_loss" of held-out labels for each value of "C" (n_Cs,); C is chosen by it. NaN where
        nothing was held out.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    C is chosen by held-out log loss: accuracy hardly moves for a rare attribute. For "svm" the
    scores are calibrated first, by one slope per attribute. An attribute with a single example of
    yes or of no is fitted with the default C. All attributes share the rotation of the features
    and, 128 at a time, every product with them, so forty cost little more than a few.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 6))
    >>> Y = (X[:, :2] > 0).astype(float)
    >>> Y[0, 1] = np.nan  # not known
    >>> model = AttributeClassifier(attribute_names=["furry", "striped"]).fit(X, Y)
    >>> model.predict_proba(X[:5]).shape, model.attribute_names_.tolist()
    ((5, 2), ['furry', 'striped'])
    """

    def __init__(
        self,
        method: str = "logistic",
        Cs: Any = None,
        *,
        cv: Any = 5,
        normalize: bool = True,
        class_weight: str | None = None,
        attribute_names: Sequence[str] | None = None,
        tol: float = 3e-5,
        max_iter: int = 1000,
        random_state: Any = 0,
    ) -> None:
        self.method = method
        self.Cs = Cs
        self.cv = cv
        self.normalize = normalize
        self.class_weight = class_weight
        self.attribute_names = attribute_names
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Choose each attribute's C and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like or data frame of shape (n_samples, n_attributes)
            1 or True for yes, 0 or False for no, NaN or None for not known. One attribute may
            come as (n_samples,).
        sample_weight : array-like of shape (n_samples,) or None

        Returns
        -------
        AttributeClassifier

        Raises
        ------
        ParameterError
            For a parameter out of range, another value in y, or an attribute without any label.
        """
        self._check_parameters()
        X = validate_data(self, X, dtype=DTYPES)
        if y is None:
            raise ParameterError(
                "AttributeClassifier requires y to be passed, but the target y is None"
            )
        names = _name_attributes(y, self.attribute_names)
        Y = _read_answers(y, names)
        if len(Y) != len(X):
            raise ParameterError(
                f"y: got {len(Y)} rows for {len(X)} rows of X, expected the same number"
            )
        weights = check_weights(sample_weight, X)
        kept = weights > 0
        targets = Attributes.build(
            Y[kept], weights[kept], names, balanced=self.class_weight is not None
        )
        self.attribute_names_, self.constant_ = np.array(names), targets.constant
        self._fit(self._design(self._prepare(X[kept])), targets, self._folds(X, Y, kept))
        return self

    def _fit(self, design: Design, targets: Attributes, folds: NDArray[np.intp]) -> None:
        """Fit 128 attributes at a time: what is held beyond X and Y does not grow with them."""
        n = targets.n_columns
        self.C_ = np.full(n, np.nan)
        self.slope_ = np.full(n, DEFAULT_SLOPE if self.method == "svm" else 1.0)
        self.coef_ = np.zeros((n, len(design.axes.shift)))
        # A constant attribute's score gives the probability (n + 1) / (n + 2), by Laplace's rule.
        n_labels = targets.weights.sum(axis=0)
        self.intercept_ = np.where(self.constant_ == 1, 1, -1) * np.log(n_labels + 1) / self.slope_
        log_loss = np.full((len(design.Cs), n), np.nan)
        varied = np.flatnonzero(np.isnan(self.constant_))
        has_choice = bool(varied.size) and design.has_choice
        self.n_splits_ = int(folds[:, varied].max()) + 1 if has_choice else 0
        self.n_iter_ = 0
        for first in range(0, varied.size, BLOCK):
            some = varied[first : first + BLOCK]
            held_out = [folds[:, some] == fold for fold in range(self.n_splits_)]
            fitted = fit_linear(design, targets.take(some), [(~out, out) for out in held_out])
            self.coef_[some], self.intercept_[some] = fitted.coef, fitted.intercept
            self.C_[some], self.slope_[some] = fitted.C, fitted.choice.slope
            if fitted.choice.results:
                log_loss[:, some] = fitted.choice.results["log_loss"]
            self.n_iter_ = max(self.n_iter_, fitted.n_iterations)
        self.cv_results_ = {"C": design.Cs, "log_loss": log_loss} if self.n_splits_ else {}

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return the scores, positive for yes: (n_samples, n_attributes), float32 where X is."""
        return self._scores(X)

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return 1 for yes and 0 for no: (n_samples, n_attributes)."""
        return (self.decision_function(X) > 0).astype(np.int64)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of yes: (n_samples, n_attributes), float64."""
        return np.asarray(expit(self.decision_function(X).astype(np.float64) * self.slope_))

    def score(self, X: Any, y: Any) -> float:
        """Return the share of known labels that are predicted right, over all attributes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_attributes)
            As in `fit`.
        """
        predicted = self.predict(X)
        Y = _read_answers(y, self.attribute_names_.tolist())
        known = ~np.isnan(Y)
        return float((predicted == Y)[known].mean())

    def _folds(self, X: NDArray[Any], Y: Array, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the fold that holds out each label, -1 for none: (n_kept, n_attributes)."""
        if isinstance(self.cv, int | np.integer):
            content = number_copies(self._prepare(X[kept]))
            return deal_attributes(Y[kept], content, int(self.cv), self.random_state)
        from sklearn.model_selection import check_cv  # slow to import, and no prediction needs it

        return read_splits(check_cv(self.cv).split(X, Y), Y)[kept]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.class_weight is not None:
            choose("class_weight", self.class_weight, ("balanced",))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: several targets, which are required."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.two_d_labels = True
        return tags


def _name_attributes(y: Any, given: Sequence[str] | None) -> list[str]:
    columns = getattr(y, "columns", None)
    shape = np.asarray(y).shape
    n_columns = shape[1] if len(shape) == 2 else 1
    if given is not None:
        names = [str(name) for name in given]
    elif columns is not None:
        names = [str(name) for name in columns]
    else:
        names = [f"attribute{i}" for i in range(n_columns)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if len(names) != n_columns or repeated:
        raise ParameterError(
            f"attribute_names: got {len(names)} names ({repeated!r} more than once) for "
            f"{n_columns} columns of y, expected one different name for each"
        )
    return names


def _read_answers(y: Any, names: Sequence[str]) -> Array:
    """Return (n_samples, n_attributes) of 0, 1 and NaN."""
    shape = np.shape(y)
    if (*shape, 1)[1:] not in ((len(names),), (len(names), 1)):
        raise ParameterError(f"y: got shape {shape}, expected (n_samples, {len(names)})")
    return answer_array(y, "y", names).reshape(shape[0], -1)
