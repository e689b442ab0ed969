"""How many labels are wrong, and which: a mixture model of labels given held-out scores.

A label is either drawn from the probe's posterior, sharpened by one exponent because a probe that
learns from wrong labels too is not sure enough of itself; or it is wrong, and drawn from the other
classes by the same scores with a second exponent: 0 where it is any other class, large where it is
the likeliest other one. Three numbers, the two exponents and the share of wrong labels, are fitted
by maximum likelihood; Bayes' rule then gives each label's probability of being wrong.

Confident learning (Northcutt et al., 2021) counts labels whose probability passes the mean of
their class. That count has a floor, the probe's own mistakes; here these are part of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit

__all__ = ["NoiseModel"]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

# Weak priors, (mean, deviation), of the logarithms of both exponents and the logit of the share:
# they decide only what the labels do not.
PRIORS = np.array([[0.0, 2.0], [-3.0, 3.0], [-2.0, 2.0]])
STARTS = ((0.5, -3.0, -2.0), (0.5, -3.0, 0.0))
LIMITS = (4.0, 12.0, 6.0)
MOST_CELLS = 1_000_000  # samples times classes that are fitted: tens of milliseconds a step
QUICK_CELLS = 250_000
LEAST_ROWS = 1_000
BLOCK_CELLS = 50_000  # stay in the cache
# Held-out scores share training images, so labels say less of the parameters than independent
# ones would: the variance is doubled. docs/audit.md has the coverage measured.
VARIANCE_FACTOR = 2.0
CHI_SQUARE = 3.84  # 95 % quantile, one degree of freedom
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """The fitted mixture.

    Parameters
    ----------
    theta : ndarray of shape (3,)
        Logarithm of the sharpening exponent, logit of the share of wrong labels, logarithm of the
        exponent by which wrong labels are drawn.
    loss : float
        Negative log-likelihood of a label, on average; of several probes' scores the best are
        those of the least.
    """

    theta: Floats
    loss: float

    @classmethod
    def fit(cls, scores: NDArray[Any], codes: Codes, *, quick: bool = False) -> NoiseModel:
        """Fit to held-out scores.

        Parameters
        ----------
        scores : ndarray of shape (n_samples, n_classes)
            Logarithms of probabilities, but for a constant for each sample.
        codes : ndarray of shape (n_samples,), intp
            The given labels.
        quick : bool, default False
            Whether a quarter of the samples and one start will do, to compare losses.

        Notes
        -----
        Where samples times classes are over 1,000,000, every second, third ... of the samples is
        fitted, at least 1,000 of them.
        """
        some, given = _thin(scores, codes, QUICK_CELLS if quick else MOST_CELLS)
        is_one = quick or scores.shape[1] == 2  # of two classes the likeliest other is any other
        starts = STARTS[:1] if is_one else STARTS
        found = [_minimise(some, given, np.array(start)) for start in starts]
        return cls(*min(found, key=lambda pair: pair[1]))

    def wrong(self, scores: NDArray[Any], codes: Codes) -> Floats:
        """Return the probability that each label is wrong, (n_samples,)."""
        return _wrong(scores, codes, self.theta)

    def interval(self, scores: NDArray[Any], codes: Codes) -> tuple[float, float, float]:
        """Return the expected number of wrong labels and its 95 % interval.

        That of the profile likelihood (Venzon and Moolgavkar 1988) of the share of wrong labels
        where these came from, times the number of labels: wider than that of the sum of
        probabilities, which trusts the model of each label; and where none may be wrong the
        likelihood is flat, and no normal distribution describes it.
        """
        some, given = _thin(scores, codes)
        allowed = self.loss + VARIANCE_FACTOR * CHI_SQUARE / 2 / len(given)

        def excess(logit: float) -> float:
            start = np.array([self.theta[0], logit, self.theta[2]])
            return _minimise(some, given, start, fixed=True)[1] - allowed

        def bound(limit: float) -> float:
            is_open = excess(limit) <= 0
            return limit if is_open else float(brentq(excess, self.theta[1], limit, xtol=0.01))

        expected = float(self.wrong(scores, codes).sum())
        low, high = (len(codes) * float(expit(bound(s * LIMITS[1]))) for s in (-1, 1))
        return expected, min(low, expected), max(high, expected)


def _thin(
    scores: NDArray[Any], codes: Codes, most_cells: int = MOST_CELLS
) -> tuple[Floats, Codes]:
    n = max(most_cells // scores.shape[1], LEAST_ROWS)
    step = -(-len(codes) // n)
    return scores[::step].astype(np.float64), codes[::step]


def _minimise(
    scores: Floats, codes: Codes, start: Floats, *, fixed: bool = False
) -> tuple[Floats, float]:
    """Return the likeliest parameters, the share that of the start if `fixed`, and their loss."""
    bounds = [(-limit, limit) for limit in LIMITS]
    if fixed:
        bounds[1] = (start[1], start[1])
    found = minimize(
        lambda theta: _loss(scores, codes, theta), start, jac=True, method="L-BFGS-B",
        bounds=bounds, options={"ftol": 1e-7},
    )  # fmt: skip
    return found.x, float(found.fun)


def _loss(scores: Floats, codes: Codes, theta: Floats) -> tuple[float, Floats]:
    """Return the mean negative log-likelihood of the labels with the priors, and its gradient."""
    off = (theta - PRIORS[:, 0]) / PRIORS[:, 1]
    value, gradient = float(off @ off) / 2, off / PRIORS[:, 1]
    for block in _blocks(scores):
        right, wrong, slopes = _joint(scores[block], codes[block], theta)
        total = right + wrong + TINY
        value -= float(np.log(total).sum())
        gradient = gradient - (slopes / total).sum(axis=1)
    return value / len(codes), gradient / len(codes)


def _blocks(scores: NDArray[Any]) -> Iterator[slice]:
    size = max(BLOCK_CELLS // scores.shape[1], 1)
    for start in range(0, len(scores), size):
        yield slice(start, start + size)


def _joint(scores: Floats, codes: Codes, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the probability of each label together with its being right, and with being wrong.

    Third are the derivatives of their sum by the parameters, (3, n_samples).
    """
    sharpness, share, spread = np.exp(theta[0]), expit(theta[1]), np.exp(theta[2])
    rows = np.arange(len(codes))
    below = scores - scores.max(axis=1, keepdims=True)
    p = np.exp(sharpness * below)
    p /= p.sum(axis=1, keepdims=True)
    drawn = np.exp(spread * below)
    total = drawn.sum(axis=1, keepdims=True)
    # Of true class k the label is y with probability drawn_y / (total - drawn_k), summed over k.
    rest = np.maximum(total - drawn, 1e-12 * total)
    ratio = p / rest
    ratio[rows, codes] = 0
    own, chance, height = p[rows, codes], drawn[rows, codes], below[rows, codes]
    if_wrong = ratio.sum(axis=1)
    mean = np.einsum("ij,ij->i", p, below)
    by_sharpness = (1 - share) * own * (height - mean) + share * chance * (
        np.einsum("ij,ij->i", ratio, below) - mean * if_wrong
    )
    pull = drawn * below
    others = (pull.sum(axis=1, keepdims=True) - pull) / rest
    by_spread = share * chance * (height * if_wrong - np.einsum("ij,ij->i", ratio, others))
    by_share = share * (1 - share) * (chance * if_wrong - own)
    slopes = np.stack([sharpness * by_sharpness, by_share, spread * by_spread])
    return (1 - share) * own, share * chance * if_wrong, slopes


def _wrong(scores: NDArray[Any], codes: Codes, theta: Floats) -> Floats:
    found = np.empty(len(codes))
    for block in _blocks(scores):
        right, wrong, _ = _joint(scores[block].astype(np.float64), codes[block], theta)
        found[block] = wrong / (right + wrong + TINY)
    return found
