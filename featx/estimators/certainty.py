"""How far the answers of a classifier can be trusted, learned from images it had not seen.

Three things are learned when a model is trained, all out of fold, and kept beside it:

- a slope on its scores (temperature scaling, Guo et al. 2017), so that about 80 % of the answers
  with confidence 0.8 are right;
- the probabilities that the right classes of images have that a model of as many images had not
  seen, for sets of labels that hold the right one as often as promised: the least ambiguous sets
  of Sadinle, Lei and Wasserman 2019 with smoothed conformal ranks (Vovk et al. 2005);
- what new images are compared with, to tell those that are unlike all of them (`Novelty`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from featx._arrays import scale_to_unit
from featx._repr import OneLine
from featx._values import as_text
from featx.errors import FileFormatError, ParameterError, require_number
from featx.estimators._calibration import fit_class_slope, to_probabilities
from featx.estimators._folds import draw_rows
from featx.estimators.held_out import final_estimator, predict_held_out
from featx.estimators.novelty import Novelty
from featx.estimators.path_scores import count_folds

__all__ = [
    "FALSE_ALARMS",
    "LIKELY",
    "Answers",
    "Certainty",
    "answer",
    "has_attributes",
    "learn_certainty",
    "name_columns",
]

Array = NDArray[np.float64]

FALSE_ALARMS = 0.05
LIKELY, ROUNDING = 0.5, 1e-12
LIMITS = (1e-12, 1 - 1e-12)  # probabilities with finite log-odds
N_WAVES = 32  # of chance along the features: an image's own differs from that of one alike
# The arrays of a file: kind of number, and what each axis is; "rows" is any length.
LAYOUT = {
    "slopes": ("f", "columns"),
    "right": ("f", "rows"),
    "right_counts": ("i", "columns"),
    "references": ("f", "rows features"),
    "counts": ("i", "classes"),
    "likeness": ("f", "classes"),
    "weights": ("f", "weights"),
    "training": ("f", "rows"),
}
MAX_RIGHT = 4096  # probabilities that are kept: with as many, coverage varies by half a point


@dataclass(frozen=True, eq=False, repr=False)
class Answers(OneLine):
    """What a model says of some images, and how sure it is.

    Parameters
    ----------
    labels : ndarray of shape (n,), str, or (n, n_attributes), int, 0 or 1
        The predicted class as text, or attributes.
    scores : ndarray of shape (n, n_classes or n_attributes), float64
        Calibrated probabilities; the model's own where it was saved without what calibrates them.
    confidence : ndarray of shape (n,), float64
        Probability that the label is right; of attributes the expected share of right ones.
    unknown : ndarray of shape (n,), float64, or None
        Share of the training images that are less novel, in [0, 1); None where the model was
        saved without what new images are compared with.
    is_unknown : ndarray of shape (n,), bool
        Whether `unknown` reaches 1 minus the promised rate of false alarms, as far as there are
        training images enough to promise it.
    sets : ndarray of shape (n, n_classes or n_attributes), bool, or None
        Columns of the set of labels; None where no coverage was asked for.
    """

    labels: NDArray[Any]
    scores: Array
    confidence: Array
    unknown: Array | None
    is_unknown: NDArray[np.bool_]
    sets: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Certainty(OneLine):
    """What was learned out of fold, to be kept beside a model.

    Parameters
    ----------
    slopes : ndarray of shape (1,) for classes, or (n_attributes,), float64
        Factors on the scores before softmax or sigmoid.
    right : tuple of ndarray of shape (n_held_out,), float64
        Rising calibrated probabilities of what is right, as a model of all images would give them
        to new ones: one array of each image's class, or one for each attribute, of the images
        that have it.
    novelty : Novelty
        What new images are compared with.
    """

    slopes: Array
    right: tuple[Array, ...] = field(repr=False)
    novelty: Novelty = field(repr=False)

    def calibrate(self, model: Any, raw: Array) -> Array:
        """Return probabilities, (n, n_columns), of scores, of two classes one column."""
        if has_attributes(model):
            return np.asarray(expit(self.slopes * raw))
        return to_probabilities(raw, float(self.slopes[0]))

    def apply(self, model: Any, X: NDArray[Any]) -> tuple[Array, Array]:
        """Return calibrated probabilities, (n, n_columns), and how unknown each image is, (n,)."""
        raw = np.asarray(model.decision_function(X), np.float64).reshape(len(X), -1)
        highest = np.zeros(len(X)) if has_attributes(model) else _find_highest(raw)
        return self.calibrate(model, raw), self.novelty.predict(X, highest)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        return {
            "slopes": self.slopes,
            "right": np.concatenate(self.right),
            "right_counts": np.array([len(right) for right in self.right], np.int64),
            **{f.name: getattr(self.novelty, f.name) for f in dataclasses.fields(self.novelty)},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], model: Any) -> Self:
        """Undo `to_arrays`, for the model that it was learned of.

        Raises
        ------
        FileFormatError
            If the arrays do not fit each other or the model.
        """
        columns, classes = len(name_columns(model)), 1
        if not has_attributes(model):
            columns, classes = classes, columns
        sizes = {"columns": columns, "classes": classes, "weights": 2}
        if hasattr(model, "n_features_in_"):
            sizes["features"] = model.n_features_in_
        given = {name: _take(arrays, name, sizes) for name in LAYOUT}
        for name, rows in (("right_counts", "right"), ("counts", "references")):
            counts, total = given[name], len(given[rows])
            if (counts < 0).any() or counts.sum() != total:
                raise FileFormatError(f"{name}: got a sum of {counts.sum()}, expected {total}")
        if not len(given["references"]):
            raise FileFormatError("references: got none, expected at least one")
        right = np.split(given["right"], given["right_counts"].cumsum()[:-1])
        given["training"] = np.sort(given["training"])
        novelty = Novelty(*(given[f.name] for f in dataclasses.fields(Novelty)))
        return cls(given["slopes"], tuple(map(np.sort, right)), novelty)


def _take(arrays: Mapping[str, NDArray[Any]], name: str, sizes: Mapping[str, int]) -> NDArray[Any]:
    kind, axes = LAYOUT[name]
    array, expected = arrays.get(name), tuple(sizes.get(axis) for axis in axes.split())
    if array is None or array.dtype.kind != kind or array.ndim != len(expected):
        raise FileFormatError(f"{name}: missing, or no array of {len(expected)} axes")
    if any(n not in (None, got) for n, got in zip(expected, array.shape, strict=True)):
        raise FileFormatError(f"{name}: got shape {array.shape}, expected {expected}")
    if not np.isfinite(array).all():
        raise FileFormatError(f"{name}: has numbers that are NaN or infinite")
    return array


def has_attributes(model: Any) -> bool:
    """Tell whether a classifier gives several yes-or-no labels per image."""
    return hasattr(final_estimator(model), "attribute_names_")


def name_columns(model: Any) -> tuple[str, ...]:
    """Return the classes or attributes of a classifier as labels are read: 1.0 as "1"."""
    final = final_estimator(model)
    names = final.attribute_names_ if has_attributes(model) else final.classes_
    return tuple(name if isinstance(name, str) else as_text(name) for name in names.tolist())


def learn_certainty(model: Any, X: NDArray[Any], y: NDArray[Any]) -> Certainty:
    """Learn how far a model can be trusted, from models that have not seen the image.

    Parameters
    ----------
    model : classifier
        Fitted on X and y, with `decision_function`, as for `predict_held_out`.
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,), or (n_samples, n_attributes) with NaN for not known

    Returns
    -------
    Certainty
        Costs two more fits per fold. Of more than 100,000 samples of classes about 100,000 are
        used, a share of each class. Where nothing can be held out, the slopes are the model's own
        and the sets of labels hold all.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from featx.estimators import LinearProbeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> is_known = y < 8
    >>> X_train, y_train = X[is_known][:400], y[is_known][:400]
    >>> probe = LinearProbeClassifier().fit(X_train, y_train)
    >>> certainty = learn_certainty(probe, X_train, y_train)
    >>> answers = answer(probe, X[~is_known], certainty)
    >>> bool(answers.is_unknown.mean() > 0.5)
    True
    """
    drawn = draw_rows(y, final_estimator(model).random_state)
    if len(drawn) < len(y):
        X, y = X[drawn], y[drawn]
    held_out, fewer = (
        predict_held_out(model, X, y, "decision_function", n_apart=n_apart) for n_apart in (1, 2)
    )
    n_folds = count_folds(model)
    if y.ndim == 2:
        return _learn_attributes(model, X, y, (held_out, fewer), n_folds)
    codes = np.unique(y, return_inverse=True)[1]
    is_known = ~np.isnan(held_out).any(axis=1)
    slope = float(final_estimator(model).slope_)
    if is_known.any():
        slope = fit_class_slope(held_out[is_known], codes[is_known], np.ones(is_known.sum()))
    of_right, of_fewer = (
        to_probabilities(scores, slope)[np.arange(len(codes)), codes]
        for scores in (held_out, fewer)
    )
    right = _thin(_extrapolate(of_right, of_fewer, n_folds))
    novelty = Novelty.fit(X, codes, _find_highest(held_out))
    return Certainty(np.array([slope]), (right,), novelty)


def _learn_attributes(
    model: Any, X: NDArray[Any], Y: Array, scores: tuple[Array, Array], n_folds: int
) -> Certainty:
    slopes = np.array(final_estimator(model).slope_, np.float64)  # C was chosen by the log loss
    right = []
    for column, slope in enumerate(slopes):
        has_it = Y[:, column] == 1
        held_out, fewer = (expit(slope * found[has_it, column]) for found in scores)
        right.append(_thin(_extrapolate(held_out, fewer, n_folds)))
    return Certainty(slopes, tuple(right), Novelty.fit(X, np.zeros(len(X), np.intp)))


def _extrapolate(held_out: Array, fewer: Array, n_folds: int) -> Array:
    """Return the probabilities of the right labels by a model of all these images, rising.

    The models of the folds have fewer images and are less sure, so that a limit of theirs is
    reached too often. What one fold less did to each quantile of the log-odds is known from models
    without two folds, and the next fold does (n_folds - 2) / n_folds of that, if the difference to
    infinitely many images falls as 1 over their number.

    Parameters
    ----------
    held_out, fewer : ndarray of shape (n,)
        By models without one fold and without two; NaN where there is none.
    """
    is_both = ~(np.isnan(held_out) | np.isnan(fewer))
    rising = logit(np.sort(held_out[~np.isnan(held_out)]).clip(*LIMITS))
    if is_both.any():
        more, less = (logit(np.sort(p[is_both]).clip(*LIMITS)) for p in (held_out, fewer))
        ranks, of_both = (np.arange(0.5, len(v)) / len(v) for v in (rising, more))
        rising += (n_folds - 2) / n_folds * np.interp(ranks, of_both, more - less)
    return np.sort(np.asarray(expit(rising)))


def _thin(right: Array) -> Array:
    """Sort, and keep at most as many as a file is to hold."""
    rng = np.random.default_rng(0)
    return np.sort(rng.permutation(right)[:MAX_RIGHT])


def _find_highest(scores: Array) -> Array:
    """Return the highest score of each row; one column of scores stands for two classes."""
    return np.asarray(np.abs(scores[:, 0]) if scores.shape[1] == 1 else scores.max(axis=1))


def answer(
    model: Any,
    X: NDArray[Any],
    certainty: Certainty | None = None,
    *,
    coverage: float | None = None,
    false_alarms: float = FALSE_ALARMS,
) -> Answers:
    """Label vectors, and say how sure the labels are.

    Parameters
    ----------
    model : classifier
        Fitted.
    X : ndarray of shape (n, n_features)
    certainty : Certainty, optional
        What was learned of the model.
    coverage : float, optional
        Share of images whose set of labels is to hold the right one, in (0, 1). The sets are the
        smallest on average: they may hold several labels, and none where no class is probable
        enough. Where there are so few training images that no single limit keeps the promise,
        chance decides between two, drawn from the features: an image always has the same set. Of
        attributes, the share of images with an attribute whose set holds it.
    false_alarms : float, default 0.05
        Largest share of images like those trained on that may be called unknown. With less than
        1 / `false_alarms` - 1 training images none is.

    Returns
    -------
    Answers

    Raises
    ------
    ParameterError
        If a share is out of range, or a coverage is asked for and nothing was learned.
    """
    require_number("false_alarms", false_alarms, 0, 1)
    if certainty is None:
        scores, unknown = np.asarray(model.predict_proba(X), np.float64), None
    else:
        scores, unknown = certainty.apply(model, X)
    if has_attributes(model):
        labels = (scores > LIKELY).astype(np.int64)
        confidence = np.maximum(scores, 1 - scores).mean(axis=1)
    else:
        # not the largest probability: where each class has its own calibration, they may differ
        columns = np.searchsorted(final_estimator(model).classes_, model.predict(X))
        labels = np.array(name_columns(model))[columns]
        confidence = scores[np.arange(len(columns)), columns]
    is_unknown = np.zeros(len(labels), bool)
    if certainty is not None and unknown is not None:
        is_unknown = certainty.novelty.flag(unknown, false_alarms)
    sets = None if coverage is None else scores >= _find_thresholds(certainty, coverage, X)
    return Answers(labels, scores, confidence, unknown, is_unknown, sets)


def _find_thresholds(certainty: Certainty | None, coverage: float, X: NDArray[Any]) -> Array:
    """Return the least probability of a label that cannot be ruled out, (n, 1 or n_attributes).

    Of n held-out probabilities of what is right, and a new one, each is as likely to be the k-th
    smallest: the k-th is reached as often as promised with k = (1 - coverage) * (n + 1). Where
    that is no whole number, some images get the k below and the others the k above.
    """
    require_number("coverage", coverage, 0, 1, above=True, below=True)
    if certainty is None:
        raise ParameterError(
            "coverage: got a model that was saved without what sets of labels need, expected one "
            "that featx train made; train it again"
        )
    chance, thresholds = _draw_chance(X), []
    for right in certainty.right:
        k = np.floor((1 - coverage) * (len(right) + 1) + chance + ROUNDING).astype(np.intp)
        thresholds.append(np.concatenate([[0.0], right])[np.minimum(k, len(right))])
    return np.stack(thresholds, axis=1)


def _draw_chance(X: NDArray[Any]) -> Array:
    """Return a number in [0, 1) for each row, (n,), the same whenever the row is the same.

    It changes little where a feature does, so that rounding does not draw anew.
    """
    direction = np.random.default_rng(0).normal(size=X.shape[1])
    return np.asarray(N_WAVES * (scale_to_unit(X.astype(np.float64)) @ direction) % 1.0)
