"""Kill a process with SIGKILL while it saves a model or an index over another, again and again.

After each kill the file must open, and be one of the two that were saved, whole. Prints one line
of JSON; rows are an index's rows, or a model's classes.

    python tests/faults/save_kill.py --trials 200 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import faiss  # noqa: F401 - so that its threads are limited too
import numpy as np
from threadpoolctl import threadpool_limits

from featx import LinearProbeClassifier, RetrievalIndex
from featx.estimators import load_model, save_model

N, D = 2000, 64


def things(kind: str) -> list[Any]:
    """Return two that differ everywhere."""
    found: list[Any] = []
    for value in (1, 2):
        rng = np.random.default_rng(value)
        X = rng.normal(size=(N, D)).astype(np.float32)
        if kind == "model":
            found.append(LinearProbeClassifier(Cs=[1.0]).fit(X[:300], rng.integers(0, 5, 300)))
        else:
            found.append(RetrievalIndex(kind=kind).fit(X, labels=[str(value)] * N))
    return found


def save(thing: Any, path: Path) -> None:
    """Save over what is there."""
    if isinstance(thing, RetrievalIndex):
        thing.save(path)
    else:
        save_model(thing, path)


def numbers_of(thing: Any) -> np.ndarray:
    """Return all that it holds."""
    return thing.vectors() if isinstance(thing, RetrievalIndex) else thing.coef_


def loaded(kind: str, path: Path) -> Any:
    """Open the file."""
    return load_model(path).model if kind == "model" else RetrievalIndex.load(path)


def run(kind: str, n_trials: int, seed: int) -> dict[str, int]:
    """Kill and look, so many times."""
    chance = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few rows that lists are larger than wanted
        pair = things(kind)
    expected = [numbers_of(thing) for thing in pair]
    names = ("trials", "killed", "rows_checked", "rows_lost", "old", "new", "left_files")
    tally = dict.fromkeys(names, 0)
    with tempfile.TemporaryDirectory(prefix="save-kill-") as name:
        path = Path(name) / "thing"
        begun = time.monotonic()
        save(pair[0], path)
        once_s = time.monotonic() - begun
        for _ in range(n_trials):
            save(pair[0], path)
            pid = os.fork()
            if pid == 0:
                try:
                    save(pair[1], path)
                finally:
                    os._exit(0)
            time.sleep(chance.uniform(0, 3 * once_s))
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            tally["killed"] += os.WIFSIGNALED(status)
            found = numbers_of(loaded(kind, path))
            is_one = [np.array_equal(found, numbers) for numbers in expected]
            tally["trials"] += 1
            tally["rows_checked"] += len(found)
            tally["rows_lost"] += 0 if any(is_one) else len(found)
            tally["old"] += is_one[0]
            tally["new"] += is_one[1]
        tally["left_files"] = len(list(Path(name).iterdir())) - 1
    return tally


def main() -> int:
    """Parse, run, print; 0 only if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=["model", "exact", "ivf", "hnsw"])
    args = parser.parse_args()
    threadpool_limits(1)  # OpenMP's threads do not survive a fork
    tallies = {kind: run(kind, args.trials, args.seed) for kind in args.kinds}
    whole = {key: sum(t[key] for t in tallies.values()) for key in next(iter(tallies.values()))}
    sys.stdout.write(json.dumps({**whole, "kinds": tallies}) + "\n")
    return int(whole["rows_lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
