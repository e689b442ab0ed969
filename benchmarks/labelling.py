"""Accuracy against labels: which images to label first, on sets whose labels are known.

    python benchmarks/labelling.py [--seeds 5] [--sets caltech101 scene15 ...] [--html OUT.html]

A set's folders are its classes. featx_small reads it once; the pool is labelled in rounds of half
a label per class by `featx.suggest`'s strategies, and after each round a probe of fixed C is
scored on the set's own test images (caltech101 and cats_dogs have none: 5 and 70 per class are
held out, drawn anew for each seed). "random" is what labelling without suggestions gives. Prints
the accuracy at labels per class, the share of random's labels that each strategy needs for what
random reaches with 2, 3 and 5 per class, and times of one stroke on generated features.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import ASSETS, keep, need_assets

import featx
from featx.labelling._answers import Answers
from featx.labelling._pool import Pool
from featx.labelling.suggest import STRATEGIES, choose_rows, describe

HELD_OUT = {"caltech101": 5, "cats_dogs": 70}
SHOWN = (0.5, 1, 2, 3, 5, 8)
C = 100.0


def read(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features and classes of a folder of folders."""
    source = ASSETS / "datasets" / name
    store = featx.extract(source, folder / f"{name.replace('/', '_')}.h5")
    return np.asarray(store, np.float32), np.array([str(x) for x in store.labels])


def split(name: str, folder: Path, seed: int) -> tuple[np.ndarray, ...]:
    """Return pool and test features with their classes."""
    if name not in HELD_OUT:
        return (*read(f"{name}/train", folder), *read(f"{name}/test", folder))
    X, y = read(name, folder)
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(y == c))[: HELD_OUT[name]] for c in np.unique(y)]
    is_test = np.zeros(len(y), bool)
    is_test[np.concatenate(drawn)] = True
    return X[~is_test], y[~is_test], X[is_test], y[is_test]


def simulate(data: tuple[np.ndarray, ...], strategy: str, sizes: list[int], seed: int) -> list:
    """Label a pool up to each size, and return the accuracies."""
    X, y, X_test, y_test = data
    pool, rows, accuracies = Pool(X, seed), np.empty(0, np.intp), []
    for size in sizes:
        guesser = Answers(rows, rows, y[rows]).fit(pool.X)
        new = choose_rows(pool, rows, guesser, size - len(rows), strategy, seed)
        rows = np.concatenate([rows, new])
        if len(np.unique(y[rows])) < 2:
            accuracies.append(float((y_test == y[rows[0]]).mean()))
            continue
        probe = featx.LinearProbeClassifier(Cs=C).fit(X[rows], y[rows])
        accuracies.append(float(probe.score(X_test, y_test)))
    return accuracies


def labels_to_reach(sizes: list[int], accuracies: np.ndarray, goal: float) -> float:
    """Return the fewest labels, between rounds by line, from which the mean is at the goal."""
    grid = np.linspace(sizes[0], sizes[-1], 2000)
    reached = np.flatnonzero(np.interp(grid, sizes, accuracies) >= goal)
    return float(grid[reached[0]]) if len(reached) else float("inf")


def time_strokes() -> list[dict]:
    """Return the seconds from a stroke to the next page on generated features."""
    figures = []
    for n, n_classes in ((10_000, 20), (100_000, 200)):
        rng = np.random.default_rng(0)
        y = rng.integers(n_classes, size=n)
        centres = rng.normal(size=(n_classes, 512)).astype(np.float32)
        noise = rng.normal(size=(n, 512)).astype(np.float32)
        start = time.perf_counter()
        pool = Pool(np.maximum(centres[y] + 1.5 * noise, 0))
        opening, names = time.perf_counter() - start, y.astype(str)
        paths = np.array([f"{i}.jpg" for i in range(n)])
        rows = choose_rows(pool, np.empty(0, np.intp), None, 2 * n_classes, "auto", 0)
        seconds = []
        for row in rng.permutation(n)[:12]:
            start = time.perf_counter()
            rows = np.append(rows, row)
            guesser = Answers(rows, rows, names[rows]).fit(pool.X)
            describe(pool, paths, choose_rows(pool, rows, guesser, 24, "auto", 0), guesser, "auto")
            seconds.append(time.perf_counter() - start)
        figures.append({"images": n, "classes": n_classes, "opening_s": round(opening, 2),
                        "stroke_s": round(float(np.median(seconds)), 3)})  # fmt: skip
    return figures


def main() -> None:
    """Simulate, print, draw and keep."""
    need_assets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--sets", nargs="+", default=["caltech101", "scene15", "flowers12", "cats_dogs"]
    )
    parser.add_argument("--most", type=float, default=8, help="labels per class")
    parser.add_argument("--html", type=Path)
    args = parser.parse_args()
    kept: dict = {"strokes": time_strokes(), "accuracy": {}}
    print(*kept["strokes"], sep="\n")
    report = featx.Report("Accuracy against labels", subtitle=f"{args.seeds} seeds, featx_small")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets:
            splits = [split(name, Path(folder), seed) for seed in range(args.seeds)]
            n = len(np.unique(splits[0][1]))
            step = max(n // 2, 2)
            sizes = list(range(step, int(args.most * n) + 1, step))
            sizes = [size for size in sizes if size <= len(splits[0][1])]
            found = {
                s: np.array([simulate(d, s, sizes, k) for k, d in enumerate(splits)])
                for s in STRATEGIES
            }
            random = found["random"].mean(axis=0)
            for strategy, runs in found.items():
                mean = runs.mean(axis=0)
                at = {f"{k:g}": round(float(np.interp(k * n, sizes, mean)), 3) for k in SHOWN}
                shares = {
                    str(k): round(
                        labels_to_reach(sizes, mean, float(np.interp(k * n, sizes, random)))
                        / (k * n),
                        2,
                    )
                    for k in (2, 3, 5)
                }
                worst = round(float((mean - random).min()), 3)
                kept["accuracy"].setdefault(name, {})[strategy] = {
                    "per_class": at, "share_of_random": shares, "worst_beside_random": worst,
                }  # fmt: skip
                print(f"{name:11} {strategy:10}", at, "share", shares, "worst", worst)
            report.add_curve(
                [size / n for size in sizes],
                {s: runs.mean(axis=0) for s, runs in found.items()},
                intervals={
                    s: np.percentile(runs, [2.5, 97.5], axis=0).T for s, runs in found.items()
                },
                x_label="labels per class", y_label="accuracy", title=name,
            )  # fmt: skip
    if args.html:
        print(report.save(args.html))
    keep("labelling", kept)


if __name__ == "__main__":
    main()
