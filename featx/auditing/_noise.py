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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_softmax

__all__ = ["NoiseModel"]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

# Weak priors, (mean, deviation), of the logarithms of both exponents and the logit of the share:
# they decide only what the labels do not.
PRIORS = np.array([[0.0, 2.0], [-3.0, 3.0], [-2.0, 2.0]])
STARTS = ((0.5, -3.0, -2.0), (0.5, -3.0, 0.0))
LIMITS = (4.0, 12.0, 6.0)
MOST_CELLS = 1_000_000  # samples times classes that are fitted: tens of milliseconds a step
LEAST_ROWS = 2_000
BLOCK_CELLS = 1_000_000
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
    def fit(cls, scores: NDArray[Any], codes: Codes) -> NoiseModel:
        """Fit to held-out scores.

        Parameters
        ----------
        scores : ndarray of shape (n_samples, n_classes)
            Logarithms of probabilities, but for a constant for each sample.
        codes : ndarray of shape (n_samples,), intp
            The given labels.

        Notes
        -----
        Where samples times classes are over 1,000,000, evenly many of the samples are fitted, at
        least 2,000.
        """
        some, given = _thin(scores, codes)
        starts = STARTS if scores.shape[1] > 2 else STARTS[:1]  # of two classes one is the other
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

        def bound(limit: float) -> float:
            theta = self.theta.copy()

            def excess(logit: float) -> float:
                theta[1] = logit
                theta[:], loss = _minimise(some, given, theta, fixed=True)
                return loss - allowed

            if excess(limit) <= 0:
                return limit
            theta[:] = self.theta
            return float(brentq(excess, self.theta[1], limit, xtol=0.01))

        expected = float(self.wrong(scores, codes).sum())
        low, high = (len(codes) * float(expit(bound(s * LIMITS[1]))) for s in (-1, 1))
        return expected, min(low, expected), max(high, expected)


def _thin(scores: NDArray[Any], codes: Codes) -> tuple[Floats, Codes]:
    n = max(MOST_CELLS // scores.shape[1], LEAST_ROWS)
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
    right, wrong, slopes = _joint(scores, codes, theta)
    total = right + wrong + TINY
    off = (theta - PRIORS[:, 0]) / PRIORS[:, 1]
    value = (off**2).sum() / 2 - np.log(total).sum()
    gradient = off / PRIORS[:, 1] - (slopes / total).sum(axis=1)
    return float(value) / len(codes), gradient / len(codes)


def _joint(scores: Floats, codes: Codes, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the probability of each label together with its being right, and with being wrong.

    Third are the derivatives of their sum by the parameters, (3, n_samples).
    """
    sharpness, share, spread = np.exp(theta[0]), expit(theta[1]), np.exp(theta[2])
    rows = np.arange(len(codes))
    below = scores - scores.max(axis=1, keepdims=True)
    p = np.exp(log_softmax(sharpness * below, axis=1))
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
    size = max(BLOCK_CELLS // scores.shape[1], 1)
    for start in range(0, len(codes), size):
        block = slice(start, start + size)
        right, wrong, _ = _joint(scores[block].astype(np.float64), codes[block], theta)
        found[block] = wrong / (right + wrong + TINY)
    return found
