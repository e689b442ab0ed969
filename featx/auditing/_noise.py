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
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

__all__ = ["NoiseModel"]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

# Weak priors, (mean, deviation), of the logarithms of both exponents and the logit of the share:
# they decide only what the labels do not.
PRIORS = np.array([[0.0, 2.0], [-3.0, 3.0], [-2.0, 2.0]])
STARTS = ((0.5, -3.0, -2.0), (0.5, -3.0, 0.0))
LIMITS = (4.0, 12.0, 6.0)  # of the random walk
MOST_CELLS = 4_000_000  # samples times classes that are fitted: seconds, and 100 MB
BLOCK_CELLS = 4_000_000
# Held-out scores share training images, so labels say less of the parameters than independent
# ones would: the variance is doubled. docs/audit.md has the coverage measured.
VARIANCE_FACTOR = 2.0
N_STEPS, N_SKIPPED = 600, 100  # of the random walk
STEP = 0.05  # for second derivatives
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """The fitted mixture.

    Parameters
    ----------
    theta : ndarray of shape (3,)
        Logarithm of the sharpening exponent, logit of the share of wrong labels, logarithm of the
        exponent by which wrong labels are drawn.
    covariance : ndarray of shape (3, 3)
        Of the estimate.
    loss : float
        Negative log-likelihood of a label, on average; of several probes' scores the best are
        those of the least.
    """

    theta: Floats
    covariance: Floats
    loss: float

    @classmethod
    def fit(cls, scores: NDArray[Any], codes: Codes, random_state: int = 0) -> NoiseModel:
        """Fit to held-out scores.

        Parameters
        ----------
        scores : ndarray of shape (n_samples, n_classes)
            Logarithms of probabilities, but for a constant for each sample.
        codes : ndarray of shape (n_samples,), intp
            The given labels.
        random_state : int, default 0
            Draws the samples that are fitted where samples times classes are over 4,000,000.
        """
        n = max(MOST_CELLS // scores.shape[1], 1)
        if len(codes) > n:
            rows = np.random.default_rng(random_state).choice(len(codes), n, replace=False)
            scores, codes = scores[rows], codes[rows]
        scores = scores.astype(np.float64)

        def loss(theta: Floats) -> float:
            right, wrong = _joint(scores, codes, theta)
            penalty = (((theta - PRIORS[:, 0]) / PRIORS[:, 1]) ** 2).sum() / 2
            return float(penalty - np.log(right + wrong + TINY).sum())

        options = {"xatol": 1e-2, "fatol": 1e-2, "maxiter": 300}
        starts = STARTS if scores.shape[1] > 2 else STARTS[:1]  # of two classes one is the other
        found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
        best = min(found, key=lambda result: float(result.fun))
        theta = best.x
        curvature, axes = np.linalg.eigh(_second_derivatives(loss, theta))
        # Along an axis on which the likelihood is flat the prior's curvature is what is left.
        curvature = np.maximum(curvature, 1 / PRIORS[:, 1].max() ** 2)
        covariance = VARIANCE_FACTOR * (axes / curvature) @ axes.T
        return cls(theta, covariance, float(best.fun) / len(codes))

    def wrong(self, scores: NDArray[Any], codes: Codes) -> Floats:
        """Return the probability that each label is wrong, (n_samples,)."""
        return _wrong(scores, codes, self.theta)

    def interval(
        self, scores: NDArray[Any], codes: Codes, random_state: int = 0
    ) -> tuple[float, float, float]:
        """Return the expected number of wrong labels and its 95 % interval.

        A random walk (Metropolis) goes through the parameters that the labels allow; where none
        may be wrong the likelihood is flat, and no normal distribution describes it. The interval
        is that of the share of wrong labels where these came from, times the number of labels:
        wider than that of the sum of probabilities, which trusts the model of each label.
        """
        rng = np.random.default_rng(random_state)
        n = min(max(MOST_CELLS // (8 * scores.shape[1]), 500), len(codes))
        rows = rng.choice(len(codes), n, replace=False)
        some, given = scores[rows].astype(np.float64), codes[rows]

        def height(theta: Floats) -> float:
            right, wrong = _joint(some, given, theta)
            penalty = (((theta - PRIORS[:, 0]) / PRIORS[:, 1]) ** 2).sum() / 2
            likelihood = np.log(right + wrong + TINY).sum() * len(codes) / n
            return float(likelihood - penalty) / VARIANCE_FACTOR

        theta, here = self.theta, height(self.theta)
        stride = np.linalg.cholesky(self.covariance)
        shares = np.empty(N_STEPS)
        for i in range(N_STEPS):
            tried = theta + stride @ rng.normal(size=3)
            if (np.abs(tried) <= LIMITS).all():
                there = height(tried)
                if np.log(rng.random()) < there - here:
                    theta, here = tried, there
            shares[i] = expit(theta[1])
        expected = float(self.wrong(scores, codes).sum())
        low, high = len(codes) * np.quantile(shares[N_SKIPPED:], [0.025, 0.975])
        return expected, min(float(low), expected), max(float(high), expected)


def _joint(scores: Floats, codes: Codes, theta: Floats) -> tuple[Floats, Floats]:
    """Return the probability of each label together with its being right, and with being wrong."""
    sharpness, share, spread = np.exp(theta[0]), expit(theta[1]), np.exp(theta[2])
    rows = np.arange(len(codes))
    p = np.exp(log_softmax(sharpness * scores, axis=1))
    drawn = np.exp(spread * (scores - scores.max(axis=1, keepdims=True)))
    total = drawn.sum(axis=1, keepdims=True)
    # Of true class k the label is y with probability drawn_y / (total - drawn_k), summed over k.
    ratio = p / np.maximum(total - drawn, 1e-12 * total)
    wrong = drawn[rows, codes] * np.maximum(ratio.sum(axis=1) - ratio[rows, codes], 0)
    return (1 - share) * p[rows, codes], share * wrong


def _wrong(scores: NDArray[Any], codes: Codes, theta: Floats) -> Floats:
    found = np.empty(len(codes))
    size = max(BLOCK_CELLS // scores.shape[1], 1)
    for start in range(0, len(codes), size):
        block = slice(start, start + size)
        right, wrong = _joint(scores[block].astype(np.float64), codes[block], theta)
        found[block] = wrong / (right + wrong + TINY)
    return found


def _second_derivatives(function: Any, at: Floats) -> Floats:
    """Return the Hessian by central differences."""
    n = len(at)
    hessian = np.empty((n, n))
    steps = STEP * np.eye(n)
    for i in range(n):
        for j in range(i, n):
            a, b = steps[i], steps[j]
            hessian[i, j] = hessian[j, i] = (
                function(at + a + b) - function(at + a - b)
                - function(at - a + b) + function(at - a - b)
            ) / (4 * STEP**2)  # fmt: skip
    return hessian
