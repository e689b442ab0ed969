"""What answers know of themselves: the unknown, coverage of sets of labels, calibration.

    python benchmarks/answers.py [--seeds 3] [--draws 20] [--per-class 5 10 25] [--stores DIR]

Features of featx_small of each set whose folders are its classes, or stores named like the sets.
Unknown: half of the classes are trained on (of two classes both), and images of the other half
(near) and of the other sets (far) are to get a higher `unknown` than held-out images of the known
half: AUROC, beside what one would use instead, and the share of known images flagged at a promise
of 5 %. Coverage and calibration: all classes, new training images in each draw; "before" is the
model's own `predict_proba`, error is the expected calibration error in 15 bins. Attributes: of
celeba, images drawn anew for each draw; the coverage of an attribute is the share of 1,000 other
images with it whose set holds it, of attributes that at least 10 training images have. Figures are
means over the draws, with their standard error after "±"; of coverages, "SHORT" marks those more
than 2 points from the promise.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from common import ASSETS, keep, need_assets
from sklearn.metrics import roc_auc_score

import featx
from featx import AttributeClassifier, LinearProbeClassifier
from featx.estimators.certainty import answer, learn_certainty
from featx.evaluation import calibration_error

SETS = ("caltech101", "scene15", "flowers12", "cats_dogs")
N_TEST, N_OTHERS = 20, 100
COVERAGES = (0.8, 0.9, 0.95)
ATTRIBUTES, LEAST_WITH_IT, N_TEST_FACES = "celeba", 10, 1000
Data = dict[str, tuple[np.ndarray, np.ndarray]]


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


def read_attributes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features of faces, and 0 or 1 for each attribute."""
    source, path = ASSETS / "datasets" / ATTRIBUTES, folder / f"{ATTRIBUTES}.h5"
    if not path.exists():
        featx.extract(source / "images", path).close()
    lines = [line.split() for line in (source / "list_attr_celeba.txt").read_text().splitlines()]
    has_it = {name: np.array(values) == "1" for name, *values in lines[2:]}
    with featx.open_store(path) as store:
        names = [Path(p).name for p in store.paths]
        return np.asarray(store, np.float32), np.array([has_it[n] for n in names], float)


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


def measure_unknown(data: Data, name: str, n: int, seed: int) -> dict[str, float] | None:
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


def measure_sets(data: Data, name: str, n: int, seed: int) -> dict[str, float] | None:
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


def measure_attributes(data: Data, name: str, n: int, seed: int) -> dict[str, float]:
    """Return the mean coverage of sets of attributes, and how many attributes they hold."""
    X, Y = data[name]
    order = np.random.default_rng(seed).permutation(len(X))
    train, test = order[:n], order[n : n + N_TEST_FACES]
    kept = (Y[train].sum(axis=0) >= LEAST_WITH_IT) & (Y[train].sum(axis=0) <= n - LEAST_WITH_IT)
    model = AttributeClassifier().fit(X[train], Y[train][:, kept])
    certainty = learn_certainty(model, X[train], Y[train][:, kept])
    truth, figures = Y[test][:, kept] == 1, {"attributes": float(kept.sum())}
    for coverage in COVERAGES:
        sets = answer(model, X[test], certainty, coverage=coverage).sets
        share = (sets & truth).sum(axis=0) / truth.sum(axis=0)
        figures[f"coverage {coverage}"] = float(share.mean())
        figures[f"size {coverage}"] = float(sets.sum(axis=1).mean())
    return figures


def show(figures: dict[str, list[float]]) -> str:
    """Return means with standard errors, and mark promises that are not kept."""
    parts = []
    for key, (mean, error) in figures.items():
        is_off = key.startswith("coverage") and abs(mean - float(key.split()[1])) > 0.02
        parts.append(f"{key} {mean:.3f}±{error:.3f}{' SHORT' if is_off else ''}")
    return ", ".join(parts)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="draws of classes")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--per-class", type=int, nargs="+", default=[5, 10, 25])
    parser.add_argument("--faces", type=int, nargs="*", default=[100, 300])
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--stores", type=Path, help="keeps the features")
    args = parser.parse_args()
    if args.stores is None:
        need_assets()
    warnings.simplefilter("ignore")
    result: dict[str, dict] = {"unknown": {}, "sets": {}, "attributes": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.stores or Path(temporary)
        data = {name: read(name, folder) for name in args.sets}
        faces = {ATTRIBUTES: read_attributes(folder)} if args.faces else {}
    plans = (
        ("unknown", measure_unknown, data, args.per_class, args.seeds),
        ("sets", measure_sets, data, args.per_class, args.draws),
        ("attributes", measure_attributes, faces, args.faces, args.draws),
    )
    for kind, measure, given, sizes, n_draws in plans:
        for name, n in itertools.product(given, sizes):
            draws = [measure(given, name, n, seed) for seed in range(n_draws)]
            kept = [draw for draw in draws if draw]
            if kept:
                values = {key: [d[key] for d in kept] for key in kept[0]}
                figures = {
                    key: [float(np.mean(v)), float(np.std(v) / len(v) ** 0.5)]
                    for key, v in values.items()
                }
                result[kind][f"{name}, {n}"] = figures
                print(f"{kind}: {name}, {n}: {show(figures)}", flush=True)
    keep("answers", result)


if __name__ == "__main__":
    main()
