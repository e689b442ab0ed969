"""What linear models tell apart: classes that exclude each other, or columns of yes and no.

A column is a problem of its own, as a class of one-vs-rest is; what differs is how C is chosen:
one for all classes by accuracy, or one for each column by its log loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit, log_softmax

from featx.errors import ParameterError
from featx.estimators._calibration import fit_class_slope, fit_column_slope
from featx.estimators._fit import Choice, Folds
from featx.estimators._losses import Loss, encode_signs, make_class_loss, make_column_loss

__all__ = ["Attributes", "Classes"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Classes:
    """One class for each sample.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,), int
    n_classes : int
    weights, loss_weights : ndarray of shape (n_samples, 1)
        Sample weights without and with the class weights.
    scoring : {"accuracy", "balanced_accuracy", "neg_log_loss"}
        What C is chosen by.
    """

    codes: Rows
    n_classes: int
    weights: Array
    loss_weights: Array
    scoring: str

    @property
    def n_columns(self) -> int:
        """Columns of scores: one where there are two classes."""
        return 1 if self.n_classes == 2 else self.n_classes

    def loss(self, method: str, rows: Any, weights: Array) -> Loss:
        """Return the loss on some rows, whose weights (n_rows, 1) are given."""
        return make_class_loss(method, self.codes[rows], self.n_classes, weights[:, 0])

    def choose(self, folds: Folds, default: Choice) -> Choice:
        """Choose one C by the scores of all held-out rows together.

        Judges fold by fold, so that scores of one fold and one C are held at a time; "svm" keeps
        them all for the slope of its probabilities.
        """
        method, Cs = folds.design.method, folds.design.Cs
        judged: list[list[tuple[NDArray[Any], ...]]] = [[] for _ in Cs]
        for i, test, held_out in folds:
            hits, losses = self._judge(method, test, held_out)
            kept = held_out if method == "svm" else held_out[:, :0]
            judged[i].append((hits, losses, kept))
        rows = np.concatenate([test for _, test in folds.splits])
        parts = [[np.concatenate(part) for part in zip(*one, strict=True)] for one in judged]
        results = {"C": Cs} | self._summarise(
            method, rows, np.stack([hits for hits, *_ in parts]), np.stack([p[1] for p in parts])
        )
        key = "log_loss" if self.scoring == "neg_log_loss" else self.scoring
        values = -results[key] if self.scoring == "neg_log_loss" else results[key]
        best = _find_best(values, results.get("log_loss"))
        slope = default.slope
        if method == "svm":
            scores = parts[best][2].astype(np.float64)
            one = fit_class_slope(scores, self.codes[rows], self.loss_weights[rows, 0])
            slope = np.full_like(slope, one)
        return Choice(np.full_like(default.place, best), slope, results, float(values[best]))

    def _judge(
        self, method: str, rows: Rows, scores: NDArray[Any]
    ) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Say for (n_rows, n_columns) scores which are right, and each one's loss."""
        codes = self.codes[rows]
        both = np.column_stack([np.zeros_like(scores), scores]) if self.n_columns == 1 else scores
        hits = both.argmax(axis=1) == codes
        if method == "logistic":
            return hits, -log_softmax(both, axis=1)[np.arange(len(codes)), codes]
        signs = encode_signs(codes, self.n_classes)
        return hits, (np.maximum(1 - signs * scores, 0) ** 2).sum(axis=1)

    def _summarise(
        self, method: str, rows: Rows, hits: NDArray[np.bool_], losses: Array
    ) -> dict[str, Array]:
        """Return the figures of each C from (n_Cs, n_rows) hits and losses."""
        weights, codes = self.weights[rows, 0], self.codes[rows]
        of_class = np.bincount(codes, weights=weights, minlength=self.n_classes)
        right = np.stack(
            [np.bincount(codes, weights=weights * h, minlength=self.n_classes) for h in hits]
        )
        seen = of_class > 0
        loss_weights = self.loss_weights[rows, 0]
        return {
            "accuracy": right.sum(axis=1) / weights.sum(),
            "balanced_accuracy": (right[:, seen] / of_class[seen]).mean(axis=1),
            "log_loss" if method == "logistic" else "squared_hinge": losses
            @ loss_weights
            / loss_weights.sum(),
        }


def _find_best(values: Array, log_loss: Array | None) -> int:
    """Return the best value's place; among equals the least log loss, else the smallest C."""
    ties = np.flatnonzero(values >= values.max() - 1e-12)
    return int(ties[0] if log_loss is None else ties[log_loss[ties].argmin()])


@dataclass(frozen=True)
class Attributes:
    """Yes or no in each of several columns.

    Parameters
    ----------
    signs : ndarray of shape (n_samples, n_attributes)
        1 for yes, -1 for no or not known.
    weights, loss_weights : ndarray of shape (n_samples, n_attributes)
        Without and with the balance between yes and no; 0 for not known.
    constant : ndarray of shape (n_attributes,)
        The only value of an attribute, NaN where it has both.
    """

    signs: Array
    weights: Array
    loss_weights: Array
    constant: Array

    @classmethod
    def build(
        cls, Y: Array, sample_weight: Array, names: Sequence[str], *, balanced: bool
    ) -> Attributes:
        """Read 0, 1 and NaN.

        Raises
        ------
        ParameterError
            Naming the attributes that have no label at all.
        """
        known = ~np.isnan(Y)
        empty = [name for i, name in enumerate(names) if not known[:, i].any()]
        if empty:
            raise ParameterError(
                f"y: attributes without a single known label: {', '.join(map(repr, empty[:10]))}"
                f"{' and more' if len(empty) > 10 else ''}; leave these columns out"
            )
        weights = known * sample_weight[:, None]
        yes, no = (weights * (Y == 1)).sum(axis=0), (weights * (Y == 0)).sum(axis=0)
        constant = np.where(no == 0, 1.0, np.where(yes == 0, 0.0, np.nan))
        loss_weights = weights
        if balanced:
            own = np.where(Y == 1, yes, no)  # the sum of those with the same answer
            factors = (yes + no) / np.where(own == 0, 1, 2 * own)
            loss_weights = weights * np.where(np.isnan(constant), factors, 1)
        return cls(np.where(Y == 1, 1.0, -1.0), weights, loss_weights, constant)

    @property
    def n_columns(self) -> int:
        """Number of attributes."""
        return len(self.constant)

    def take(self, columns: Rows) -> Attributes:
        """Return the attributes of these numbers."""
        tables = {n: getattr(self, n)[:, columns] for n in ("signs", "weights", "loss_weights")}
        return replace(self, constant=self.constant[columns], **tables)

    def loss(self, method: str, rows: Any, weights: Array) -> Loss:
        """Return the loss on some rows, whose weights (n_rows, n_attributes) are given."""
        return make_column_loss(method, self.signs[rows], weights)

    def choose(self, folds: Folds, default: Choice) -> Choice:
        """Choose each column's C by its own held-out log loss; `default` where it has none."""
        method, Cs = folds.design.method, folds.design.Cs
        held_out = np.zeros((len(Cs), *self.signs.shape), dtype=np.float32)
        has_score = np.zeros(self.signs.shape, dtype=bool)
        for i, test, scores in folds:
            np.copyto(held_out[i], scores, where=test, casting="same_kind")
            has_score |= test
        losses = np.full((len(Cs), self.n_columns), np.nan)
        slopes = np.ones_like(losses)
        for column in np.flatnonzero(has_score.any(axis=0)):
            rows = has_score[:, column]
            signs, weights = self.signs[rows, column], self.loss_weights[rows, column]
            for i, scores in enumerate(held_out[:, rows, column].astype(np.float64)):
                if method == "svm":
                    slopes[i, column] = fit_column_slope(scores, signs, weights)
                gains = log_expit(slopes[i, column] * signs * scores)
                losses[i, column] = -weights @ gains / weights.sum()
        able = ~np.isnan(losses).any(axis=0)
        place, slope = default.place.copy(), default.slope.copy()
        place[able] = losses[:, able].argmin(axis=0)
        slope[able] = slopes[place, np.arange(self.n_columns)][able]
        return Choice(place, slope, {"log_loss": losses})
