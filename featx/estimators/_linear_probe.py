"""`LinearProbeClassifier`: a linear classifier on unit-length features, C chosen by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from featx._values import require_known
from featx.errors import ParameterError, choose, nearest, require_number
from featx.estimators._calibration import to_probabilities
from featx.estimators._fit import Design, Split, fit_linear
from featx.estimators._folds import deal, draw_rows, number_copies, split
from featx.estimators._linear_model import DTYPES, LinearModel, check_weights
from featx.estimators._targets import Classes

__all__ = ["LinearProbeClassifier", "weigh_classes"]

Array = NDArray[np.float64]
SCORINGS = ("accuracy", "balanced_accuracy", "neg_log_loss")


class LinearProbeClassifier(ClassifierMixin, LinearModel):  # type: ignore[misc]
    """Classify features of a frozen network by a linear model whose C is cross-validated.

    Parameters
    ----------
    method : {"logistic", "svm"}, default "logistic"
        Multinomial logistic regression, or one-vs-rest linear support vector machines with
        squared hinge loss.
    Cs : float, sequence of float or None, default None
        Weight of the losses against the penalty, ``C * sum(losses) + |w|^2 / 2`` as in
        scikit-learn. A number is taken as it is; from several one is chosen by cross-validation.
        None stands for ten values, 0.1 to 3162 for "logistic" and 0.0032 to 100 for "svm",
        divided by the mean squared length of the rows (1 where `normalize`). Each value costs
        about one more fit per fold, warm-started.
    cv : int or splitter, default 5
        Most folds. Rows with equal features never part, a class with fewer images than folds is
        held out in only some of them, one with a single image in none. Of more than 100,000
        samples the folds share about 100,000, a share of each class. A scikit-learn splitter or an
        iterable of (train, test) rows is taken as it is. Cost grows linearly.
    scoring : {"accuracy", "balanced_accuracy", "neg_log_loss"}, default "accuracy"
        What C is chosen by, over all held-out samples. Ties go to the smaller held-out log loss
        ("logistic") or the smaller C ("svm"). "neg_log_loss" is for "logistic" alone.
    normalize : bool, default True
        Scale each row to Euclidean length 1 first; a row of zeros stays one.
    class_weight : None, "balanced" or dict, default None
        Factor on the weight of each class's samples. "balanced" gives all classes the same sum.
    tol : float, default 3e-5
        Stop when the objective lies above its least by about this share of itself, as the solver
        estimates; it may be several times that, on ill-conditioned rows more. The last fit takes
        a thousandth. Below 1e-6 the folds are solved in float64 instead of float32; 1e-7 costs
        about six times as much.
    max_iter : int, default 1000
        Most iterations for one C; a ConvergenceWarning says when they did not suffice.
    random_state : int, RandomState or None, default 0
        Shuffles the folds.
    warm_start : bool, default False
        Start where the last `fit` stopped, each class from the class of its name: a few labels
        more then take about a fifth of the time. "logistic" with one C; else the folds' mean is
        the start.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels that have a sample of positive weight.
    coef_ : ndarray of shape (n_classes, n_features), float64; (1, n_features) for two classes
        On the normalised rows.
    intercept_ : ndarray of shape (n_classes,) or (1,), float64
        Not penalised for "logistic"; penalised for "svm", as in `sklearn.svm.LinearSVC`.
    C_ : float
        The C of the final fit.
    n_splits_ : int
        Folds that were fitted; 0 where C was given ("logistic") or nothing could be held out.
    best_score_ : float
        Held-out score of `C_` under `scoring`; NaN where nothing was held out.
    cv_results_ : dict of ndarray of shape (n_Cs,)
        "C", "accuracy", "balanced_accuracy" and "log_loss" or "squared_hinge", each over all
        held-out samples; empty where nothing was held out.
    calibration_ : {"none", "cross-validated", "default"}
        Where probabilities come from: the logistic model itself, a slope fitted to held-out
        scores, or the slope 2 where nothing could be held out.
    slope_ : float
        ``p = softmax(slope_ * scores)``; 1 for "logistic".
    n_iter_ : int
        Iterations of the final fit.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    Where every class has a single image C cannot be chosen, and C = 100 ("logistic") or 1 ("svm")
    is taken, over the rows' mean squared length; `n_splits_` is then 0. The problem is rotated
    onto the principal axes of the rows, min(n_samples, n_features) of them, which changes nothing
    in the result, and solved by preconditioned L-BFGS. Class weights count as sample weights, in
    the machine of every class; `LinearSVC` leaves them out of the negatives where there are more
    than two classes. "svm" holds n_Cs * n_samples * n_classes float32 while it chooses C.
    Up to 100,000 samples the order of the rows does not matter, and a weight of two is the same as
    a row given twice.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> probe = LinearProbeClassifier().fit(X[:300], y[:300])
    >>> round(probe.score(X[300:], y[300:]), 1)
    0.9
    >>> probe.predict_proba(X[300:302]).shape
    (2, 10)
    """

    def __init__(
        self,
        method: str = "logistic",
        Cs: Any = None,
        *,
        cv: Any = 5,
        scoring: str = "accuracy",
        normalize: bool = True,
        class_weight: Any = None,
        tol: float = 3e-5,
        max_iter: int = 1000,
        random_state: Any = 0,
        warm_start: bool = False,
    ) -> None:
        self.method = method
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.normalize = normalize
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Choose C and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels, numbers or text, each known.
        sample_weight : array-like of shape (n_samples,) or None
            Weight of each sample's loss, and of its share in the held-out scores.

        Returns
        -------
        LinearProbeClassifier

        Raises
        ------
        ParameterError
            For a missing label (None, NaN, ""), a parameter out of range, negative weights, or
            fewer than two classes.
        """
        self._check_parameters()
        before = self._solution() if self.warm_start and hasattr(self, "_basis") else None
        X, y = validate_data(self, X, require_known(y), dtype=DTYPES)
        if y.dtype.kind != "U":  # few images of many classes: scikit-learn takes them for numbers
            check_classification_targets(y)
        weights = check_weights(sample_weight, X)
        kept = weights > 0
        self.classes_, codes = np.unique(y[kept], return_inverse=True)
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ParameterError(
                f"y: got one class ({self.classes_[0]!s}), expected at least two classes"
            )
        rows, weights = X if kept.all() else X[kept], weights[kept]
        loss_weights = weights * weigh_classes(self.class_weight, self.classes_, codes, weights)
        basis = None if before is None else self._basis
        design = self._design(self._prepare(rows), loss_weights, basis=basis)
        targets = Classes(codes, n_classes, weights[:, None], loss_weights[:, None], self.scoring)
        splits = self._splits(X, y, kept, codes) if design.has_choice else []
        start = None if before is None else self._find_start(before, design)
        fitted = fit_linear(design, targets, splits, start)
        choice = fitted.choice
        self.coef_, self.intercept_ = fitted.coef, fitted.intercept
        if self.warm_start:
            self._basis: Array = design.axes.basis
        if self.method == "logistic" and n_classes > 2:
            # A constant added to all scores changes nothing; as in scikit-learn they have mean 0.
            self.intercept_ -= self.intercept_.mean()
            self.coef_ -= self.coef_.mean(axis=0)
        self.C_, self.n_iter_ = float(fitted.C[0]), fitted.n_iterations
        self.best_score_, self.cv_results_ = choice.score, choice.results
        self.n_splits_ = len(splits) if choice.results else 0
        self.slope_, self.calibration_ = float(choice.slope[0]), "none"
        if self.method == "svm":
            self.calibration_ = "cross-validated" if choice.results else "default"
        return self

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return the scores.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            float32 where X is, else float64. For two classes positive means `classes_[1]`.
        """
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label of each row of X (n_samples, n_features), shape (n_samples,)."""
        scores = self._scores(X)
        if scores.shape[1] == 1:
            return np.asarray(self.classes_[(scores[:, 0] > 0).astype(np.intp)])
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; as in `fit`, no label may be missing."""
        return float(super().score(X, require_known(y), sample_weight))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Rows sum to 1; columns in the order of `classes_`.
        """
        return to_probabilities(self._scores(X).astype(np.float64), self.slope_)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`, shape (n_samples, n_classes)."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _solution(self) -> dict[Any, tuple[NDArray[Any], float]]:
        """Return the coefficients and the intercept of each class."""
        coef, intercept = self.coef_, self.intercept_
        if len(coef) == 1:  # of two classes the second's, less the first's
            coef, intercept = np.vstack([-coef, coef]) / 2, np.append(-intercept, intercept) / 2
        return dict(zip(self.classes_.tolist(), zip(coef, intercept, strict=True), strict=True))

    def _find_start(
        self, before: dict[Any, tuple[NDArray[Any], float]], design: Design
    ) -> Array | None:
        """Return the last solution on the axes of a new problem; None where it does not fit."""
        n_features = len(design.axes.shift)
        if any(len(coef) != n_features for coef, _ in before.values()):
            return None
        new = (np.zeros(n_features), min(b for _, b in before.values()))
        found = [before.get(name, new) for name in self.classes_.tolist()]
        coef, intercept = np.array([c for c, _ in found]), np.array([b for _, b in found])
        if len(found) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        return design.axes.turn(coef, intercept)

    def _splits(
        self, X: NDArray[Any], y: NDArray[Any], kept: NDArray[np.bool_], codes: NDArray[np.intp]
    ) -> list[Split]:
        """Return what each kept row counts in training, and the rows that are held out."""
        if isinstance(self.cv, int | np.integer):
            drawn = draw_rows(codes, self.random_state)
            content = number_copies(self._prepare(X[np.flatnonzero(kept)[drawn]]))
            folds = deal(codes[drawn], content, int(self.cv), self.random_state)
            parts = []
            for train, test in split(folds, codes[drawn], content):
                counts = np.zeros((len(codes), 1), bool)
                counts[drawn, 0] = train
                parts.append((counts, drawn[test]))
            return parts
        from sklearn.model_selection import check_cv  # slow to import, and no prediction needs it

        place = np.cumsum(kept) - 1  # a splitter numbers all rows, weightless ones too
        splits = []
        for train, test in check_cv(self.cv, y, classifier=True).split(X, y):
            counts = np.bincount(place[train][kept[train]], minlength=len(codes))
            splits.append((counts[:, None], place[test][kept[test]]))
        return splits

    def _check_parameters(self) -> None:
        super()._check_parameters()
        choose("scoring", self.scoring, SCORINGS)
        if self.method == "svm" and self.scoring == "neg_log_loss":
            raise ParameterError(
                "scoring: got 'neg_log_loss' with method='svm', which has no probabilities while "
                "C is chosen; expected 'accuracy' or 'balanced_accuracy', or method='logistic'"
            )


def weigh_classes(
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
