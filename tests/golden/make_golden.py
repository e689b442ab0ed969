"""Make the golden files of the formats that this featx writes.

    python tests/golden/make_golden.py

A file of a released format is never made again; a new format gets a new name. index-v1 was written
by the last commit before version 2 (b94e58f), with the arrays below.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

from featx import RetrievalIndex
from featx.estimators import LinearProbeClassifier, save_model
from featx.estimators.certainty import learn_certainty
from featx.recipe import Preprocessing, Recipe
from featx.retrieval import InstanceIndex
from featx.store import Failure, StoreWriter

HERE = Path(__file__).resolve().parent
RECIPE = Recipe("net", "ab" * 32, "layer", "avg", Preprocessing(), "none", "float32", 4)
X = (np.arange(48, dtype=np.float32).reshape(12, 4) % 7 - 3) / 4
NAMES = [f"/photos/{i}é.jpg" for i in range(12)]
LABELS = [f"class {i % 3}" for i in range(12)]


def make_store(path: Path) -> None:
    """Write a store with a recipe, labels, a column and a failure, in two commits."""
    with StoreWriter(path) as writer:
        table = writer.table(RECIPE, has_labels=True, made_with={"engine": "torch"})
        for part in (slice(0, 7), slice(7, 12)):
            n = part.stop - part.start
            table.append(
                NAMES[part],
                X[part],
                digests=[f"{i + 1:064x}" for i in range(part.start, part.stop)],
                sizes=[100] * n,
                mtimes=[10**18] * n,
                labels=LABELS[part],
                metadata={"who": ["me"] * n},
            )
            writer.commit()
        writer.add_failures([Failure("/photos/bad.jpg", "the file is empty (0 bytes)")])


def make_index(path: Path) -> None:
    """Write an approximate index."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        RetrievalIndex(kind="ivf", codes="float32").fit(X, ids=NAMES, labels=LABELS).save(path)


def pictures() -> np.ndarray:
    """Return three pictures of blocks, which nothing but numpy draws."""
    values = (np.arange(3 * 12 * 16 * 3).reshape(3, 12, 16, 3) * 7919 + 101) ** 2 % 251
    return values.astype(np.uint8).repeat(20, 1).repeat(20, 2)


def make_instances(path: Path) -> None:
    """Write an index of instances."""
    InstanceIndex(60).fit(pictures(), ids=NAMES[:3], labels=LABELS[:3]).save(path)


def make_model(path: Path) -> None:
    """Write a model with what was learned of how far it can be trusted."""
    points = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    points += 3 * np.eye(4, dtype=np.float32)[np.arange(60) % 3]
    labels = np.array([f"class {i % 3}" for i in range(60)])
    probe = LinearProbeClassifier().fit(points, labels)
    save_model(probe, path, recipe=RECIPE, certainty=learn_certainty(probe, points, labels))


def main() -> None:
    """Make what is not there."""
    for name, make in (
        ("store-v1.h5", make_store),
        ("index-v2", make_index),
        ("instances-v1", make_instances),
        ("model-v1-certainty.featx", make_model),
    ):
        if not (HERE / name).exists():
            make(HERE / name)
            sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
