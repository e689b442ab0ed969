"""Image classification, scenes, fine-grained recognition: one label per image."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from featx.errors import ParameterError
from featx.estimators import Preset
from featx.evaluation import evaluate_classes, few_label_splits, find_leaks
from featx.extraction import Encoder, RunOptions
from featx.tasks.classifier import Predictions
from featx.tasks.comparison import Figure
from pipelines.datasets import ImageDataset
from pipelines.protocols.features import Features, prepare_features
from pipelines.protocols.pairs import PairPreset, find_preset
from pipelines.protocols.results import TaskResult

__all__ = ["run_classification"]

METRICS = ("accuracy", "balanced_accuracy", "map")
Rows = NDArray[np.intp]


def run_classification(
    dataset: ImageDataset,
    store: str | os.PathLike[str],
    *,
    encoder: Encoder | None = None,
    run: RunOptions | None = None,
    preset: str | Preset = "plain",
    n_per_class: int | None = None,
    n_repeats: int = 10,
    random_state: int = 0,
) -> TaskResult:
    """Train on a few or all training images and measure on the test images.

    Parameters
    ----------
    dataset : ImageDataset
        With labels. Its own split is used where it has one (train and val train).
    store : path
        HDF5 file that keeps the features.
    encoder : Encoder, optional
        Default: the embedded network. Its augmentation is the preset's.
    run : RunOptions, optional
        How it is run.
    preset : str or Preset, default "plain"
        See `featx.estimators.PRESETS`; also "svm-pairs" and "paper-pairs", one-vs-one.
    n_per_class : int, optional
        Training labels per class, drawn anew for each repeat; needed where the set has no split,
        where the rest is tested on. Default: all training images, once.
    n_repeats : int, default 10
        Draws; cost grows linearly.
    random_state : int, default 0
        Of the draws.

    Returns
    -------
    TaskResult
        "accuracy", "balanced_accuracy" (the mean over classes of the share predicted right) and
        "map" (mean over classes of the step average precision). Of one split with a bootstrap
        interval over test images, of several with a t interval of the mean over draws, which
        is too narrow where the draws share most test images.

    Raises
    ------
    ParameterError
        If the set has no labels, or no split and no `n_per_class`, or a class has too few images.
    """
    chosen, net = find_preset(preset), encoder or Encoder()
    if dataset.labels is None:
        raise ParameterError(
            f"dataset {dataset.name!r}: has attributes but no labels, expected one label an "
            "image; use run_attributes"
        )
    features = prepare_features(dataset.paths, store, chosen, net, run)
    y = dataset.labels
    splits = _splits(dataset, y, features, n_per_class, n_repeats, random_state)
    runs, details, seconds = [], None, 0.0
    for train, test in splits:
        start = time.perf_counter()
        found, measured = _one(features, y, train, test, chosen, resample=len(splits) == 1)
        seconds += time.perf_counter() - start
        details = details or _predictions(dataset, features, test, y, found)
        runs.append(measured)
    assert details is not None
    train, test = splits[0]
    leaks = find_leaks(
        features.X[train],
        features.X[test],
        train_hashes=features.digests[train],
        test_hashes=features.digests[test],
    )
    return TaskResult(
        task=dataset.task,
        dataset=dataset.name,
        preset=chosen.name,
        backbone=features.recipes[0].backbone,
        protocol=_protocol(dataset, n_per_class, len(splits)),
        figures=_figures(runs),
        fingerprints=tuple(r.fingerprint for r in features.recipes),
        counts={
            "classes": len(np.unique(y)),
            "train": len(train),
            "test": len(test),
            "failed": len(features.failures),
            "leaks": len(leaks),
        },
        costs={
            "images_per_second": features.images_per_second,
            "fit_seconds": seconds / len(splits),
        },
        splits=tuple(
            {"train": features.good[a].tolist(), "test": features.good[b].tolist()}
            for a, b in splits
        ),
        details=details,
    )


def _splits(
    dataset: ImageDataset,
    y: NDArray[Any],
    features: Features,
    n_per_class: int | None,
    n_repeats: int,
    random_state: int,
) -> list[tuple[Rows, Rows]]:
    """Return rows of the features, for each draw those to train and those to test on."""
    names = set(np.unique(dataset.split).tolist())
    has_own = {"train", "test"} <= names
    if has_own:
        pool = features.rows(np.flatnonzero(np.isin(dataset.split, ("train", "val"))))
        test = features.rows(np.flatnonzero(dataset.split == "test"))
        if not len(pool) or not len(test):
            what = "test" if len(pool) else "training"
            raise ParameterError(
                f"dataset {dataset.name!r}: got no {what} image that can be read, expected one or "
                f"more (the first: {features.failures[0][1]})"
            )
        if n_per_class is None:
            return [(pool, test)]
    elif n_per_class is None:
        raise ParameterError(
            f"dataset {dataset.name!r}: has no split of its own, expected n_per_class, the "
            "training labels of each class; the rest is tested on"
        )
    else:
        pool = np.arange(len(features.X))
    draws = few_label_splits(
        y[features.good], n_per_class, n_repeats, pool=pool, random_state=random_state
    )
    if not has_own and not all(len(draw.test) for draw in draws):
        raise ParameterError(
            f"n_per_class: got {n_per_class}, which takes all {len(pool)} images of dataset "
            f"{dataset.name!r}, expected some left to test on; ask for fewer labels"
        )
    return [(draw.train, test if has_own else draw.test) for draw in draws]


def _one(
    features: Features,
    y: NDArray[Any],
    train: Rows,
    test: Rows,
    preset: Preset,
    *,
    resample: bool,
) -> tuple[Any, dict[str, Any]]:
    labels = y[features.good]
    model = preset.classifier(features.n_views).fit(features.X[train], labels[train])
    scores = _score(model, features.X[test], preset)
    predicted = model.predict(features.X[test])
    run = evaluate_classes(
        labels[test], predicted, scores, model.classes_, n_resamples=500 if resample else 1
    )
    return (model.classes_, predicted, scores), run


def _score(model: Any, X: NDArray[Any], preset: Preset) -> NDArray[np.float64]:
    """Return probabilities; of pairs the share of those that each class wins."""
    if not isinstance(preset, PairPreset):
        return np.asarray(model.predict_proba(X))
    votes = model.decision_function(X)
    if votes.ndim == 1:  # one pair, whose score is the second class's
        return np.stack([-votes, votes], axis=1)
    return np.asarray(votes / (votes.shape[1] - 1))


def _predictions(
    dataset: ImageDataset, features: Features, test: Rows, y: NDArray[Any], found: Any
) -> Predictions:
    classes, predicted, scores = found
    places = features.good[test]
    return Predictions(
        paths=tuple(dataset.paths[i] for i in places),
        y_true=y[places],
        y_pred=predicted,
        scores=scores,
        classes=tuple(map(str, classes)),
        vectors=features.X[test],
    )


def _figures(runs: list[dict[str, Any]]) -> dict[str, Figure]:
    if len(runs) == 1:
        intervals = runs[0]["intervals"]
        return {m: Figure(runs[0][m], *(intervals[m] or (None, None))) for m in METRICS}
    figures = {}
    for metric in METRICS:
        values = np.array([run[metric] for run in runs])
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        mean = float(values.mean())
        low, high = max(0.0, mean - float(half)), min(1.0, mean + float(half))
        figures[metric] = Figure(mean, low, high)
    return figures


def _protocol(dataset: ImageDataset, n_per_class: int | None, n_splits: int) -> str:
    if n_per_class is None:
        return "the set's own split; 95 % bootstrap interval over test images"
    has_own = {"train", "test"} <= set(dataset.split.tolist())
    tested = "its own test images" if has_own else "all other images"
    if n_splits == 1:
        draws, interval = "1 draw", "bootstrap interval over test images"
    else:
        draws, interval = f"{n_splits} draws", "t interval of the mean over draws"
    return f"{n_per_class} labels per class, {draws}, tested on {tested}; 95 % {interval}"
