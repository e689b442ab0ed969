"""What answers know of themselves: the unknown, coverage of sets of labels, calibration.

    python benchmarks/answers.py [--seeds 3] [--draws 20] [--per-class 5 10 25] [--stores DIR]

Features of featx_small of each set whose folders are its classes, or stores named like the sets.
Unknown: half of the classes are trained on (of two classes both), and images of the other half
(near) and of the other sets (far) are to get a higher `unknown` than held-out images of the known
half: AUROC, beside what one would use instead, and the share of known images flagged at a promise
of 5 %. Coverage and calibration: all classes, new training images in each draw; "before" is the
model's own `predict_proba`, error is the expected calibration error in 15 bins.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from common import ASSETS, keep, need_assets
from sklearn.metrics import roc_auc_score

import featx
from featx import LinearProbeClassifier
from featx.estimators.certainty import answer, learn_certainty
from featx.evaluation import calibration_error

SETS = ("caltech101", "scene15", "flowers12", "cats_dogs")
N_TEST, N_OTHERS = 20, 100
COVERAGES = (0.8, 0.9, 0.95)


def read(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features, all parts together, and classes."""
    source = ASSETS / "datasets" / name
    parts = ["train", "test"] if (source / "train").is_dir() else [""]
    found = []
    for part in parts:
        path = folder / (f"{name}_{part}.h5" if part else f"{name}.h5")
        store = featx.open_store(path) if path.exists() else featx.extract(source / part, path)
        labels = [str(label).rsplit("/", 1)[-1] for label in store.labels]
        found.append((np.asarray(store, np.float32), np.array(labels)))
    return np.concatenate([X for X, _ in found]), np.concatenate([y for _, y in found])


def split(y: np.ndarray, classes: np.ndarray, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw n rows per class to train on, and up to 20 others."""
    train, test = [], []
    for name in classes:
        rows = rng.permutation(np.flatnonzero(y == name))
        train.append(rows[:n])
        test.append(rows[n : n + N_TEST])
    return np.concatenate(train), np.concatenate(test)


def unit(X: np.ndarray) -> np.ndarray:
    """Scale to length 1."""
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def measure_unknown(data: dict, name: str, n: int, seed: int) -> dict[str, float] | None:
    """Return the AUROC of each score, near and far, and the false alarms."""
    X, y = data[name]
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(y))
    known = classes[: max(2, len(classes) // 2)]
    train, test = split(y, known, n, rng)
    if not len(test):
        return None
    near = rng.permutation(np.flatnonzero(~np.isin(y, known)))[:500]
    others = [data[other][0] for other in data if other != name]
    far = np.concatenate([V[rng.permutation(len(V))[:N_OTHERS]] for V in others])
    probe = LinearProbeClassifier().fit(X[train], y[train])
    certainty = learn_certainty(probe, X[train], y[train])
    groups = {"known": X[test], "near": X[near], "far": far}
    found: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for group, rows in groups.items():
        if len(rows):
            answers = answer(probe, rows, certainty)
            found["unknown"][group] = answers.unknown
            found["nearest cosine"][group] = -(unit(rows) @ unit(X[train]).T).max(axis=1)
            found["largest probability"][group] = -probe.predict_proba(rows).max(axis=1)
            found["flagged"][group] = answers.is_unknown
    figures = {f"flagged {group}": float(v.mean()) for group, v in found.pop("flagged").items()}
    for score, of in found.items():
        for group in ("near", "far"):
            if group in of:
                truth = np.repeat([0, 1], [len(of["known"]), len(of[group])])
                values = np.concatenate([of["known"], of[group]])
                figures[f"{score}, {group}"] = float(roc_auc_score(truth, values))
    return figures


def measure_sets(data: dict, name: str, n: int, seed: int) -> dict[str, float] | None:
    """Return coverage and mean size of sets, and calibration before and after."""
    X, y = data[name]
    train, test = split(y, np.unique(y), n, np.random.default_rng(seed))
    if not len(test):
        return None
    probe = LinearProbeClassifier().fit(X[train], y[train])
    certainty = learn_certainty(probe, X[train], y[train])
    columns = np.searchsorted(probe.classes_, y[test])
    answers = answer(probe, X[test], certainty)
    is_right = answers.labels == y[test]
    figures = {
        "accuracy": float(is_right.mean()),
        "error before": calibration_error(probe.predict_proba(X[test]).max(axis=1), is_right),
        "error after": calibration_error(answers.confidence, is_right),
    }
    for coverage in COVERAGES:
        sets = answer(probe, X[test], certainty, coverage=coverage).sets
        figures[f"coverage {coverage}"] = float(sets[np.arange(len(test)), columns].mean())
        figures[f"size {coverage}"] = float(sets.sum(axis=1).mean())
    return figures


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--per-class", type=int, nargs="+", default=[5, 10, 25])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--stores", type=Path, help="keeps the features")
    args = parser.parse_args()
    if args.stores is None:
        need_assets()
    warnings.simplefilter("ignore")
    result: dict[str, dict] = {"unknown": {}, "sets": {}}
    with tempfile.TemporaryDirectory() as folder:
        data = {name: read(name, args.stores or Path(folder)) for name in args.sets}
    plans = (("unknown", measure_unknown, args.seeds), ("sets", measure_sets, args.draws))
    for kind, measure, n_draws in plans:
        for name in args.sets:
            for n in args.per_class:
                draws = [measure(data, name, n, seed) for seed in range(n_draws)]
                kept = [draw for draw in draws if draw]
                if kept:
                    mean = {key: float(np.mean([d[key] for d in kept])) for key in kept[0]}
                    result[kind][f"{name}, {n} per class"] = mean
                    shown = ", ".join(f"{key} {value:.3f}" for key, value in mean.items())
                    print(f"{kind}: {name}, {n} per class: {shown}", flush=True)
    keep("answers", result)


if __name__ == "__main__":
    main()
