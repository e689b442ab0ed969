"""The linear probe on photographs: accuracy, and a search that runs the network once per image.

    python benchmarks/probe.py [--backbone NAME --weights FILE]

flowers12 and scene15 on their own splits; caltech101 as the mean of 10 stratified splits with 10
training images per class; cats_dogs as the mean of 30 splits with 10 per class. Centre crop, no
tricks; flowers12 also without resizing, since its photographs are 224 px already.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import ASSETS, WEIGHTS, keep, need_assets
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline

import featx
from featx import FeatureExtractor, LinearProbeClassifier

SPLITS = {"caltech101": (10, 10), "cats_dogs": (30, 10)}
LAYERS, POOLINGS = ["features.14", "features.16", "features.18"], ["avg", "gem(3)"]


def accuracy(X, y, train, test, **options):
    """Fit on some rows, score on others."""
    return LinearProbeClassifier(**options).fit(X[train], y[train]).score(X[test], y[test])


def score(name, net, folder, **options):
    """Return the accuracy of both ways to choose C on one set."""
    store = featx.extract(
        ASSETS / "datasets" / name, folder / f"{name}.h5", progress=False, **net, **options
    )
    X, labels = store[:], store.labels
    if name in SPLITS:
        n_splits, per_class = SPLITS[name]
        y = labels
        n_train = per_class * len(np.unique(y))
        splitter = StratifiedShuffleSplit(n_splits, train_size=n_train, random_state=0)
        splits = list(splitter.split(X, y))
    else:
        parts, y = np.array([label.split("/") for label in labels]).T
        splits = [(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test"))]
    return {
        "C by cross-validation": float(np.mean([accuracy(X, y, *s) for s in splits])),
        "C = 100": float(np.mean([accuracy(X, y, *s, Cs=100.0) for s in splits])),
    }


def search(net, folder):
    """Search layers, poolings and C on scene15; count network passes."""
    root = ASSETS / "datasets" / "scene15"
    manifest = featx.ImageManifest.from_source(root / "train")
    paths, y = list(manifest.paths), list(manifest.labels)
    counted = featx.Encoder(**net).load().backbone
    before, start = counted.n_images, time.perf_counter()
    pipeline = make_pipeline(
        FeatureExtractor(
            **net, cache=folder / "search.h5", cached_layers=LAYERS, cached_poolings=POOLINGS,
            layer=LAYERS[0], pooling=POOLINGS[0], progress=False,
        ),
        LinearProbeClassifier(),
    )  # fmt: skip
    grid = {
        "featureextractor__layer": LAYERS,
        "featureextractor__pooling": POOLINGS,
        "linearprobeclassifier__Cs": np.logspace(-1, 3.5, 10).tolist(),
    }
    found = GridSearchCV(pipeline, grid, cv=5).fit(paths, y)
    return {
        "images": len(paths),
        "candidates": len(found.cv_results_["params"]),
        "network_passes": counted.n_images - before,
        "seconds": time.perf_counter() - start,
        "best": {k: str(v) for k, v in found.best_params_.items()},
        "best_cv_accuracy": float(found.best_score_),
    }


def main():
    """Print every set's accuracy."""
    need_assets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default=str(WEIGHTS))
    parser.add_argument("--precision", default="float32")
    args = parser.parse_args()
    net = {"backbone": args.backbone, "weights": args.weights, "precision": args.precision}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            one: score(one, net, folder)
            for one in ("flowers12", "scene15", "caltech101", "cats_dogs")
        }
        if args.backbone == "mobilenet_v2":
            figures["flowers12, not resized"] = score(
                "flowers12", net, folder / ".", resize_px=224
            )
            figures["scene15, search"] = search(net, folder)
    keep(f"linear probe, {args.backbone}", figures)


if __name__ == "__main__":
    main()
