"""Two checkouts of featx beside each other: is the later one as fast?

    python benchmarks/beside.py BEFORE AFTER [--rounds 7] [--only search ...]

Each task is a fresh process that imports the featx of one checkout; the checkouts take turns, and
the first of a round changes. A ratio is BEFORE's seconds by AFTER's within a round; the median of
the rounds is printed, above 1 is faster than before. Both must read each other's files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ASSETS, keep, need_assets

PRELUDE = """
import json, sys, time
from pathlib import Path
folder, photographs, weights = map(Path, sys.argv[1:4])
def timed(work, n=1):
    start = time.perf_counter()
    for _ in range(n):
        work()
    return (time.perf_counter() - start) / n
"""
FEATURES = """
import numpy as np
rng = np.random.default_rng(0)
centres = rng.normal(size=(50, 512))
codes = rng.integers(50, size=N)
X = np.maximum(centres[codes] + 2 * rng.normal(size=(N, 512)), 0).astype(np.float32)
"""
TASKS = {
    "startup": """
import subprocess
HELP = "import featx.cli.main as m\\ntry: m.main(['--help'])\\nexcept SystemExit: pass"
def run(*words):
    return timed(lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True))
found = {
    "import": run("-c", "import featx"),
    "help": run("-c", HELP),
}
""",
    "extract": """
from featx.cli.main import main
import contextlib, io
def extract(name, *words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main(["extract", str(photographs), "--store", str(folder / name), "--json", *words])
    return json.loads(out.getvalue())
small = extract("small.h5")
mobile = extract("mobile.h5", "--backbone", "mobilenet_v2", "--weights", str(weights))
again = extract("small.h5")
found = {
    "featx_small, per image": 1 / small["images_per_second"],
    "featx_small, whole": small["seconds"],
    "mobilenet_v2, per image": 1 / mobile["images_per_second"],
    "mobilenet_v2, whole": mobile["seconds"],
    "nothing new": again["seconds"],
}
""",
    "storage": """
N = 60_000
"""
    + FEATURES
    + """
from featx.store import write_features, open_store
paths = [f"/p/{i}.jpg" for i in range(N)]
found = {"write": timed(lambda: write_features(folder / "w.h5", X, paths=paths))}
rows = rng.permutation(N)[:1000]
found["open and read 1,000 rows"] = timed(lambda: open_store(folder / "w.h5")[rows], 5)
store = open_store(folder / "w.h5")
found["read all"] = timed(lambda: np.asarray(store), 3)
found["read 1,000 rows"] = timed(lambda: store[rows], 10)
""",
    "linear_probe": """
N = 4_000
"""
    + FEATURES
    + """
from featx.estimators import AttributeClassifier, LinearProbeClassifier
found = {"50 classes": timed(lambda: LinearProbeClassifier().fit(X, codes))}
Y = (X[:, :20] > np.median(X[:, :20], axis=0)).astype(int)
found["20 attributes"] = timed(lambda: AttributeClassifier().fit(X[:2000, 20:], Y[:2000]))
found["svm"] = timed(lambda: LinearProbeClassifier("svm").fit(X[:2000], codes[:2000]))
""",
    "search": """
N = 20_000
"""
    + FEATURES
    + """
from featx import RetrievalIndex
Q = X[rng.permutation(N)[:1000]] + 0.1
found = {}
for kind in ("exact", "hnsw", "ivf"):
    index = RetrievalIndex(kind=kind)
    found[f"{kind}, build"] = timed(lambda: index.fit(X))
    index.query(Q[:2], k=10)
    found[f"{kind}, batch"] = timed(lambda: index.query(Q, k=10), 3)
    found[f"{kind}, one"] = timed(lambda: [index.query(q, k=10) for q in Q[:200]])
""",
}


def main():
    """Measure, print and keep."""
    need_assets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    args = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    for k in range(args.rounds):
        for task in args.only:
            pair = [args.before, args.after]
            seconds = {c: run(task, c) for c in (pair if k % 2 else pair[::-1])}
            for what, after_s in seconds[args.after].items():
                ratios.setdefault(f"{task}: {what}", []).append(
                    seconds[args.before][what] / after_s
                )
    medians = {what: round(statistics.median(found), 3) for what, found in ratios.items()}
    for what, ratio in medians.items():
        low, high = min(ratios[what]), max(ratios[what])
        print(f"{what:45} {ratio:6.3f}   ({low:.2f} to {high:.2f})")
    keep("beside", {"rounds": args.rounds, "median_ratios": medians})


def run(task: str, checkout: Path) -> dict[str, float]:
    """Return the seconds of a task's parts with one checkout's featx."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"{PRELUDE}{TASKS[task]}\nprint(json.dumps(found))"
        photographs = ASSETS / "datasets" / "flowers12" / "train"
        weights = ASSETS / "weights" / "mobilenet_v2.pth"
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(
            [sys.executable, "-c", code, folder, photographs, weights],
            env=environment, cwd=folder, check=True, capture_output=True, text=True,
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
