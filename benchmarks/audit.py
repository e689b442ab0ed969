"""`featx.audit` beside cleanlab: labels of sets are flipped, and both look for them.

    python benchmarks/audit.py STORES [--cleanlab /path/to/python] [--seeds 3] [--out results.json]
    python benchmarks/audit.py --growth 1000 10000 100000

STORES is a folder of stores of `featx extract`: caltech101.h5, cats_dogs.h5, and train and test of
scene15 and flowers12, which are put together. The fifth set is drawn: 40 classes of 114 down to 6
images that overlap, in features that are rectified as those of a network are, so that every label
is known to be right. Of celeba.h5, with the set's own list of attributes (--attributes), every
fourth attribute is a set of labels too; many of its labels are wrong as they come, so that what is
found beside the flips counts as a mistake of both, and no number can be checked.

cleanlab is run by the Python of an environment of its own (``pip install cleanlab scikit-learn``):
on featx's held-out probabilities, and on those of scikit-learn's logistic regression of unit rows
(of raw features it takes five times as long and finds about as much). Labels go to any other
class, or to the likeliest other class of the image. `--growth` gives time and peak memory of
judging labels of drawn features.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from featx import audit, open_store
from featx._arrays import scale_to_unit
from featx.auditing._held_out import hold_out, iter_judged
from featx.auditing._labels import Given, judge_classes
from featx.auditing._noise import NoiseModel
from featx.store import write_features

SETS = {
    "cats_dogs": ["cats_dogs"], "scene15": ["scene15_train", "scene15_test"],
    "flowers12": ["flowers12_train", "flowers12_test"], "caltech101": ["caltech101"],
    "long tail": [],
}  # fmt: skip
RATES = (0.02, 0.05, 0.1, 0.2)
SPREAD = 2.2  # of the modes of drawn features
KINDS = ("uniform", "likeliest")
WAYS = [
    f"{whose} {method}" for whose in ("same", "own")
    for method in ("self_confidence", "normalized_margin")
]  # fmt: skip
CLEANLAB = """
import json, sys, numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from cleanlab.count import num_label_issues
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
data = np.load(sys.argv[1])
Z, bad, X = data["Z"], data["bad"], data["X"]
k, out = int(bad.sum()), {}
own = [cross_val_predict(LogisticRegression(max_iter=400), X, z, cv=5, method="predict_proba")
       for z in Z.T]
for name, ps in (("same", list(data["P"])), ("own", own)):
    ps = [p.astype(float) / p.astype(float).sum(1, keepdims=True) for p in ps]
    for method in ("self_confidence", "normalized_margin"):
        scores = [get_label_quality_scores(z, p, method=method) for z, p in zip(Z.T, ps)]
        order = np.argsort(np.stack(scores, 1).ravel(), kind="stable")
        out[f"{name} {method}"] = float(bad.ravel()[order[:k]].mean()) if k else None
    issues = [find_label_issues(z, p).sum() for z, p in zip(Z.T, ps)]
    out[f"{name} found"] = int(sum(issues)) / Z.size
    out[f"{name} number"] = int(sum(num_label_issues(z, p) for z, p in zip(Z.T, ps)))
print(json.dumps(out))
"""


def draw(n: int, n_classes: int, seed: int, smallest: float = 1.0, n_features: int = 1280) -> Any:
    """Draw features as of a network, and labels: classes of several modes, `smallest` to 1."""
    rng = np.random.default_rng(seed)
    shares = smallest ** (np.arange(n_classes) / max(n_classes - 1, 1))
    y = np.repeat(
        np.arange(n_classes), np.maximum((n * shares / shares.sum()).round(), 4).astype(int)
    )
    y = np.concatenate([y, np.zeros(max(n - len(y), 0), int)])[:n] if smallest == 1 else y
    mode = 3 * y + rng.integers(3, size=len(y))
    groups = rng.normal(0, 1, (max(n_classes // 4, 1), 64))  # classes that are alike
    centres = groups[np.arange(n_classes) % len(groups)] + rng.normal(0, 0.8, (n_classes, 64))
    modes = np.repeat(centres, 3, axis=0) + rng.normal(0, 0.5, (3 * n_classes, 64))
    mix = rng.normal(0, 1 / 8, (64, n_features))
    X = np.empty((len(y), n_features), np.float32)
    for start in range(0, len(y), 4096):
        rows = slice(start, start + 4096)
        latent = modes[mode[rows]] + rng.normal(0, SPREAD, (len(mode[rows]), 64))
        X[rows] = np.maximum(latent @ mix + rng.normal(-0.5, 0.5, (len(latent), n_features)), 0)
    return X, y


def load(folder: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "long tail":
        return draw(1500, 40, 0, 8 / 150)
    stores = [open_store(Path(folder) / f"{part}.h5") for part in SETS[name]]
    X = np.concatenate([np.asarray(store) for store in stores])
    return X, np.unique(np.concatenate([s.labels for s in stores]), return_inverse=True)[1]


def load_attributes(folder: str, attributes: str) -> tuple[np.ndarray, np.ndarray]:
    store = open_store(Path(folder) / "celeba.h5")
    lines = Path(attributes).read_text().splitlines()[2:]
    values = {line.split()[0]: line.split()[1::4] for line in lines}
    Y = np.array([values[Path(path).name] for path in store.paths.tolist()], int)
    return np.asarray(store), (Y > 0).astype(float)


def judge(X: np.ndarray, y: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the probabilities that featx begins with, and those that labels are wrong."""
    scores = hold_out(scale_to_unit(X), y, np.arange(len(y)), show=False)
    parts, wrong = [], np.zeros((len(y), 1 if y.ndim == 1 else y.shape[1]))
    for k, rows, found, codes in iter_judged(scores, y):
        p = np.full((len(y), found.shape[1]), 1 / found.shape[1])
        p[rows] = softmax(found, axis=1)
        wrong[rows, k] = NoiseModel.fit(found, codes).wrong(found, codes)
        parts.append(p)
    return parts, wrong


def flip(y: np.ndarray, p: np.ndarray, rate: float, kind: str, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng([seed, round(1000 * rate), len(kind)])
    flipped, z = rng.choice(len(y), round(rate * len(y)), replace=False), y.copy()
    for i in flipped:
        others = p[i].copy()
        others[y[i]] = -1
        free = [c for c in range(p.shape[1]) if c != y[i]]
        z[i] = rng.choice(free) if kind == "uniform" else others.argmax()
    return z, flipped


def ask_cleanlab(python: str, **arrays: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "data.npz"
        np.savez(path, **arrays)
        answer = subprocess.run(
            [python, "-W", "ignore", "-c", CLEANLAB, str(path)], capture_output=True, check=True
        )
    return json.loads(answer.stdout)


def run(job: tuple[Any, ...]) -> dict[str, Any]:
    folder, name, kind, rate, seed, python, attributes = job
    warnings.filterwarnings("ignore")
    row = {"set": name, "kind": kind, "rate": rate, "seed": seed}
    if name == "celeba":
        X, y = load_attributes(folder, attributes)
        bad = np.random.default_rng([seed, round(1000 * rate)]).random(y.shape) < rate
        z = np.where(bad, 1 - y, y)
        row |= {"n": y.size, "interval": None, "is_covered": None}
    else:
        X, y = load(folder, name)
        z, flipped = flip(y, judge(X, y)[0][0], rate, kind, seed)
        bad = np.isin(np.arange(len(y)), flipped)[:, None]
        with tempfile.TemporaryDirectory() as temporary:
            paths = [f"{i:06}.jpg" for i in range(len(y))]
            store = write_features(
                Path(temporary) / "f.h5", X, paths=paths, labels=[f"{c:04}" for c in z]
            )
            found = audit(store, pictures=False, progress=False)
        labels = {f.path for f in found.findings if f.kind == "label"}
        k = len(flipped)
        row |= {
            "n": len(y), "number": found.estimated_label_errors, "interval": found.interval,
            "is_covered": bool(found.interval[0] <= k <= found.interval[1]),
            "found": len(labels) / len(y),
            "recall": len(labels & {paths[i] for i in flipped}) / k if k else None,
        }  # fmt: skip
    parts, wrong = judge(X, z)
    k = row["k"] = int(bad.sum())
    order = np.argsort(-wrong.ravel(), kind="stable")
    row["featx"] = float(bad.ravel()[order[:k]].mean()) if k else None
    if python is None:
        return row
    given = z.reshape(len(z), -1).astype(int)
    theirs = ask_cleanlab(python, X=scale_to_unit(X), Z=given, bad=bad, P=np.stack(parts))
    return {**row, **{f"cleanlab {n}": v for n, v in theirs.items()}}


def mean(rows: list[dict[str, Any]], name: str) -> float:
    values = [row[name] for row in rows if row.get(name) is not None]
    return float(np.mean(values)) if values else float("nan")


def show(rows: list[dict[str, Any]]) -> None:
    ways = ["featx", *(f"cleanlab {way}" for way in WAYS)]
    print("precision at the true number: " + "; ".join(ways))
    sets = list(dict.fromkeys(row["set"] for row in rows))
    groups = [(s, k, r) for s in sets for k in KINDS for r in RATES]
    groups += [(s, None, None) for s in sets] + [(None, None, None)]
    for name, kind, rate in groups:
        some = [
            r for r in rows
            if r["k"] and name in (None, r["set"]) and kind in (None, r["kind"])
            and rate in (None, r["rate"])
        ]  # fmt: skip
        if some:
            width = [r["interval"][1] - r["interval"][0] for r in some if r["interval"]]
            print(
                f"{name or 'all':12}{kind or 'mean':10}{rate or '':5} "
                + "  ".join(f"{mean(some, way):.3f}" for way in ways)
                + f"  found {mean(some, 'found'):.3f}, recalled {mean(some, 'recall'):.2f}"
                + f", covered {mean(some, 'is_covered'):.2f} of {len(some)}"
                + f", number {mean(some, 'number'):.0f} +- {np.mean(width or [0]) / 2:.0f}"
                + f" of {mean(some, 'k'):.0f} (cleanlab {mean(some, 'cleanlab own number'):.0f})"
            )
    for row in rows:
        if not row["k"] and "found" in row:
            print(f"{row['set']:12}clean: found {row['found']:.4f}, interval {row['interval']}, "
                  f"cleanlab {row.get('cleanlab own found', float('nan')):.4f}")  # fmt: skip


def measure_growth(n: int) -> str:
    """Judge labels of drawn features in this process; time in seconds, peak memory in MiB."""
    lines = []
    for n_classes in (20, 200):
        X, y = draw(n, n_classes, 0)
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        z, flipped = flip(y, np.ones((len(y), n_classes)), 0.05, "uniform", 0)
        names = np.array([f"{c:04}" for c in range(n_classes)])
        given = Given(np.arange(len(y)), names, z)
        alone = np.arange(len(y))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        start = time.perf_counter()
        none = np.full(len(y), "")
        found = judge_classes(X, given, alone, none, none, show=False)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        order = np.argsort(-np.nan_to_num(found.wrong))[: len(flipped)]
        lines.append(
            f"{len(y):7} images, {n_classes:3} classes: {seconds:6.1f} s, peak {peak} MiB "
            f"({before} before, features {X.nbytes >> 20}); precision "
            f"{np.isin(order, flipped).mean():.3f}, number {found.expected:.0f} "
            f"[{found.low:.0f}, {found.high:.0f}] of {len(flipped)}"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", nargs="?")
    parser.add_argument("--cleanlab")
    parser.add_argument("--attributes", help="list_attr_celeba.txt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--growth", nargs="+", type=int)
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.growth:
        for n in args.growth:
            measure_growth(n)
        return
    sets = args.sets or [*SETS, *(["celeba"] if args.attributes else [])]
    jobs = [
        (args.stores, s, kind, rate, seed, args.cleanlab, args.attributes)
        for seed in range(args.seeds) for s in sets
        for kind in (KINDS[:1] if s == "celeba" else KINDS)
        for rate in (*RATES, *([0.0] if kind == "uniform" else []))
    ]  # fmt: skip
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for row in pool.map(run, jobs):
            rows.append(row)
            names = ("set", "kind", "rate", "seed", "k", "featx", "cleanlab same self_confidence",
                     "cleanlab own self_confidence", "number", "interval")  # fmt: skip
            print(*(row.get(name) for name in names), file=sys.stderr, flush=True)
            if args.out:
                Path(args.out).write_text(json.dumps(rows, indent=1) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
