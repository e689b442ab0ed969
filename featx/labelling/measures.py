"""What the labels so far have bought, and what more of them would buy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._repr import FieldTable
from featx.labelling._guesses import new_probe, wilson_interval
from featx.labelling._probes import Probes

__all__ = [
    "Forecast",
    "Measures",
    "do_nothing",
    "measure",
    "measure_attributes",
    "probability_of_labels",
]

N_FOLDS = 5
LAST = 20
SHARES = (0.35, 0.6, 1.0)  # of the labels that a fold trains with
STEPS = (20, 50, 100, 200, 500)
LEAST_GAIN = 0.01  # accuracy: what a hundred labels more must promise to be worth giving

Floats = NDArray[np.float64]


def do_nothing() -> None:
    """Do not wait."""


@dataclass(frozen=True)
class Forecast:
    """The accuracy to expect of more labels.

    Parameters
    ----------
    n_more : int
        Labels beyond those given.
    accuracy : float
    """

    n_more: int
    accuracy: float


@dataclass(frozen=True, repr=False)
class Measures(FieldTable):
    """What some labels have bought.

    Parameters
    ----------
    n_labels : int
    counts : dict of str to int
        Labels per class, most first.
    accuracy, low, high : float or None
        Share of the collection that a probe is expected to get right, with its 95 % interval;
        None before two classes have two images each. Each labelled image is predicted by a probe
        trained on the other four fifths, and counts for the images nearest to it.
    bought : float or None
        How much lower `accuracy` is without the last twenty labels; None for fewer than forty.
    bought_low, bought_high : float or None
        Its 95 % interval, over the images.
    forecasts : tuple of Forecast
        What more labels promise, by a power law through the accuracies at 35, 60 and 100 % of the
        labels; empty while they show no such law.
    advice : str
        One sentence: go on, or stop, and why.
    """

    n_labels: int
    counts: dict[str, int]
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    bought: float | None = None
    bought_low: float | None = None
    bought_high: float | None = None
    forecasts: tuple[Forecast, ...] = ()
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict."""
        return {**vars(self), "forecasts": [vars(f) for f in self.forecasts]}


def measure(
    X: NDArray[np.float32],
    labels: Sequence[str],
    weights: Floats | None = None,
    *,
    ids: NDArray[np.intp] | None = None,
    probes: Probes | None = None,
    wait: Callable[[], None] = do_nothing,
) -> Measures:
    """Measure what labels have bought.

    Parameters
    ----------
    X : ndarray of shape (n_labelled, n_features), float32
        Features of the labelled images.
    labels : sequence of str
        Their classes, in the order in which they were given.
    weights : ndarray of shape (n_labelled,), float64, optional
        How many images of the collection each stands for; default alike. Labels that were asked
        for because they are hard would otherwise make the accuracy look too low.
    ids : ndarray of shape (n_labelled,), intp, optional
        A number that each image keeps, for `probes`; default its position.
    probes : Probes, optional
        Those of the last call, where they go on.
    wait : callable, optional
        Is called before each fit, and returns when the processor is free for it.

    Returns
    -------
    Measures
        Costs at most twenty fits.

    Notes
    -----
    The interval is Wilson's (1927), with Kish's effective number of images
    ``sum(w)² / sum(w²)``.

    Examples
    --------
    >>> X = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
    >>> found = measure(X + 0.01, ["cat"] * 10 + ["dog"] * 10)
    >>> found.accuracy, round(found.low, 2), found.counts
    (1.0, 0.83, {'cat': 10, 'dog': 10})
    """
    y = np.array(labels, dtype=np.str_)
    counts = dict(Counter(y.tolist()).most_common())
    if sum(count > 1 for count in counts.values()) < 2:
        return Measures(len(y), counts, advice="Label at least two images each of two classes.")

    numbers = np.arange(len(y)) if ids is None else ids
    kept = Probes() if probes is None else probes

    def is_right(name: Hashable, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
        if len(classes := np.unique(y[train])) < 2:
            return np.asarray(np.isin(y[test], classes), dtype=float)
        probe = kept.fit(name, X[train], y[train], numbers[train])
        return np.asarray(probe.predict(X[test]) == y[test], dtype=float)

    return _measure(_deal(y), weights, counts, is_right, wait)


def probability_of_labels(X: NDArray[np.float32], labels: NDArray[np.str_]) -> Floats:
    """Return the probability of each label by a probe trained on the other four fifths.

    Parameters
    ----------
    X : ndarray of shape (n_labelled, n_features), float32
    labels : ndarray of shape (n_labelled,), str

    Returns
    -------
    ndarray of shape (n_labelled,), float64
        1 where its class, or all classes but one, are unknown to the probe: nothing to compare.
    """
    found, folds = np.ones(len(labels)), _deal(labels)
    for fold in np.unique(folds):
        train, test = folds != fold, np.flatnonzero(folds == fold)
        classes = np.unique(labels[train])
        if len(classes) < 2:
            continue
        probe = new_probe().fit(X[train], labels[train])
        test = test[np.isin(labels[test], classes)]
        columns = np.searchsorted(probe.classes_, labels[test])
        found[test] = probe.predict_proba(X[test])[np.arange(len(test)), columns]
    return found


def measure_attributes(
    X: NDArray[np.float32],
    values: Floats,
    names: Sequence[str],
    weights: Floats | None = None,
    *,
    wait: Callable[[], None] = do_nothing,
) -> Measures:
    """Measure what labels of attributes have bought.

    Parameters
    ----------
    X, weights, wait
        As for `measure`.
    values : ndarray of shape (n_labelled, n_attributes), float64
        1, 0, and NaN where it is not known.
    names : sequence of str
        The attributes.

    Returns
    -------
    Measures
        The accuracy of an image is the share of its known attributes that are right; `counts` are
        the images that have each attribute.
    """
    counts = {name: int((column == 1).sum()) for name, column in zip(names, values.T, strict=True)}
    n_other = [(column == 0).sum() for column in values.T]
    if not any(min(pair) > 1 for pair in zip(counts.values(), n_other, strict=True)):
        advice = "Label at least two images with an attribute and two without it."
        return Measures(len(values), counts, advice=advice)

    def is_right(_: Hashable, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
        Y, known = values[train], ~np.isnan(values[test])
        guessed = np.broadcast_to(np.nanmean(Y, axis=0) > 0.5, known.shape).copy()
        varied = np.array([{0.0, 1.0} <= set(column) for column in Y.T], bool)
        if varied.any():
            model = new_probe(names).fit(X[train], Y[:, varied])
            guessed[:, varied] = model.predict_proba(X[test]) > 0.5
        agrees = (guessed == (values[test] == 1)) & known
        return np.asarray(agrees.sum(axis=1) / np.maximum(known.sum(axis=1), 1), dtype=float)

    return _measure(np.arange(len(values)) % N_FOLDS, weights, counts, is_right, wait)


def _measure(
    folds: NDArray[np.intp],
    weights: Floats | None,
    counts: dict[str, int],
    is_right: Callable[[Hashable, NDArray[np.bool_], NDArray[np.bool_]], Floats],
    wait: Callable[[], None],
) -> Measures:
    """Measure with a function that trains on some labels and says which others are right.

    It gets a name for each training, which stays when labels are added.
    """
    n = len(folds)
    w = np.ones(n) / n if weights is None else weights / weights.sum()

    def evaluate(name: str, n_first: int) -> Floats:
        """Return which images are right whose probe has seen the first labels, but no fold."""
        right = np.zeros(n)
        is_first = np.arange(n) < n_first
        for fold in np.unique(folds):
            train, test = is_first & (folds != fold), folds == fold
            if train.any():
                wait()
                right[test] = is_right((name, fold), train, test)
        return right

    curve = [evaluate(f"{share}", round(share * n)) for share in SHARES]
    accuracy = min(float(w @ curve[-1]), 1.0)
    low, high = wilson_interval(accuracy, 1 / float(w @ w))
    bought: tuple[float | None, float | None, float | None] = (None, None, None)
    if n >= 2 * LAST:
        bought = _difference(curve[-1], evaluate("before", n - LAST), w)
    forecasts = _forecast(n, [float(w @ found) for found in curve])
    return Measures(
        n, counts, accuracy, low, high, *bought, forecasts, _advise(counts, accuracy, forecasts)
    )


def _deal(y: NDArray[np.str_]) -> NDArray[np.intp]:
    """Deal the images of each class to the folds in turn, in the order in which they came.

    So an image stays in its fold when others are added.
    """
    folds = np.empty(len(y), np.intp)
    for k, name in enumerate(dict.fromkeys(y.tolist())):
        rows = np.flatnonzero(y == name)
        folds[rows] = (np.arange(len(rows)) + k) % N_FOLDS
    return folds


def _difference(after: Floats, before: Floats, w: Floats) -> tuple[float, float, float]:
    """Return a difference of two accuracies on the same images, with its 95 % interval."""
    gains = after - before
    mean = float(w @ gains)
    spread = 1.96 * float(np.sqrt(w**2 @ (gains - mean) ** 2))
    return mean, mean - spread, mean + spread


def _forecast(n: int, accuracies: Sequence[float]) -> tuple[Forecast, ...]:
    """Extrapolate by ``error(n) = a n^-b``, fitted to the logarithms."""
    errors = 1 - np.array(accuracies)
    if not (errors > 0).all() or not errors[0] > errors[-1]:
        return ()
    sizes = np.log(np.array(SHARES) * n)
    slope, height = np.polyfit(sizes, np.log(errors), 1)
    if slope >= 0:
        return ()
    # The law through the last accuracy, which is the best known of them.
    shift = np.log(errors[-1]) - (slope * sizes[-1] + height)
    return tuple(
        Forecast(more, float(1 - np.exp(slope * np.log(n + more) + height + shift)))
        for more in STEPS
    )


def _advise(counts: dict[str, int], accuracy: float, forecasts: tuple[Forecast, ...]) -> str:
    single = [name for name, count in counts.items() if count == 1]
    if len(single) == 1:
        return f"Class {single[0]!r} has a single image: label more of it."
    if single:
        n = len(single)
        return f"{n} classes have a single image, such as {single[0]!r}: label more of them."
    if not forecasts:
        if accuracy == 1:
            return "All labelled images are recognised: stop, or look for harder ones."
        return "The labels show no trend yet: go on."
    gain = next(f.accuracy for f in forecasts if f.n_more == 100) - accuracy
    if gain < LEAST_GAIN:
        return f"Stop: 100 more labels promise {100 * gain:.1f} points of accuracy."
    return f"Go on: 100 more labels promise {100 * gain:.0f} points of accuracy."
