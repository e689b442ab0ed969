"""The tasks of the demonstration, on the table of features: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedShuffleSplit

from featx.estimators import AttributeClassifier, LinearProbeClassifier
from featx.evaluation import (
    average_precision_scores,
    evaluate_attributes,
    relevance_from_labels,
)
from featx.retrieval import RetrievalIndex

__all__ = ["Attributes", "FewLabels", "Retrieval", "attributes", "few_labels", "retrieval"]

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


def few_labels(X: NDArray[Any], y: NDArray[Any], n_labels: int) -> FewLabels:
    """Train on `n_labels` images a class, test on the rest, for ten stratified splits."""
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


@dataclass(frozen=True)
class Attributes:
    """An attribute detection.

    Parameters
    ----------
    scores : dict
        As `featx.evaluation.evaluate_attributes`.
    by_attribute : dict of str to float
        Average precision.
    """

    scores: dict[str, Any]
    by_attribute: dict[str, float]


def attributes(X: NDArray[Any], Y: NDArray[np.float64], names: list[str]) -> Attributes:
    """Train on every second image, test on the others."""
    train = np.arange(len(X)) % 2 == 0
    model = AttributeClassifier(attribute_names=names).fit(X[train], Y[train])
    probabilities = model.predict_proba(X[~train])
    from featx.evaluation import multilabel_mean_average_precision

    each = multilabel_mean_average_precision(Y[~train], probabilities, average=None)
    return Attributes(
        evaluate_attributes(Y[~train], probabilities), dict(zip(names, each.tolist(), strict=True))
    )


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


def retrieval(X: NDArray[Any], groups: NDArray[Any]) -> Retrieval:
    """Ask with each image for the others."""
    distances, rankings = RetrievalIndex().fit(X).kneighbors(None, len(X) - 1)
    relevance = relevance_from_labels(groups)
    found = average_precision_scores(rankings, relevance.positives, junk=relevance.junk)
    return Retrieval(found, rankings, distances)
