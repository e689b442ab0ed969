"""Accuracy against labels: which images to label first, on sets whose labels are known.

    python benchmarks/labelling.py [--seeds 5] [--sets caltech101 scene15 ...] [--stores DIR]
        [--pool all|imbalanced|mixed] [--keep NAME] [--html OUT.html]
    python benchmarks/labelling.py --draw OUT.svg [--keep NAME]

A set's folders are its classes. featx_small reads it once (or `--stores` has features of another
network); the pool is labelled in rounds of half a label per class by `featx.suggest`'s strategies,
and after each round a probe of fixed C is scored on the set's own test images (caltech101 and
cats_dogs have none: 5 and 70 per class are held out, drawn anew for each seed). "random" is what
labelling without suggestions gives. Pools: all images; "imbalanced", where the largest class has
20 times the images of the smallest, in an order drawn for each seed; "mixed", where a third of
the images are of other sets, which cost a stroke and get no label. Prints the accuracy at strokes
per class with the 95 % interval of its mean over the seeds (Student's t); whether `auto` is never
more than a point below random, and reaches what random reaches with 2, 3 and 5 per class with at
most half, two thirds and three quarters of the strokes (.9 at 5 where there are 100 classes); and
times of one stroke on generated features. `--draw` makes a picture of what was kept.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path

import numpy as np
from common import ASSETS, ROOT, keep, machine, need_assets
from scipy import stats

import featx
from featx.labelling._answers import Answers
from featx.labelling._pool import Pool
from featx.labelling.suggest import STRATEGIES, choose_rows, describe

SETS = ("caltech101", "scene15", "flowers12", "cats_dogs")
HELD_OUT = {"caltech101": 5, "cats_dogs": 70}
POOLS = ("all", "imbalanced", "mixed")
SHOWN = (0.5, 1, 2, 3, 5, 8)
GOALS = {2: 1 / 2, 3: 2 / 3, 5: 3 / 4}
MANY, GOAL_OF_MANY = 100, 0.9  # classes, and what is asked at 5 per class from so many
SPREAD = 20  # images of the largest class for each of the smallest
NO_CLASS = ""
C = 100.0

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def read(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features and classes of a folder of folders."""
    path = folder / f"{name.replace('/', '_')}.h5"
    if not path.exists():
        featx.extract(ASSETS / "datasets" / name, path).close()
    with featx.open_store(path) as store:
        return np.asarray(store, np.float32), np.array([str(x) for x in store.labels])


def split(name: str, folder: Path, seed: int) -> Data:
    """Return pool and test features with their classes."""
    if name not in HELD_OUT:
        return (*read(f"{name}/train", folder), *read(f"{name}/test", folder))
    X, y = read(name, folder)
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(y == c))[: HELD_OUT[name]] for c in np.unique(y)]
    is_test = np.zeros(len(y), bool)
    is_test[np.concatenate(drawn)] = True
    return X[~is_test], y[~is_test], X[is_test], y[is_test]


def draw_pool(data: Data, kind: str, others: list[np.ndarray], seed: int) -> Data:
    """Return the data with a pool of another kind."""
    X, y, *test = data
    rng = np.random.default_rng(seed)
    if kind == "imbalanced":
        classes = rng.permutation(np.unique(y))
        shares = float(SPREAD) ** -np.linspace(0, 1, len(classes))
        least = np.unique(y, return_counts=True)[1].min()
        rows = [
            rng.permutation(np.flatnonzero(y == c))[: max(round(share * least), 1)]
            for c, share in zip(classes, shares, strict=True)
        ]
        kept = rng.permutation(np.concatenate(rows))
        return (X[kept], y[kept], *test)
    if kind == "mixed":
        strangers = np.concatenate(others)
        strangers = strangers[rng.permutation(len(strangers))[: len(X) // 2]]
        order = rng.permutation(len(X) + len(strangers))
        labels = np.concatenate([y, np.full(len(strangers), NO_CLASS, y.dtype)])
        return (np.concatenate([X, strangers])[order], labels[order], *test)
    return data


def simulate(data: Data, strategy: str, sizes: list[int], seed: int) -> list[float]:
    """Label a pool up to each size, and return the accuracies."""
    X, y, X_test, y_test = data
    pool, rows, accuracies = Pool(X, seed), np.empty(0, np.intp), []
    for size in sizes:
        labelled = rows[y[rows] != NO_CLASS]
        guesser = Answers(rows, labelled, y[labelled]).fit(pool.X)
        new = choose_rows(pool, rows, guesser, size - len(rows), strategy, seed)
        rows = np.concatenate([rows, new])
        labelled = rows[y[rows] != NO_CLASS]
        known = np.unique(y[labelled])
        if len(known) < 2:
            accuracies.append(float(np.isin(y_test, known).mean()))
            continue
        probe = featx.LinearProbeClassifier(Cs=C).fit(X[labelled], y[labelled])
        accuracies.append(float(probe.score(X_test, y_test)))
    return accuracies


def labels_to_reach(sizes: list[int], accuracies: np.ndarray, goal: float) -> float:
    """Return the fewest labels, between rounds by line, from which the mean is at the goal."""
    grid = np.linspace(sizes[0], sizes[-1], 2000)
    reached = np.flatnonzero(np.interp(grid, sizes, accuracies) >= goal)
    return float(grid[reached[0]]) if len(reached) else float("inf")


def measure(splits: list[Data], most: float) -> dict:
    """Simulate every strategy, and return its curve and what it is beside random."""
    n = len(np.unique(splits[0][3]))
    step, last = max(n // 2, 2), min(most * n, *(len(X) for X, *_ in splits))
    sizes = list(range(step, int(last) + 1, step))
    runs = {
        s: np.array([simulate(d, s, sizes, k) for k, d in enumerate(splits)]) for s in STRATEGIES
    }
    random = runs["random"].mean(axis=0)
    figures: dict = {"classes": n, "per_class": [size / n for size in sizes], "strategies": {}}
    for strategy, values in runs.items():
        mean = values.mean(axis=0)
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values, axis=0)
        shares = {
            str(k): labels_to_reach(sizes, mean, float(np.interp(k * n, sizes, random))) / (k * n)
            for k in GOALS
            if k * n <= sizes[-1]
        }
        figures["strategies"][strategy] = {
            "mean": mean.round(4).tolist(),
            "half_interval": half.round(4).tolist(),
            "share_of_random": {k: round(share, 3) for k, share in shares.items()},
            "worst_beside_random": round(float((mean - random).min()), 4),
        }
    return figures


def show(name: str, figures: dict) -> list[str]:
    """Return a line for each strategy, and whether `auto` keeps what is promised."""
    lines, n = [], figures["classes"]
    for strategy, found in figures["strategies"].items():
        at = [
            f"{k:g}: {np.interp(k, figures['per_class'], found['mean']):.3f} "
            f"± {np.interp(k, figures['per_class'], found['half_interval']):.3f}"
            for k in SHOWN
            if k <= figures["per_class"][-1]
        ]
        lines.append(
            f"{name:11} {strategy:10} {', '.join(at)}; share {found['share_of_random']}, "
            f"worst beside random {found['worst_beside_random']:+.3f}"
        )
    auto = figures["strategies"]["auto"]
    worst = auto["worst_beside_random"]
    lines.append(
        f"{_judge(worst >= -0.01)} {name}: auto beside random {worst:+.3f}, at least -.01"
    )
    for k, share in auto["share_of_random"].items():
        most = GOAL_OF_MANY if k == "5" and n >= MANY else GOALS[int(k)]
        lines.append(
            f"{_judge(share <= most)} {name}: {share:.2f} of the labels for what random reaches "
            f"with {k} per class, at most {most:.2f}"
        )
    return lines


def _judge(is_kept: bool) -> str:
    return "PASS " if is_kept else "SHORT"


def make_report(accuracy: dict, subtitle: str) -> featx.Report:
    """Return a page with a curve of each set."""
    report = featx.Report("Accuracy against labels", subtitle=subtitle)
    for name, figures in accuracy.items():
        found = figures["strategies"]
        bands = {
            s: np.add.outer([-1, 1], np.zeros(len(f["mean"]))).T
            * np.array(f["half_interval"])[:, None]
            + np.array(f["mean"])[:, None]
            for s, f in found.items()
        }
        report.add_curve(
            figures["per_class"], {s: f["mean"] for s, f in found.items()}, intervals=bands,
            x_label="labels per class", y_label="accuracy", title=name,
        )  # fmt: skip
    return report


STYLE = """
svg { --ink: #1f2328; --soft: #57606a; --line: #d0d7de; --card: #ffffff }
@media (prefers-color-scheme: dark) {
svg { --ink: #e6edf3; --soft: #9da7b3; --line: #3d444d; --card: #0d1117 } }
text { font: 17px sans-serif; fill: var(--ink) }
text.title { font-weight: 600 }
"""
WIDTH, HEIGHT, TITLE = 480, 300, 34  # of a chart of a report


def draw(report: featx.Report, names: list[str]) -> str:
    """Return the charts of a report one below the other as an SVG, a legend above."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(report.save(Path(folder) / "page.html")).read_text()
    charts = re.findall(r'<svg [^>]*class="chart">(.*?)</svg>', page, re.DOTALL)
    legend = re.findall(r'<span><i style="background:([^"]+)"></i>([^<]+)</span>', page)
    parts = []
    for k, (colour, strategy) in enumerate(legend[: len(STRATEGIES)]):
        x = 12 + 118 * k
        parts.append(f'<rect x="{x}" y="12" width="14" height="14" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + 20}" y="25">{strategy}</text>')
    for k, (name, chart) in enumerate(zip(names, charts, strict=True)):
        y = TITLE + k * (HEIGHT + TITLE)
        parts.append(f'<text class="title" x="12" y="{y + 26}">{name}</text>')
        parts.append(f'<g transform="translate(0 {y + TITLE})">{chart}</g>')
    height = TITLE + len(names) * (HEIGHT + TITLE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}"><style>{STYLE}</style><rect width="100%" height="100%" '
        f'fill="var(--card)"/>{"".join(parts)}</svg>\n'
    )


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
    """Simulate, print and keep; or draw what was kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--most", type=float, default=8, help="labels per class")
    parser.add_argument("--pool", choices=POOLS, default="all")
    parser.add_argument("--stores", type=Path, help="has or keeps the features")
    parser.add_argument("--keep", default="labelling", help="name among the results")
    parser.add_argument("--no-strokes", action="store_true", help="leave the times out")
    parser.add_argument("--html", type=Path)
    parser.add_argument("--draw", type=Path, metavar="OUT.svg")
    args = parser.parse_args()
    if args.draw:
        path = ROOT / "benchmarks" / "results" / f"{machine()['name']}.json"
        accuracy = json.loads(path.read_text())[args.keep]["accuracy"]
        args.draw.write_text(draw(make_report(accuracy, ""), list(accuracy)))
        return
    need_assets()
    kept: dict = {"pool": args.pool, "seeds": args.seeds, "accuracy": {}}
    if not args.no_strokes:
        kept["strokes"] = time_strokes()
        print(*kept["strokes"], sep="\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.stores or Path(temporary)
        for name in args.sets:
            others = [split(other, folder, 0)[0] for other in SETS if other != name]
            splits = [
                draw_pool(split(name, folder, seed), args.pool, others, seed)
                for seed in range(args.seeds)
            ]
            kept["accuracy"][name] = measure(splits, args.most)
            print(*show(name, kept["accuracy"][name]), sep="\n", flush=True)
    if args.html:
        print(make_report(kept["accuracy"], f"{args.seeds} seeds").save(args.html))
    keep(args.keep, kept)


if __name__ == "__main__":
    main()
