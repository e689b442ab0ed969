"""`featx.audit` beside cleanlab: labels of five sets are flipped, and both look for them.

    python benchmarks/audit.py STORES --cleanlab /path/to/python [--seeds 3] [--out results.json]

STORES is a folder of stores of `featx extract`, with a label per image. cleanlab is run by the
Python of an environment of its own (``pip install cleanlab scikit-learn``), in two ways: on
featx's held-out probabilities, and on those of scikit-learn's logistic regression, as its
tutorials do. Labels go to any other class, or to the likeliest other class of the image.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from featx import audit, open_store
from featx._arrays import scale_to_unit
from featx.auditing._held_out import choose_strength, class_scores, deal_groups

SETS = ("cats_dogs", "scene15_train", "scene15_test", "flowers12_train", "caltech101")
RATES = (0.02, 0.05, 0.1, 0.2)
KINDS = ("uniform", "likeliest")
CLEANLAB = """
import json, sys, numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from cleanlab.count import num_label_issues
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
data = np.load(sys.argv[1])
z, k = data["z"], int(data["k"])
bad = np.zeros(len(z), bool); bad[data["flipped"]] = True
own = cross_val_predict(LogisticRegression(max_iter=400), data["X"], z, cv=5,
                        method="predict_proba")
out = {}
for name, p in (("same", data["P"].astype(float)), ("own", own)):
    p = p / p.sum(1, keepdims=True)
    for method in ("self_confidence", "normalized_margin"):
        order = np.argsort(get_label_quality_scores(z, p, method=method), kind="stable")
        out[f"{name} {method}"] = float(bad[order[:k]].mean()) if k else None
    issues = find_label_issues(z, p, return_indices_ranked_by="self_confidence")
    out[f"{name} found"] = len(issues) / len(z)
    out[f"{name} issues"] = float(bad[issues[:k]].sum() / k) if k else None
    out[f"{name} number"] = int(num_label_issues(z, p))
print(json.dumps(out))
"""


def held_out(X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the probabilities that featx begins with."""
    folds = deal_groups(codes, np.arange(len(codes)))
    scores, _ = class_scores(X, codes, folds, choose_strength(X, codes, folds))
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def flip(y: np.ndarray, p: np.ndarray, rate: float, kind: str, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng([seed, round(1000 * rate), len(kind)])
    flipped, z = rng.choice(len(y), round(rate * len(y)), replace=False), y.copy()
    for i in flipped:
        others = p[i].copy()
        others[y[i]] = -1
        free = [c for c in range(p.shape[1]) if c != y[i]]
        z[i] = rng.choice(free) if kind == "uniform" else others.argmax()
    return z, flipped


def run(job: tuple[Any, ...]) -> dict[str, Any]:
    folder, name, kind, rate, seed, python = job
    warnings.filterwarnings("ignore")
    store = open_store(Path(folder) / f"{name}.h5")
    X = scale_to_unit(np.asarray(store))
    classes, y = np.unique(store.labels, return_inverse=True)
    clean = held_out(X, y)
    z, flipped = flip(y, clean, rate, kind, seed)
    found = audit(store, classes[z], pictures=False, progress=False)
    labels = [f.path for f in found.findings if f.kind == "label"]
    is_bad = np.zeros(len(y), bool)
    is_bad[flipped] = True
    k, bad = len(flipped), set(store.paths[flipped])
    order = np.argsort(-np.nan_to_num(found.wrong), kind="stable")
    row = {
        "set": name, "kind": kind, "rate": rate, "seed": seed, "n": len(y), "k": k,
        "featx": float(is_bad[order[:k]].mean()) if k else None,
        "featx findings": float(np.mean([p in bad for p in labels[:k]])) if k and labels else None,
        "featx recalled": len(bad.intersection(labels[:k])) / k if k else None,
        "featx found": len(labels) / len(y), "number": found.estimated_label_errors,
        "interval": found.interval,
        "is_covered": bool(found.interval and found.interval[0] <= k <= found.interval[1]),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "data.npz"
        np.savez(path, X=X, z=z, k=k, flipped=flipped, P=held_out(X, z))
        answer = subprocess.run(
            [python, "-W", "ignore", "-c", CLEANLAB, str(path)], capture_output=True, check=True
        )
    return {**row, **{f"cleanlab {n}": v for n, v in json.loads(answer.stdout).items()}}


def mean(rows: list[dict[str, Any]], name: str) -> float:
    values = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(values)) if values else float("nan")


def show(rows: list[dict[str, Any]]) -> None:
    ways = ["featx", "featx recalled", "cleanlab same self_confidence",
            "cleanlab same normalized_margin", "cleanlab own self_confidence",
            "cleanlab own normalized_margin", "cleanlab own issues"]  # fmt: skip
    print("precision at the true number: " + "; ".join(ways))
    groups = [(s, k, r) for s in SETS for k in KINDS for r in RATES]
    groups += [(s, None, None) for s in SETS] + [(None, None, None)]
    for name, kind, rate in groups:
        some = [
            r for r in rows
            if r["k"] and name in (None, r["set"]) and kind in (None, r["kind"])
            and rate in (None, r["rate"])
        ]  # fmt: skip
        if some:
            print(
                f"{name or 'all':16}{kind or 'mean':10}{rate or '':5} "
                + "  ".join(f"{mean(some, way):.3f}" for way in ways)
                + f"  found {mean(some, 'featx found'):.3f}"
                + f", covered {mean(some, 'is_covered'):.2f}"
                + f", number {mean(some, 'number'):.0f} of {mean(some, 'k'):.0f}"
                + f" (cleanlab {mean(some, 'cleanlab own number'):.0f})"
            )
    for row in rows:
        if not row["k"]:
            print(f"{row['set']:16}clean: found {row['featx found']:.4f}, interval "
                  f"{row['interval']}, cleanlab {row['cleanlab own found']:.4f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores")
    parser.add_argument("--cleanlab", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--out")
    args = parser.parse_args()
    jobs = [
        (args.stores, s, kind, rate, seed, args.cleanlab)
        for seed in range(args.seeds) for s in args.sets for kind in KINDS
        for rate in (*RATES, *([0.0] if kind == "uniform" and seed == 0 else []))
    ]  # fmt: skip
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for row in pool.map(run, jobs):
            rows.append(row)
            names = ("set", "kind", "rate", "seed", "k", "featx", "cleanlab own self_confidence",
                     "number", "interval")  # fmt: skip
            print(*(row[name] for name in names), file=sys.stderr, flush=True)
            if args.out:
                Path(args.out).write_text(json.dumps(rows, indent=1) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
