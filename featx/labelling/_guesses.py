"""What the labels so far let expect of the other images, and how far that can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.estimators import AttributeClassifier, LinearProbeClassifier

__all__ = ["Guesser", "Guesses", "new_probe", "wilson_interval"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

C = 100.0  # of unit rows: where probes of a few labels do best
TOL = 0.1  # of the objective: beyond, no probability changes by a hundredth
MOST_COMPARED = 2_000  # labels, for the leave-one-out accuracy
NO_CLASS, SOME_CLASS = "!", "="  # what names begin with; no class sorts first
Z = 2.0  # deviations: about 95 % of a normal distribution


@dataclass(frozen=True, eq=False)
class Guesses:
    """Guesses for some images.

    Parameters
    ----------
    labels : ndarray of shape (n,), str
        The likeliest class; of attributes those that are likelier than not, joined by ``";"``.
    confidence : ndarray of shape (n,), float64
        Probability of the likeliest class; of attributes, of each being as guessed, on average.
    margin : ndarray of shape (n,), float64
        Probability of the likeliest class less that of the second; of attributes ``|2 p - 1|`` on
        average.
    doubts : ndarray of shape (n,), str
        The two likeliest classes; of attributes the least certain one.
    """

    labels: NDArray[np.str_]
    confidence: Floats
    margin: Floats
    doubts: NDArray[np.str_]


class Guesser:
    """A probe of the labels so far.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32
        Unit rows of all images.
    rows : ndarray of shape (n_labelled,), intp
        Those that have a label.
    labels : ndarray of shape (n_labelled,), str; or (n_labelled, n_attributes), float64
        Classes; or attributes, 1, 0, and NaN where it is not known.
    names : sequence of str, default ()
        The attributes.
    others : ndarray of shape (n_others,), intp, optional
        Images that were looked at and are of none of the classes.
    before : Guesser, optional
        Of some labels less: the probe starts where it stopped.

    Attributes
    ----------
    names : ndarray of str
        Classes, or the attributes that have both answers: at least two, or one.
    """

    def __init__(
        self,
        X: NDArray[np.float32],
        rows: Rows,
        labels: NDArray[Any],
        names: Sequence[str] = (),
        others: Rows | None = None,
        before: Guesser | None = None,
    ) -> None:
        self._X, self.is_multilabel = X, bool(names)
        if names:
            varied = np.array([{0.0, 1.0} <= set(column) for column in labels.T], bool)
            self.names: NDArray[np.str_] = np.array(names, dtype=np.str_)[varied]
            labels = labels[:, varied]
        else:
            self.names = np.unique(labels)
        probe = new_probe(names) if before is None else copy(before._probe)
        self._probe: Any = probe.fit(X[rows], labels)
        self._rows, self._labels, self._others = rows, labels, others
        self._before = None if before is None else before._last_sorter()

    @cached_property
    def trust(self) -> float:
        """Lower bound of the leave-one-out accuracy of the nearest labelled image, in [0, 1]."""
        answers = self._labels if self.is_multilabel else self._labels[:, None]
        agrees = _agrees(self._X[self._rows], answers)
        return wilson_interval(float(agrees.mean()), len(agrees))[0]

    @cached_property
    def _sorter(self) -> Any:
        """A probe for which images of no class are one more class; None where there are none."""
        if self.is_multilabel or self._others is None or not len(self._others):
            return None
        sorted_as = [*np.char.add(SOME_CLASS, self._labels), *[NO_CLASS] * len(self._others)]
        probe = new_probe() if self._before is None else copy(self._before)
        rows = np.concatenate([self._rows, self._others])
        return probe.fit(self._X[rows], np.array(sorted_as, dtype=np.str_))

    def _last_sorter(self) -> Any:
        """Return the sorter that was fitted last, by this guesser or by one before it."""
        return vars(self).get("_sorter") or self._before

    def probabilities(self, rows: Rows | slice) -> Floats:
        """Return the probability of each of `names`, (n, n_names)."""
        found: Floats = self._probe.predict_proba(self._X[rows])
        return found

    def doubt(self, rows: Rows) -> Floats:
        """Return how much the labels leave open what images are, (n,) in [0, 1].

        It is ``1 - trust * sqrt(margin)``. Where images were found to be of no class, that counts
        as one more class, and the probability of the others is a factor.
        """
        if self._sorter is None:
            margin, p_none = self.guess(rows).margin, np.zeros(len(rows))
        else:
            p = self._sorter.predict_proba(self._X[rows])
            two = np.partition(p, -2, axis=1)[:, -2:]
            margin, p_none = two[:, 1] - two[:, 0], p[:, 0]
        found: Floats = (1 - p_none) * (1 - self.trust * np.sqrt(np.maximum(margin, 0)))
        return found

    def guess(self, rows: Rows) -> Guesses:
        """Return guesses for some rows."""
        p = self.probabilities(rows)
        if self.is_multilabel:
            sure = np.abs(2 * p - 1)
            labels = [";".join(self.names[is_on]) for is_on in p > 0.5]
            return Guesses(
                np.array(labels, dtype=np.str_),
                np.maximum(p, 1 - p).mean(axis=1),
                sure.mean(axis=1),
                self.names[sure.argmin(axis=1)],
            )
        two = np.argpartition(p, -2, axis=1)[:, -2:]
        values = np.take_along_axis(p, two, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        first, second = np.take_along_axis(two, order, axis=1).T
        best, next_best = np.take_along_axis(values, order, axis=1).T
        doubts = [
            f"{self.names[i]} or {self.names[j]}" for i, j in zip(first, second, strict=True)
        ]
        return Guesses(self.names[first], best, best - next_best, np.array(doubts, dtype=np.str_))


def new_probe(names: Sequence[str] = ()) -> Any:
    """Return the probe of the pages, of classes or of attributes."""
    if names:
        return AttributeClassifier(Cs=C, tol=TOL)
    return LinearProbeClassifier(Cs=C, tol=TOL, warm_start=True)


def _agrees(X: NDArray[np.float32], answers: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell whether the nearest other labelled image has the same answers, for each known one."""
    if len(X) > MOST_COMPARED:
        drawn = np.random.default_rng(0).choice(len(X), MOST_COMPARED, replace=False)
        X, answers = X[drawn], answers[drawn]
    cosine = X @ X.T
    np.fill_diagonal(cosine, -np.inf)
    other = answers[cosine.argmax(axis=1)]
    is_known = (answers == answers) & (other == other)
    agrees: NDArray[np.bool_] = (answers == other)[is_known]
    return agrees


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a share of n, at about 95 %; [0, 1] of none."""
    if not n:
        return 0.0, 1.0
    middle = share + Z**2 / (2 * n)
    spread = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = (middle - spread) / (1 + Z**2 / n), (middle + spread) / (1 + Z**2 / n)
    return max(float(low), 0.0), min(float(high), 1.0)
