"""Time and memory of each task on features, from 1,000 to 1,000,000 images.

    python benchmarks/growth_tasks.py [--sizes 1000 10000 100000 1000000] [--tasks train ...]
                                      [--limit-s 1800] [--folder FOLDER] [--plot OUT.svg]

Features of 512 numbers are generated to resemble a CNN's: 100 classes in a space of falling
variances, non-negative, sparse, and no two are copies. Each task is a command of featx in a
process of its own. "labels" ask for the next 24 images where five of each class have a label.
A task that reaches the limit is ended, said, and not run at larger sizes.

Seconds are by the clock, and of the processor: these depend less on what else runs. Memory is the
highest resident memory of the process, of which the features are 2 kB per image where they are
held. The exponent of a task is the slope of log(time) between its last two sizes, where 1 is
linear; starting Python is measured by `featx --version` and taken off first. `--plot` needs
matplotlib.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from common import keep

from featx.store import open_store, write_features

D, N_CLASSES, N_LATENT = 512, 100, 40
TASKS = {
    "train": ["train", "STORE", "--out", "FOLDER/model.joblib"],
    "index": ["index", "STORE", "--out", "FOLDER/i.index"],
    "duplicates": ["duplicates", "STORE"],
    "audit": ["audit", "STORE"],
    "map": ["map", "STORE", "--html", "FOLDER/map.html"],
    "labels": ["suggest", "STORE", "--labels", "LABELS"],
}


def make_store(path: Path, n: int) -> None:
    """Write features of n images with labels."""
    rng = np.random.default_rng(0)
    axes = rng.standard_normal((N_LATENT, D), np.float32) / np.sqrt(N_LATENT)
    centres = rng.standard_normal((N_CLASSES, N_LATENT), np.float32)
    spread = np.linspace(1.5, 0.3, N_LATENT, dtype=np.float32) * 0.9
    y = rng.integers(0, N_CLASSES, n)
    X = np.empty((n, D), np.float32)
    for start in range(0, n, 8192):
        part = y[start : start + 8192]
        latent = centres[part] + rng.standard_normal((len(part), N_LATENT), np.float32) * spread
        noise = rng.standard_normal((len(part), D), np.float32) * 0.3
        X[start : start + len(part)] = np.maximum(latent @ axes - 0.5 + noise, 0)
    paths = [f"{i // 1000:04}/{i:07}.jpg" for i in range(n)]
    write_features(path, X, paths=paths, labels=[f"class {c}" for c in y]).close()


def write_labels(store: Path, to: Path) -> None:
    """Write a label file with five images of each class."""
    with open_store(store) as rows, to.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        counts: dict[str, int] = {}
        for path, label in zip(rows.paths.tolist(), rows.labels.tolist(), strict=True):
            if counts.get(label, 0) < 5:
                counts[label] = counts.get(label, 0) + 1
                writer.writerow([path, label])


def run(words: list[str], limit_s: float) -> dict[str, float] | None:
    """Run a command; return its seconds and MiB, or None where it was ended."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "featx", *words, "--quiet"]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        timer = threading.Timer(limit_s, child.kill)
        timer.start()
        status = Path(f"/proc/{child.pid}/status")
        peak_kib = 0
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            # a child inherits its parent's ru_maxrss, but not this
            lines = status.read_text().splitlines()
            peak_kib = max([peak_kib, *(int(x.split()[1]) for x in lines if x[:6] == "VmHWM:")])
            time.sleep(0.02)
        _, code, used = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(code)
        seconds = time.perf_counter() - start
        if child.returncode < 0 and seconds >= limit_s:
            return None
        errors.seek(0)
        said = errors.read().decode().strip()
    if child.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(words)} ended with {child.returncode}: {said}")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(peak_kib / 1024),
    }


def exponent(figures: dict[int, dict[str, float]], start_s: float) -> float | None:
    """Return the slope between the last two sizes in log-log."""
    if len(figures) < 2:
        return None
    (n, a), (m, b) = list(figures.items())[-2:]
    times = [max(each["cpu_seconds"] - start_s, 0.01) for each in (a, b)]
    return round(float(np.log(times[1] / times[0]) / np.log(m / n)), 2)


def plot(figures: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Draw time and memory over images, on logarithmic axes."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    shown = (("cpu_seconds", "processor seconds"), ("peak_mib", "peak memory, MiB"))
    drawing, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for axes, (key, label) in zip(panels, shown, strict=True):
        for task, found in figures.items():
            axes.plot(list(found), [each[key] for each in found.values()], "o-", label=task)
        axes.set(xscale="log", yscale="log", xlabel="images", ylabel=label)
        axes.grid(color="0.9")
    panels[0].legend()
    drawing.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**i for i in range(3, 7)])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--limit-s", type=float, default=1800)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--dry", action="store_true", help="print, and keep nothing")
    args = parser.parse_args()
    start = run(["--version"], 60)
    assert start is not None
    figures: dict[str, dict[int, dict[str, float]]] = {task: {} for task in args.tasks}
    for n in args.sizes:
        store, labels = args.folder / f"growth-{n}.h5", args.folder / f"growth-{n}.csv"
        if not store.exists():
            make_store(store.with_suffix(".part"), n)
            store.with_suffix(".part").rename(store)
        write_labels(store, labels)
        names = {"STORE": str(store), "LABELS": str(labels)}
        for task in args.tasks:
            if len(figures[task]) < args.sizes.index(n):
                continue  # it was ended at a smaller size
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                words = [names.get(word, word.replace("FOLDER", folder)) for word in TASKS[task]]
                found = run(words, args.limit_s)
            print(n, task, json.dumps(found) if found else f"ended after {args.limit_s} s")
            sys.stdout.flush()
            if found:
                figures[task][n] = found
    exponents = {t: exponent(f, start["cpu_seconds"]) for t, f in figures.items()}
    print("exponents:", exponents)
    if args.plot:
        plot(figures, args.plot)
    if not args.dry:
        keep("growth of tasks", {"tasks": figures, "exponents": exponents, "start": start})


if __name__ == "__main__":
    main()
