"""The five tasks of the demonstration, on one table of vectors: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedShuffleSplit

from featx.estimators import AttributeClassifier, LinearProbeClassifier
from featx.evaluation import (
    average_precision_scores,
    mean_over_attributes,
    relevance_from_labels,
)
from featx.retrieval import RetrievalIndex

__all__ = ["CLASSES", "CURVE", "N_LABELS", "FewLabels", "Results", "Retrieval", "do_tasks"]

CLASSES = ("objects", "scenes", "fine_grained")  # the tasks of one label per image
N_LABELS = 5
CURVE = (1, 2, 3, 5, 8)
N_SPLITS = 10


@dataclass(frozen=True)
class FewLabels:
    """A classification from few labels, over several splits.

    Parameters
    ----------
    accuracies : ndarray of shape (n_splits,)
        One for each split.
    test : ndarray of int
        Rows of the first split's test images.
    predicted : ndarray of shape (n_test,)
        Their predicted labels.
    confidence : ndarray of shape (n_test,)
        Probability of these.
    """

    accuracies: NDArray[np.float64]
    test: NDArray[np.intp]
    predicted: NDArray[Any]
    confidence: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(self.accuracies.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Middle 95 % of the splits."""
        low, high = np.quantile(self.accuracies, [0.025, 0.975])
        return float(low), float(high)


@dataclass(frozen=True)
class Retrieval:
    """A retrieval where every image asks for the others of its group.

    Parameters
    ----------
    average_precisions : ndarray of shape (n,)
        Trapezoid, one for each query.
    rankings : ndarray of shape (n, n - 1)
        Rows, best first.
    distances : ndarray of the same shape
        Ascending.
    """

    average_precisions: NDArray[np.float64]
    rankings: NDArray[np.intp]
    distances: NDArray[np.float32]

    @property
    def mean(self) -> float:
        """Mean average precision."""
        return float(self.average_precisions.mean())


@dataclass(frozen=True)
class Results:
    """All tasks on one table of vectors.

    Parameters
    ----------
    few : dict of str to FewLabels
        By the names of `CLASSES`, from `N_LABELS` labels per class.
    curve : tuple of FewLabels
        The objects from each number of labels in `CURVE`.
    attributes : dict of str to float
        Average precision by attribute.
    retrieval : Retrieval
        Of the posters.
    """

    few: dict[str, FewLabels]
    curve: tuple[FewLabels, ...]
    attributes: dict[str, float]
    retrieval: Retrieval

    def figures(self) -> dict[str, tuple[str, float]]:
        """Return the measure and the figure of each task."""
        found = {name: ("accuracy", few.mean) for name, few in self.few.items()}
        found["attributes"] = ("map", float(np.mean(list(self.attributes.values()))))
        found["instances"] = ("map", self.retrieval.mean)
        return found


def do_tasks(
    X: NDArray[np.float32],
    labels: NDArray[Any],
    attributes: Mapping[str, NDArray[np.float64]],
    rows: Mapping[str, NDArray[np.intp]],
) -> Results:
    """Do all tasks.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    labels : ndarray of shape (n_samples,)
    attributes : mapping of str to ndarray
        1 for yes, 0 for no, for each row of "attributes".
    rows : mapping of str to ndarray of int
        The rows of each task.
    """
    few = {name: _few_labels(X[rows[name]], labels[rows[name]], N_LABELS) for name in CLASSES}
    r = rows["objects"]
    curve = tuple(
        few["objects"] if n == N_LABELS else _few_labels(X[r], labels[r], n) for n in CURVE
    )
    by_attribute = _attributes(X[rows["attributes"]], attributes)
    r = rows["instances"]
    return Results(few, curve, by_attribute, _retrieval(X[r], labels[r]))


def _few_labels(X: NDArray[Any], y: NDArray[Any], n_labels: int) -> FewLabels:
    """Train on `n_labels` images per class, test on the rest, for ten stratified splits."""
    n_train = n_labels * len(np.unique(y))
    splits = StratifiedShuffleSplit(N_SPLITS, train_size=n_train, random_state=0)
    accuracies, first = [], None
    for train, test in splits.split(X, y):
        probe = LinearProbeClassifier().fit(X[train], y[train])
        scores = probe.predict_proba(X[test])
        predicted = probe.classes_[scores.argmax(axis=1)]
        accuracies.append(np.mean(predicted == y[test]))
        first = first or (test, predicted, scores.max(axis=1))
    assert first is not None
    return FewLabels(np.array(accuracies), *first)


def _attributes(X: NDArray[Any], columns: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Train on every second image, test on the others; return average precisions."""
    Y, train = np.column_stack(list(columns.values())), np.arange(len(X)) % 2 == 0
    model = AttributeClassifier(attribute_names=list(columns)).fit(X[train], Y[train])
    each = mean_over_attributes(Y[~train], model.predict_proba(X[~train]), average=None)
    return dict(zip(columns, each.tolist(), strict=True))


def _retrieval(X: NDArray[Any], groups: NDArray[Any]) -> Retrieval:
    """Ask with each image for the others."""
    distances, rankings = RetrievalIndex().fit(X).kneighbors(None, len(X) - 1)
    relevance = relevance_from_labels(groups)
    found = average_precision_scores(rankings, relevance.positives, junk=relevance.junk)
    return Retrieval(found, rankings, distances)
