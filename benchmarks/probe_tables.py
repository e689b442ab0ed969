"""Accuracy of the linear probe on exported features, and its time against scikit-learn's.

    featx export features.h5 scene15.npz
    python benchmarks/probe_tables.py scene15.npz flowers12.npz ... [--time 3]

A table whose labels begin with "train" and "test" is split so; any other is split at random,
`--per-class` training images per class, `--splits` times.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.preprocessing import normalize

from featx.estimators import LinearProbeClassifier

MODELS = {
    "logistic, C chosen": {},
    "logistic, C = 100": {"Cs": 100.0},
    "svm, C chosen": {"method": "svm"},
    "svm, C = 1": {"method": "svm", "Cs": 1.0},
}


def load(path):
    with np.load(path, allow_pickle=False) as file:
        return file["features"], file["labels"]


def splits(labels, per_class, n_splits):
    parts = np.array([label.split("/")[0] for label in labels])
    if set(parts) == {"train", "test"}:
        y = np.array([label.split("/", 1)[1] for label in labels])
        return y, [(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test"))]
    n_classes = len(np.unique(labels))
    draws = []
    for seed in range(n_splits):
        split = StratifiedShuffleSplit(1, train_size=per_class * n_classes, random_state=seed)
        train, _ = next(split.split(labels, labels))
        draws.append((train, np.setdiff1d(np.arange(len(labels)), train)))
    return labels, draws


def accuracies(X, labels, per_class, n_splits):
    y, draws = splits(labels, per_class, n_splits)
    out = {}
    for name, params in MODELS.items():
        scores = []
        for train, test in draws:
            probe = LinearProbeClassifier(**params).fit(X[train], y[train])
            scores.append(probe.score(X[test], y[test]))
        out[name] = round(float(np.mean(scores)), 4)
    return out


def one_time(fit):
    start = time.perf_counter()
    fit()
    return time.perf_counter() - start


def times(X, y, rounds):
    """Interleave the two on the same grid and folds; the ratio is what carries over."""
    unit = normalize(X)
    Cs = np.logspace(-1, 3.5, 10)
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
    warnings.simplefilter("ignore", ConvergenceWarning)
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": Cs}, cv=folds)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(one_time(lambda: LinearProbeClassifier(Cs=Cs, cv=folds).fit(X, y)))
        theirs.append(one_time(lambda: search.fit(unit, y)))
    ratios = np.array(theirs) / ours
    return {
        "shape": [*X.shape, len(np.unique(y))],
        "featx_s": np.round(ours, 2).tolist(),
        "scikit_learn_s": np.round(theirs, 2).tolist(),
        "times_as_fast": round(float(np.median(ratios)), 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path, metavar="FEATURES.npz")
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--time", type=int, default=0, metavar="ROUNDS")
    args = parser.parse_args()
    for path in args.tables:
        X, labels = load(path)
        result = {"table": path.stem, **accuracies(X, labels, args.per_class, args.splits)}
        if args.time:
            result["time"] = times(X, labels, args.time)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
