"""Images unlike those that a model was trained on, told by their features and their scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from featx._arrays import scale_to_unit
from featx._repr import OneLine
from featx.estimators._folds import number_copies

__all__ = ["LEAST_RANGE", "N_NEAREST", "ROUNDING", "TIGHTNESS", "Novelty"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

N_NEAREST = 3
PRIOR = 3  # images of mean likeness that are added to those of each class
TIGHTNESS = 0.5  # how much of a class's likeness is taken off
MAX_REFERENCES, MAX_BYTES = 2048, 8 * 2**20
MAX_TRAINING = 4096
BLOCK_ROWS = 1024
LEAST_RANGE, ROUNDING = 1e-12, 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class Novelty(OneLine):
    """What new images are compared with, and how alike the training images are among themselves.

    The likeness of an image to a class is the mean cosine between its features and those of its 3
    nearest images of the class, less half of what the images of that class have among themselves.
    Its novelty is the likeness to the nearest class plus the classifier's highest score (the
    maximum logit of Hendrycks et al. 2022), each over its spread among training images, negated.
    Both halves fail on different images: the first knows nothing of what tells classes apart, the
    second of how far off an image lies.

    Parameters
    ----------
    references : ndarray of shape (n_references, n_features), float16
        Unit-length features, class by class.
    counts : ndarray of shape (n_classes,), int64
        References of each class; one class where there are attributes.
    likeness : ndarray of shape (n_classes,), float64
        Mean likeness of the images of each class among themselves.
    weights : ndarray of shape (2,), float64
        Of the likeness and of the score.
    training : ndarray of shape (n_training,), float64
        Rising novelty of training images, none of them compared with itself.
    """

    references: NDArray[np.float16] = field(repr=False)
    counts: NDArray[np.int64]
    likeness: Array
    weights: Array
    training: Array = field(repr=False)

    @classmethod
    def fit(
        cls, X: NDArray[Any], codes: Codes, scores: Array | None = None, random_state: Any = 0
    ) -> Self:
        """Choose references and compare training images with them.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        codes : ndarray of shape (n_samples,), int
            Class of each image, from 0; all 0 where there are none.
        scores : ndarray of shape (n_samples,), float64, optional
            Highest score of each image by a model without it, NaN where there is none. Without,
            or if all are NaN, the likeness alone counts.
        random_state : int, default 0
            Chooses at most 2048 references of at most 8 MiB, from each class its share and three
            at least, and at most 4096 images that are compared with them.
        """
        unit, copies = scale_to_unit(X.astype(np.float32, copy=False)), number_copies(X)
        rng = check_random_state(random_state)
        n_kept = max(1, min(MAX_REFERENCES, MAX_BYTES // (2 * X.shape[1])))
        chosen = np.sort(_order_rows(codes, rng)[:n_kept])
        chosen = chosen[np.argsort(codes[chosen], kind="stable")]
        of_class = codes[chosen]
        references = unit[chosen].astype(np.float16)
        counts = np.bincount(of_class, minlength=int(codes.max()) + 1)
        cosines = _find_nearest(
            unit[chosen], references, counts, copies[chosen][:, None] == copies[chosen]
        )
        likeness = _average(cosines[np.arange(len(chosen)), of_class], of_class, len(counts))
        compared = cls(references, counts, likeness, np.array([1.0, 0.0]), np.empty(0))
        rows = np.sort(rng.permutation(len(X))[:MAX_TRAINING])
        alike = compared._compare(unit[rows], copies[rows][:, None] == copies[chosen])
        highest = np.zeros(len(rows)) if scores is None else scores[rows]
        if not np.isfinite(highest).any():
            highest = np.zeros(len(rows))
        kept = np.isfinite(alike) & np.isfinite(highest)
        both = np.stack([alike[kept], highest[kept]])
        weights = np.array([_invert_spread(values) for values in both])
        return cls(references, counts, likeness, weights, np.sort(-(weights @ both)))

    def predict(self, X: NDArray[Any], scores: Array) -> Array:
        """Return the share of training images that are less novel, (n,), in [0, 1).

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
        scores : ndarray of shape (n,), float64
            The highest score of each image.

        Returns
        -------
        ndarray of shape (n,), float64
            1 minus the conformal p-value. Beyond the most novel training image it goes on
            rising, so that the most novel images can be told apart.
        """
        unit = scale_to_unit(X.astype(np.float32, copy=False))
        novelty = -(self.weights @ np.stack([self._compare(unit), scores]))
        ranks = np.searchsorted(self.training, novelty).astype(np.float64)
        if len(self.training):
            excess = np.maximum(novelty - self.training[-1], 0)
            ranks += excess / (excess + max(np.ptp(self.training), LEAST_RANGE))
        return ranks / (len(self.training) + 1)

    def flag(self, unknown: Array, rate: float) -> NDArray[np.bool_]:
        """Say which shares at most `rate` of the images like those trained on would reach."""
        n = len(self.training) + 1
        ranks = np.floor(unknown * n + ROUNDING)  # a share between two ranks promises no more
        return np.asarray(ranks >= (1 - rate) * n - ROUNDING)

    def _compare(
        self, unit: NDArray[np.float32], hidden: NDArray[np.bool_] | None = None
    ) -> Array:
        """Return the likeness of unit rows to the nearest class, (n,)."""
        cosines = _find_nearest(unit, self.references, self.counts, hidden)
        return np.asarray((cosines - TIGHTNESS * self.likeness).max(axis=1))


def _order_rows(codes: Codes, rng: np.random.RandomState) -> Codes:
    """Shuffle rows, three of each class first, then of each class its share."""
    counts = np.bincount(codes)
    rows = rng.permutation(len(codes))
    rows = rows[np.argsort(codes[rows], kind="stable")]
    ranks = np.arange(len(rows)) - (counts.cumsum() - counts)[codes[rows]]
    shares = (ranks + 0.5) / counts[codes[rows]]
    return rows[np.argsort(np.where(ranks < N_NEAREST, ranks - N_NEAREST, shares), kind="stable")]


def _find_nearest(
    unit: NDArray[np.float32],
    references: NDArray[np.float16],
    counts: NDArray[np.int64],
    hidden: NDArray[np.bool_] | None,
) -> Array:
    """Return the mean cosine to the nearest references of each class, (n, n_classes).

    What `hidden` (n, n_references) marks is left out; -inf where nothing is left.
    """
    found = np.full((len(unit), len(counts)), -np.inf)
    wide, ends = references.astype(np.float32), counts.cumsum()
    for start in range(0, len(unit), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        cosines = unit[block] @ wide.T
        if hidden is not None:
            cosines[hidden[block]] = -np.inf
        for k in np.flatnonzero(counts):
            of_class = cosines[:, ends[k] - counts[k] : ends[k]]
            if counts[k] > N_NEAREST:
                of_class = np.partition(of_class, counts[k] - N_NEAREST, axis=1)[:, -N_NEAREST:]
            is_seen = np.isfinite(of_class)
            n_seen = is_seen.sum(axis=1)
            sums = np.where(is_seen, of_class, 0).sum(axis=1, dtype=np.float64)
            found[block, k] = np.where(n_seen, sums / np.maximum(n_seen, 1), -np.inf)
    return found


def _average(values: Array, codes: Codes, n_classes: int) -> Array:
    """Return the mean of each class, (n_classes,), drawn to the mean of all where it is small."""
    is_known = np.isfinite(values)
    values, codes = values[is_known], codes[is_known]
    mean = values.mean() if len(values) else 0.0
    sums = np.bincount(codes, weights=values, minlength=n_classes)
    return (sums + PRIOR * mean) / (np.bincount(codes, minlength=n_classes) + PRIOR)


def _invert_spread(values: Array) -> float:
    """Return 1 over the range of the middle two thirds; 0 where all are equal."""
    if not len(values):
        return 0.0
    low, high = np.quantile(values, [1 / 6, 5 / 6])
    return float(1 / (high - low)) if high > low else 0.0
