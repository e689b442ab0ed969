"""The page of the demonstration."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._version import __version__
from featx.demo.tasks import CURVE, Results
from featx.mapping import project
from featx.report import GalleryMatch, GalleryRow, Mistake, Report
from featx.store import FeatureStore

__all__ = ["PIXELS", "TITLE", "Samples", "make_page"]

TITLE = "featx on its sample images"
NAMES = {
    "objects": "Objects", "scenes": "Scenes", "fine_grained": "Butterfly species",
    "attributes": "Attributes", "instances": "Posters",
}  # fmt: skip
MEASURES = {"accuracy": "accuracy from 5 labels per class", "map": "mean average precision"}
PIXELS = 16  # side of the pictures that stand in for features in the comparison


@dataclass(frozen=True)
class Samples:
    """The sample images, with the rows of each task."""

    paths: NDArray[Any]
    labels: NDArray[Any]
    features: NDArray[np.float32]
    rows: dict[str, NDArray[np.intp]]


def make_page(samples: Samples, found: Results, pixels: Results, store: FeatureStore) -> Report:
    """Show every task's result with the network's features beside that with raw pixels."""
    assert store.recipe is not None
    report = Report(
        TITLE,
        subtitle=f"{len(samples.paths)} drawings. The network {store.recipe.backbone} computed "
        "their features once, and everything below is trained on these",
    )
    _add_figures(report, samples, found, pixels)
    report.add_curve(
        CURVE,
        {"network": [r.mean for r in found.curve], "pixels": [r.mean for r in pixels.curve]},
        {
            "network": [r.interval for r in found.curve],
            "pixels": [r.interval for r in pixels.curve],
        },
        x_label="labels per class",
        y_label="accuracy, middle 95 % of splits",
        title="Accuracy by labels per class (objects)",
    )
    _add_retrieval(report, samples, found)
    _add_objects(report, samples, found)
    report.add_bars(
        list(found.attributes),
        list(found.attributes.values()),
        title="Attributes of the creatures: average precision",
    )
    rows = samples.rows["objects"]
    report.add_embedding_map(
        project(samples.features[rows]),
        samples.labels[rows].tolist(),
        samples.paths[rows].tolist(),
        title="Map of the objects: similar ones are close (t-SNE)",
    )
    summary = store.summary
    return report.add_key_values(
        {
            "featx": __version__,
            "python": sys.version.split()[0],
            "backbone": store.recipe.backbone,
            "weights": store.made_with.get("weights_source", ""),
            "device, precision": f"{summary.device}, {summary.precision}",
            "extracted": f"{summary.extracted} images",
            "images per second": f"{summary.images_per_second:.0f}",
            "reused": f"{summary.reused} images",
            "recipe": store.fingerprint,
        }
    )


def _add_figures(report: Report, samples: Samples, found: Results, pixels: Results) -> None:
    titles = {
        name: f"{NAMES[name]}: {MEASURES[measure]}"
        for name, (measure, _) in found.figures().items()
    }
    report.add_scores(
        {titles[name]: value for name, (_, value) in found.figures().items()},
        intervals={  # splits without a mistake tell nothing of how many there would be
            titles[name]: few.interval
            for name, few in found.few.items()
            if few.interval[0] < few.interval[1]
        },
        title="Results of the five tasks, with the middle 95\u00a0% of the splits",
    )
    report.add_table(
        [
            [
                NAMES[name],
                len(samples.rows[name]),
                MEASURES[measure],
                value,
                pixels.figures()[name][1],
            ]
            for name, (measure, value) in found.figures().items()
        ],
        ["task", "images", "measure", "network", f"pixels at {PIXELS} x {PIXELS}"],
        title="Network features against raw pixels",
        caption="The same classifiers and the same index on the network's features and on raw "
        "pixels. The images are drawings: they show that featx works, not how well it does on "
        "photographs.",
    )


def _add_retrieval(report: Report, samples: Samples, found: Results) -> None:
    """Show one view of every other poster with its nearest images."""
    rows = samples.rows["instances"]
    paths, groups = samples.paths[rows], samples.labels[rows]
    shown = []
    for query in range(1, len(rows), 8):
        near = found.retrieval.rankings[query][:3]  # a poster has four views: three to find
        distances = found.retrieval.distances[query][:3].tolist()
        matches = tuple(
            GalleryMatch(paths[i], distance, bool(groups[i] == groups[query]))
            for i, distance in zip(near, distances, strict=True)
        )
        shown.append(GalleryRow(paths[query], matches, str(groups[query])))
    report.add_gallery(shown, title="Posters and their nearest images")


def _add_objects(report: Report, samples: Samples, found: Results) -> None:
    few, rows = found.few["objects"], samples.rows["objects"]
    truth, paths = samples.labels[rows][few.test], samples.paths[rows][few.test]
    report.add_confusion_matrix(
        truth.tolist(),
        few.predicted.tolist(),
        paths=paths.tolist(),
        title="Objects: confusions in the first split",
    )
    wrong = np.flatnonzero(truth != few.predicted).tolist()
    worst = sorted(wrong, key=lambda i: -few.confidence[i])[:12]
    if worst:
        report.add_mistakes(
            [
                Mistake(paths[i], truth[i], few.predicted[i], float(few.confidence[i]))
                for i in worst
            ],
            title="Objects: most confident mistakes",
        )
