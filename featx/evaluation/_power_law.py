"""What more labels would buy: an inverse power law through a learning curve.

error(n) = a + b n^-c, with a, b >= 0 (Cortes et al. 1994, "Learning curves: asymptotic values and
rate of convergence"; Hestness et al. 2017, arXiv 1712.00409).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.utils import check_random_state

from featx._repr import FieldTable
from featx.errors import ParameterError, choose, require_number
from featx.evaluation._learning_curve import FewLabelCurve

__all__ = ["Estimate", "extrapolate", "labels_needed"]

Array = NDArray[np.float64]

# Deep networks learn at 0.07 to 0.35 (Hestness et al. 2017), linear models on features at about
# 0.5 to 1; steeper than 2 is noise of the smallest size.
EXPONENTS = np.geomspace(0.05, 2, 150)
# Times the largest measured size. From 10 labels per class of flowers and scenes the law met 40
# and 20 within 0.01; beyond, laws that fit alike disagree.
FAR = 4
N_RESAMPLES = 500


@dataclass(frozen=True, repr=False)
class Estimate(FieldTable):
    """What the law says of a number of labels per class and a score: one asked, one answered.

    Parameters
    ----------
    n_per_class : float
        Labels per class; of `labels_needed` a whole number, or infinity where the law never gets
        to the score.
    score : float
    low, high : float
        95 % bootstrap interval of the answer over the draws; of labels infinite where resamples
        never get to the score; NaN for a single draw.
    problem : str
        Why not to rely on it; empty where nothing speaks against.
    """

    n_per_class: float
    score: float
    low: float
    high: float
    problem: str = ""


def extrapolate(curve: FewLabelCurve, name: str, n: float, *, random_state: Any = 0) -> Estimate:
    """Estimate the score at more labels per class than were measured.

    Parameters
    ----------
    curve : FewLabelCurve
        Of at least three sizes, with scores in [0, 1] of which 1 is best.
    name : str
        Which estimator.
    n : float
        Labels per class, at least the smallest measured.
    random_state : int, RandomState or None, default 0
        Draws the resamples.

    Returns
    -------
    Estimate
        `problem` says where the curve is flat, or n is over four times what was measured.

    Raises
    ------
    ParameterError
        For fewer than three sizes, or scores outside [0, 1].

    Notes
    -----
    Weighted least squares, a size's weight being one over the variance of its mean; a, b >= 0 and
    0.05 <= c <= 2. The interval is the percentile bootstrap over whole draws. It does not cover
    that the law itself is wrong: fits to small sizes are too hopeful more often than not (Mahmood
    et al. 2022, "How much more data do I need?", CVPR), so take `low` for planning.

    Examples
    --------
    >>> sizes = (1, 2, 5, 10)
    >>> scores = 1 - 0.1 - 0.5 * np.array(sizes, float)[:, None] ** -0.5
    >>> curve = FewLabelCurve(sizes, {"probe": np.repeat(scores, 2, axis=1)})
    >>> found = extrapolate(curve, "probe", 25)
    >>> round(found.score, 2), found.problem
    (0.8, '')
    """
    scores = _read_scores(curve, name)
    sizes = np.array(curve.n_per_class, dtype=float)
    if not sizes[0] <= n < math.inf:
        raise ParameterError(f"n: got {n!r}, expected a number of at least {sizes[0]:g}")
    laws = _resample_laws(sizes, scores, random_state)
    values = np.array([1 - (a + b * n**-c) for a, b, c in laws])
    problem = _describe_flatness(scores)
    if not problem and n > FAR * sizes[-1]:
        problem = _describe_distance(sizes[-1])
    low, high = _find_interval(values[1:])
    return Estimate(float(n), float(values[0]), low, high, problem)


def labels_needed(
    curve: FewLabelCurve, name: str, target: float, *, random_state: Any = 0
) -> Estimate:
    """Estimate how many labels per class a score takes.

    Parameters
    ----------
    curve, name, random_state
        As for `extrapolate`.
    target : float
        Score to reach, in (0, 1).

    Returns
    -------
    Estimate
        `problem` says where the curve is flat, the law's asymptote lies below the target, under
        half of the resamples get there, or the answer is over four times what was measured. A
        target below the first score gives the smallest measured size.

    Raises
    ------
    ParameterError
        As for `extrapolate`.

    Examples
    --------
    >>> sizes = (1, 2, 5, 10)
    >>> scores = 1 - 0.1 - 0.5 * np.array(sizes, float)[:, None] ** -0.5
    >>> curve = FewLabelCurve(sizes, {"probe": np.repeat(scores, 2, axis=1)})
    >>> 24 <= labels_needed(curve, "probe", 0.8).n_per_class <= 26
    True
    >>> found = labels_needed(curve, "probe", 0.95)
    >>> found.n_per_class, found.problem[:27]
    (inf, 'the target 0.95 lies beyond')
    """
    scores = _read_scores(curve, name)
    require_number("target", target, 0, 1, above=True, below=True)
    sizes = np.array(curve.n_per_class, dtype=float)
    laws = _resample_laws(sizes, scores, random_state)
    needed = np.array([_solve_for_labels(law, 1 - target, sizes[0]) for law in laws])
    low, high = _find_interval(needed[1:])
    problem = _describe_flatness(scores) if needed[0] > sizes[-1] else ""
    if not problem and math.isinf(needed[0]):
        top = 1 - laws[0][0]
        problem = f"the target {target:g} lies beyond {top:.3f}, where the fitted law levels off"
    elif not problem and np.mean(np.isinf(needed[1:])) > 0.5:
        problem = "most resamples of the draws never reach the target"
    elif not problem and needed[0] > FAR * sizes[-1]:
        problem = _describe_distance(sizes[-1])
    return Estimate(float(needed[0]), float(target), low, high, problem)


def _read_scores(curve: FewLabelCurve, name: str) -> Array:
    choose("name", name, curve.scores)
    if len(curve.n_per_class) < 3:
        raise ParameterError(
            f"curve: got {len(curve.n_per_class)} sizes, expected at least 3 for a law of three "
            "parameters; measure more"
        )
    scores = np.asarray(curve.scores[name], dtype=np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ParameterError(
            f"curve: got scores from {scores.min():g} to {scores.max():g} for {name!r}, expected "
            "0 to 1, where 1 is best"
        )
    return scores


def _resample_laws(
    sizes: Array, scores: Array, random_state: Any
) -> list[tuple[float, float, float]]:
    """Return the law of all draws, then those of resampled draws; none of a single draw."""
    n_repeats = scores.shape[1]
    errors = [1 - scores.mean(axis=1)]
    if n_repeats > 1:
        rng = check_random_state(random_state)
        # Whole draws: their sizes are nested and err together.
        drawn = rng.randint(n_repeats, size=(N_RESAMPLES, n_repeats))
        errors.extend(1 - scores[:, columns].mean(axis=1) for columns in drawn)
    return _fit(sizes, np.array(errors), _weigh_sizes(scores))


def _weigh_sizes(scores: Array) -> Array:
    if scores.shape[1] < 2:
        return np.ones(len(scores))
    variances = scores.var(axis=1, ddof=1)
    # Ten draws that happen to agree do not make a size ten times as sure as the others.
    floor = 0.1 * variances.mean()
    return np.ones(len(scores)) if floor == 0 else 1 / np.maximum(variances, floor)


def _fit(sizes: Array, errors: Array, weights: Array) -> list[tuple[float, float, float]]:
    """Return (a, b, c) for each row of errors, (n_laws, n_sizes): for each c, a and b are linear.

    With three sizes the law goes through the points wherever a, b and c may.
    """
    share = weights / weights.sum()
    x = sizes[None, :] ** -EXPONENTS[:, None]  # (n_c, n_sizes)
    x_mean, y_mean = x @ share, errors @ share
    x_centred, y_centred = x - x_mean[:, None], errors - y_mean[:, None]
    slope = (y_centred * share) @ x_centred.T / (x_centred**2 @ share)  # (n_laws, n_c)
    b = np.maximum(slope, 0)
    a = y_mean[:, None] - b * x_mean
    through_zero = (errors * share) @ x.T / (x**2 @ share)
    b = np.where(a < 0, through_zero, b)
    a = np.maximum(a, 0)
    misses = errors[:, None, :] - (a[..., None] + b[..., None] * x)
    best = (misses**2 @ share).argmin(axis=1)
    every = np.arange(len(errors))
    rows = np.stack([a[every, best], b[every, best], EXPONENTS[best]], axis=1)
    return [(row[0], row[1], row[2]) for row in rows.tolist()]


def _solve_for_labels(law: tuple[float, float, float], error: float, smallest: float) -> float:
    a, b, c = law
    if error >= a + b * smallest**-c:
        return smallest
    if error <= a:
        return math.inf
    exponent = math.log(b / (error - a)) / c
    return float(math.ceil(math.exp(exponent) - 1e-9)) if exponent < 700 else math.inf


def _find_interval(values: Array) -> tuple[float, float]:
    if not len(values):
        return math.nan, math.nan
    # "nearest": infinity has no point halfway.
    low, high = np.quantile(values, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def _describe_flatness(scores: Array) -> str:
    """Say that the draws do not tell whether more labels help, by a one-sided paired t-test."""
    gains, n = scores[-1] - scores[0], scores.shape[1]
    spread = 0.0 if n < 2 else student.ppf(0.975, n - 1) * gains.std(ddof=1) / math.sqrt(n)
    if gains.mean() > spread:
        return ""
    return (
        f"the curve is flat: from the smallest to the largest size the score rises by "
        f"{gains.mean():.3f}, no more than its draws scatter"
    )


def _describe_distance(largest: float) -> str:
    return f"over {FAR} times the {largest:g} labels per class that were measured"
