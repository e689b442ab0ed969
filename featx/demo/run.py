"""Run the demonstration and write its report."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.manifold import TSNE

from featx._arrays import scale_to_unit
from featx._version import __version__
from featx.demo.tasks import Attributes, FewLabels, Retrieval, attributes, few_labels, retrieval
from featx.errors import StoreWriteError
from featx.extraction import DEFAULT_BACKBONE, extract
from featx.files.outputs import check_output
from featx.images import ImageManifest, decode_image, sample_data_dir
from featx.report import GalleryMatch, GalleryRow, Mistake, Report
from featx.store import FeatureStore, open_store, store_info

__all__ = ["run_demo"]

N_LABELS = 5
CURVE = (1, 2, 3, 5, 8)
PIXELS = 16  # side of the pictures that stand in for features in the comparison
TITLE = "featx on its sample images"
CLASSES = {"objects": "Objects", "scenes": "Scenes", "fine_grained": "Butterfly species"}


def run_demo(
    out: str | os.PathLike[str],
    *,
    backbone: str = DEFAULT_BACKBONE,
    weights: str | os.PathLike[str] | None = "default",
    device: str = "auto",
    progress: bool | None = None,
) -> dict[str, Any]:
    """Do all five tasks on the sample images.

    Parameters
    ----------
    out : path
        Folder for ``features.h5`` and ``report.html``; made if absent. Files of these names are
        replaced if an earlier demo made them.
    backbone, weights, device, progress
        As for `featx.extract`.

    Returns
    -------
    dict
        "accuracy" (objects, 5 labels a class, mean of 10 splits), "map" (posters, each view once
        the query), "tasks" (each task's figure and the same for raw pixels), "backbone",
        "images", "seconds" and "report" (path).

    Raises
    ------
    ManifestError
        If the sample images are missing from the installation.
    StoreWriteError
        If `out` has such a file of other work, or cannot be written.
    WeightsError, BackboneError
        As `featx.extract`.
    """
    start = time.monotonic()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    root = sample_data_dir()
    manifest = ImageManifest.from_source(
        [
            *(root / name for name in (*CLASSES, "instances")),
            root / "attributes" / "attributes.csv",
        ]
    )
    _check_folder(folder, manifest)
    with extract(
        manifest,
        folder / "features.h5",
        backbone=backbone,
        weights=weights,
        device=device,
        progress=progress,
    ) as store:
        order = {path: row for row, path in enumerate(store.paths.tolist())}
        samples = _Samples(manifest, root, store[[order[p] for p in manifest.paths]])
        found = _Results(samples)
        report = _report(found, store)
    page = report.save(folder / "report.html")
    return {
        "accuracy": found.few["objects"].mean,
        "map": float(found.retrieval.average_precisions.mean()),
        "tasks": found.figures(),
        "backbone": backbone,
        "images": len(manifest),
        "seconds": time.monotonic() - start,
        "report": str(page),
    }


def _check_folder(folder: Path, manifest: ImageManifest) -> None:
    """Refuse a folder in which the demo's files are of other work: nobody named them."""
    page = check_output(folder / "report.html", "page")
    store = check_output(folder / "features.h5", "store")
    if page.is_file() and page.stat().st_size:
        with page.open("rb") as file:
            if f"<title>{TITLE}</title>".encode() not in file.read(4096):
                raise _other_work(page, "is the page of other work")
    if store.is_file() and store.stat().st_size:
        samples = {PurePath(path).parts[-2:] for path in manifest.paths}
        for table in store_info(store).tables:
            with open_store(store, table=table.key) as opened:
                for path in opened.paths.tolist():
                    if PurePath(path).parts[-2:] not in samples:
                        raise _other_work(store, f"holds {path!r}, which is no sample image")


def _other_work(path: Path, found: str) -> StoreWriteError:
    return StoreWriteError(
        f"{str(path)!r}: {found}, expected what an earlier demo made; choose another folder"
    )


class _Samples:
    """The sample images by task, with features and, for comparison, pixels."""

    def __init__(self, manifest: ImageManifest, root: Path, features: NDArray[np.float32]) -> None:
        self.paths = np.array(manifest.paths)
        self.labels = np.array(manifest.labels)
        self.features = features
        self.pixels = np.stack([_pixels(path) for path in manifest.paths])
        tasks = [Path(p).relative_to(root).parts[0] for p in manifest.paths]
        self.rows = {name: np.flatnonzero(np.array(tasks) == name) for name in sorted(set(tasks))}
        self.attribute_names = list(manifest.columns)
        columns = np.column_stack([manifest.columns[name] for name in self.attribute_names])
        self.attributes = columns[self.rows["attributes"]].astype(float)


def _pixels(path: str) -> NDArray[np.float32]:
    small = decode_image(path).resize((PIXELS, PIXELS), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1) / np.float32(255) - np.float32(0.5)


class _Results:
    """Every task, with the network's features and with raw pixels."""

    def __init__(self, samples: _Samples) -> None:
        self.samples = samples
        X, pixels, rows, y = samples.features, samples.pixels, samples.rows, samples.labels
        self.few: dict[str, FewLabels] = {}
        self.few_pixels: dict[str, float] = {}
        for name in CLASSES:
            r = rows[name]
            self.few[name] = few_labels(X[r], y[r], N_LABELS)
            self.few_pixels[name] = few_labels(pixels[r], y[r], N_LABELS).mean
        r = rows["objects"]
        self.curve = [few_labels(X[r], y[r], n) for n in CURVE]
        self.curve_pixels = [few_labels(pixels[r], y[r], n) for n in CURVE]
        r, names = rows["attributes"], samples.attribute_names
        self.attributes: Attributes = attributes(X[r], samples.attributes, names)
        self.attributes_pixels = attributes(pixels[r], samples.attributes, names)
        r = rows["instances"]
        self.retrieval: Retrieval = retrieval(X[r], y[r])
        self.retrieval_pixels = retrieval(pixels[r], y[r])

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return each task's figure beside that of raw pixels."""
        result: dict[str, dict[str, Any]] = {
            name: {"accuracy": self.few[name].mean, "accuracy_pixels": self.few_pixels[name]}
            for name in CLASSES
        }
        result["attributes"] = {
            "map": self.attributes.scores["map"],
            "map_pixels": self.attributes_pixels.scores["map"],
        }
        result["instances"] = {
            "map": float(self.retrieval.average_precisions.mean()),
            "map_pixels": float(self.retrieval_pixels.average_precisions.mean()),
        }
        return result


def _report(found: _Results, store: FeatureStore) -> Report:
    samples, summary = found.samples, store.summary
    assert store.recipe is not None
    report = Report(
        TITLE,
        subtitle=f"{len(samples.paths)} drawings through {store.recipe.backbone}, once; "
        "everything below is trained on those features",
    )
    few, rows = found.few, samples.rows
    report.add_scores(
        {
            **{f"{CLASSES[name]}: accuracy from 5 labels a class": few[name].mean for name in few},
            "Attributes: mean average precision": found.attributes.scores["map"],
            "Posters: mean average precision": float(found.retrieval.average_precisions.mean()),
        },
        intervals={
            f"{CLASSES[name]}: accuracy from 5 labels a class": few[name].interval for name in few
        },
        title="Five tasks, one table of features",
    )
    report.add_table(
        [
            [CLASSES[n], len(rows[n]), "accuracy", few[n].mean, found.few_pixels[n]] for n in few
        ]
        + [
            ["Attributes", len(rows["attributes"]), "mAP", found.attributes.scores["map"],
             found.attributes_pixels.scores["map"]],
            ["Posters", len(rows["instances"]), "mAP",
             float(found.retrieval.average_precisions.mean()),
             float(found.retrieval_pixels.average_precisions.mean())],
        ],
        ["task", "images", "measure", "network", f"pixels at {PIXELS} x {PIXELS}"],
        title="What the network bought",
        caption="The same classifiers and the same index on the network's features and on raw "
        "pixels. These are drawings: they show that the tool works, not how well it does on "
        "photographs.",
    )  # fmt: skip
    report.add_curve(
        CURVE,
        {"network": [r.mean for r in found.curve], "pixels": [r.mean for r in found.curve_pixels]},
        {
            "network": [r.interval for r in found.curve],
            "pixels": [r.interval for r in found.curve_pixels],
        },
        x_label="labels a class",
        y_label="accuracy",
        title="How few labels suffice (objects)",
    )
    _add_retrieval(report, found)
    _add_objects(report, found)
    report.add_bars(
        list(found.attributes.by_attribute),
        list(found.attributes.by_attribute.values()),
        title="Attributes of the creatures: average precision",
    )
    unit = scale_to_unit(samples.features[rows["objects"]])
    plane = TSNE(perplexity=15, init="pca", random_state=0).fit_transform(unit)
    report.add_embedding_map(
        plane,
        samples.labels[rows["objects"]].tolist(),
        samples.paths[rows["objects"]].tolist(),
        title="The objects, near each other where their features are (t-SNE)",
    )
    return report.add_key_values(
        {
            "featx": __version__,
            "python": sys.version.split()[0],
            "backbone": store.recipe.backbone,
            "weights": store.made_with.get("weights_source", ""),
            "device, precision": f"{summary.device}, {summary.precision}",
            "extracted": f"{summary.extracted} images at {summary.images_per_second:.0f} a second"
            if summary.extracted
            else f"{summary.reused} images reused",
            "recipe": store.fingerprint,
        }
    )


def _add_retrieval(report: Report, found: _Results) -> None:
    """Show one view of every other poster with its four nearest images."""
    rows = found.samples.rows["instances"]
    paths, groups = found.samples.paths[rows], found.samples.labels[rows]
    shown = []
    for query in range(1, len(rows), 8):
        near = found.retrieval.rankings[query][:3]  # a poster has four views: three to find
        shown.append(
            GalleryRow(
                paths[query],
                tuple(
                    GalleryMatch(
                        paths[i],
                        float(found.retrieval.distances[query][k]),
                        bool(groups[i] == groups[query]),
                    )
                    for k, i in enumerate(near)
                ),
                str(groups[query]),
            )
        )
    report.add_gallery(shown, title="What looks like this? Posters seen from another side")


def _add_objects(report: Report, found: _Results) -> None:
    few, rows = found.few["objects"], found.samples.rows["objects"]
    truth, paths = found.samples.labels[rows][few.test], found.samples.paths[rows][few.test]
    report.add_confusion_matrix(
        truth.tolist(), few.predicted.tolist(), title="Objects: confusions in the first split"
    )
    wrong: Sequence[int] = np.flatnonzero(truth != few.predicted).tolist()
    if wrong:
        worst = sorted(wrong, key=lambda i: -few.confidence[i])[:12]
        report.add_mistakes(
            [
                Mistake(paths[i], truth[i], few.predicted[i], float(few.confidence[i]))
                for i in worst
            ],
            title="Objects: the surest mistakes",
        )
