"""Attribute detection: several labels per image, some of them not known."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from featx.errors import ParameterError
from featx.estimators import Preset
from featx.estimators.presets import get_preset
from featx.evaluation import bootstrap_interval, evaluate_attributes, find_leaks
from featx.extraction import Encoder, RunOptions
from featx.tasks.classifier import Predictions
from featx.tasks.comparison import Figure
from pipelines.datasets import ImageDataset
from pipelines.protocols.features import prepare_features
from pipelines.protocols.metrics import average_precision_voc, mean_roc_auc
from pipelines.protocols.results import TaskResult

__all__ = ["run_attributes"]


def run_attributes(
    dataset: ImageDataset,
    store: str | os.PathLike[str],
    *,
    encoder: Encoder | None = None,
    run: RunOptions | None = None,
    preset: str | Preset = "plain",
    test_fraction: float = 0.25,
) -> TaskResult:
    """Train one detector an attribute and measure on the test images.

    Parameters
    ----------
    dataset : ImageDataset
        With attributes. Its own split is used where it has one (train and val train).
    store : path
        HDF5 file that keeps the features.
    encoder : Encoder, optional
        Default: the embedded network. Its augmentation is the preset's.
    run : RunOptions, optional
        How it is run.
    preset : str or Preset, default "plain"
        See `featx.estimators.PRESETS`.
    test_fraction : float, default 0.25
        Share of the images, the last ones, that is tested on where the set has no split.

    Returns
    -------
    TaskResult
        "map", the mean over attributes of the step average precision; "map_voc2007", of the
        11-point one; "auc", the mean area under the ROC curve; "balanced_accuracy". Bootstrap
        intervals over test images.

    Raises
    ------
    ParameterError
        If the set has no attributes.
    """
    chosen, net = get_preset(preset), encoder or Encoder()
    if dataset.attributes is None:
        raise ParameterError(
            f"dataset {dataset.name!r}: has labels but no attributes; use run_classification"
        )
    features = prepare_features(dataset.paths, store, chosen, net, run)
    train, test, protocol = _split(dataset, test_fraction)
    train_rows, test_rows = features.rows(train), features.rows(test)
    Y = dataset.attributes[features.good]
    start = time.perf_counter()
    model = chosen.attribute_classifier(dataset.attribute_names, features.n_views)
    model.fit(features.X[train_rows], Y[train_rows])
    seconds = time.perf_counter() - start
    scores = np.asarray(model.predict_proba(features.X[test_rows]))
    truth = Y[test_rows]
    leaks = find_leaks(
        features.X[train_rows],
        features.X[test_rows],
        train_hashes=features.digests[train_rows],
        test_hashes=features.digests[test_rows],
    )
    places = features.good[test_rows]
    return TaskResult(
        task=dataset.task,
        dataset=dataset.name,
        preset=chosen.name,
        backbone=features.recipes[0].backbone,
        protocol=protocol,
        figures=_figures(truth, scores),
        fingerprints=tuple(r.fingerprint for r in features.recipes),
        counts={
            "attributes": truth.shape[1],
            "train": len(train_rows),
            "test": len(test_rows),
            "failed": len(features.failures),
            "leaks": len(leaks),
        },
        costs={"images_per_second": features.images_per_second, "fit_seconds": seconds},
        splits=({"train": features.good[train_rows].tolist(), "test": places.tolist()},),
        details=Predictions(
            paths=tuple(dataset.paths[i] for i in places),
            y_true=truth,
            y_pred=(scores > 0.5).astype(float),
            scores=scores,
            classes=dataset.attribute_names,
            vectors=features.X[test_rows],
        ),
    )


def _split(dataset: ImageDataset, test_fraction: float) -> tuple[np.ndarray, np.ndarray, str]:
    names = set(np.unique(dataset.split).tolist())
    if {"train", "test"} <= names:
        train = np.flatnonzero(np.isin(dataset.split, ("train", "val")))
        return train, np.flatnonzero(dataset.split == "test"), "the set's own split"
    if not 0 < test_fraction < 1:
        raise ParameterError(f"test_fraction: got {test_fraction!r}, expected between 0 and 1")
    n_train = round(len(dataset) * (1 - test_fraction))
    rows = np.arange(len(dataset))
    return rows[:n_train], rows[n_train:], f"first {n_train} images train, the rest tests"


def _figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, Figure]:
    found = evaluate_attributes(truth, scores)
    figures = {}
    for name, metric in (
        ("map", None),
        ("map_voc2007", average_precision_voc),
        ("auc", mean_roc_auc),
        ("balanced_accuracy", None),
    ):
        if metric is None:
            figures[name] = Figure(found[name], *(found["intervals"][name] or (None, None)))
        else:
            figures[name] = Figure(float(metric(truth, scores)), *_interval(metric, truth, scores))
    return figures


def _interval(metric: Any, truth: Any, scores: Any) -> tuple[float | None, float | None]:
    try:
        return bootstrap_interval(metric, truth, scores, n_resamples=200)
    except ParameterError:  # a handful of samples has no interval worth a number
        return None, None
