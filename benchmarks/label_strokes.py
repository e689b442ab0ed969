"""From a stroke on the page of featx label to what it shows next, over its real server.

    python benchmarks/label_strokes.py [--images 10000 100000] [--classes 20 200 500] [--strokes N]

Features are generated to resemble a CNN's: classes in a space of falling variances, non-negative,
sparse, 512 numbers each. The label file begins with five labels per class. Strokes are requests
over HTTP to a `featx label` in a process of its own, as the page sends them:

- answer: the label is on the disk, and the page counts it;
- guesses: the answer, and guesses of a probe that knows the label for the other 23 images;
- page: the answer, and 24 new suggestions by such a probe, which the last stroke of a page wants;
- measures: the accuracy, its interval and the forecast of all labels.

The first four lines wait for the measures after every stroke; "in a row" sends the next stroke at
once, while measures are computed. Prints medians and 95th percentiles, and the most memory that
the server held. Medians over 150 ms at 10,000 images or 1 s at 100,000 are marked with "LOST".
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from common import keep
from PIL import Image

from featx.store import write_features

N_FEATURES = 512
N_SHOWN = 24
WAITS = ("answer", "guesses", "page")
LABELS_PER_CLASS = 5
LIMITS_S = {10_000: 0.15, 100_000: 1.0}


class Server:
    """A `featx label` in a process of its own."""

    def __init__(self, store: Path, labels: Path) -> None:
        words = ["label", str(store), "--labels", str(labels), "--json"]
        command = [sys.executable, "-m", "featx", *words]
        start = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.opening_s = time.perf_counter() - start
        self.address, _, self.token = said["address"].partition("#token=")

    def ask(self, path: str, body: Any = None) -> Any:
        """Return what the server answers."""
        request = urllib.request.Request(
            f"{self.address}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def wait_for_measures(self) -> None:
        """Return once the page has the measures of all labels."""
        while self.ask("api/state")["is_measuring"]:
            time.sleep(0.01)

    def peak_mb(self) -> float:
        """Return the most memory that the process held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def stop(self) -> None:
        """End the process."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def generate(n: int, n_classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return features that resemble a CNN's after a ReLU and a mean, and their classes."""
    y = rng.integers(n_classes, size=n)
    scales = (1 + np.arange(N_FEATURES)) ** -0.5
    turn = np.linalg.qr(rng.normal(size=(N_FEATURES, N_FEATURES)))[0]
    centres = rng.normal(size=(n_classes, N_FEATURES)) * scales
    X = np.empty((n, N_FEATURES), np.float32)
    for start in range(0, n, 10_000):
        block = slice(start, start + 10_000)
        noise = rng.normal(size=(len(y[block]), N_FEATURES)) * scales
        X[block] = np.maximum((centres[y[block]] + noise) @ turn, 0)
    return X, y


def write_labels(path: Path, y: np.ndarray) -> None:
    """Write the first labels of each class."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for c in np.unique(y):
            rows = np.flatnonzero(y == c)[:LABELS_PER_CLASS]
            writer.writerows([f"{row}.jpg", f"class {c}"] for row in rows)


def measure(server: Server, y: np.ndarray, n_strokes: int) -> dict[str, list[float]]:
    """Return the seconds of strokes."""
    found: dict[str, list[float]] = {
        name: [] for name in (*WAITS, "measures", *(f"{wait} in a row" for wait in WAITS))
    }
    shown: list[int] = []

    def stroke(wait: str = "page") -> float:
        """Label an image, and wait for what follows."""
        if not shown:
            shown.extend(s["row"] for s in server.ask(suggestions)["suggestions"])
        row = shown.pop(0)
        body = {"labels": [{"row": row, "label": f"class {y[row]}"}]}
        start = time.perf_counter()
        server.ask("api/labels", body)
        if wait == "guesses":
            server.ask("api/guesses", {"rows": shown})
        if wait == "page":
            shown[:] = [s["row"] for s in server.ask(suggestions)["suggestions"]]
        return time.perf_counter() - start

    suggestions = f"api/suggestions?n={N_SHOWN}"
    stroke()  # a first one loads what all need
    server.wait_for_measures()
    for _ in range(n_strokes):
        for wait in WAITS:
            start = time.perf_counter()
            found[wait].append(stroke(wait))
            server.wait_for_measures()
            found["measures"].append(time.perf_counter() - start)
    for _ in range(n_strokes):
        for wait in WAITS:
            found[f"{wait} in a row"].append(stroke(wait))
    return found


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[20, 200, 500])
    parser.add_argument("--strokes", type=int, default=20, help="of each kind")
    args = parser.parse_args()
    kept = []
    for n in args.images:
        for n_classes in args.classes:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                X, y = generate(n, n_classes, np.random.default_rng(0))
                paths = [str(folder / f"{row}.jpg") for row in range(n)]
                Image.new("RGB", (64, 48), (90, 120, 60)).save(paths[0])
                for path in paths[1:]:
                    Path(path).symlink_to(paths[0])
                write_features(folder / "f.h5", X, paths=paths).close()
                del X
                write_labels(folder / "l.csv", y)
                server = Server(folder / "f.h5", folder / "l.csv")
                try:
                    found = measure(server, y, args.strokes)
                    peak_mb = server.peak_mb()
                finally:
                    server.stop()
            limit = LIMITS_S.get(n, np.inf)
            print(f"{n:,} images, {n_classes} classes: opened in {server.opening_s:.1f} s, "
                  f"at most {peak_mb:,.0f} MB")  # fmt: skip
            figures: dict[str, Any] = {"images": n, "classes": n_classes,
                                       "opening_s": round(server.opening_s, 2),
                                       "peak_mb": round(peak_mb)}  # fmt: skip
            for what, seconds in found.items():
                median, most = np.percentile(seconds, [50, 95])
                is_lost = what != "measures" and median > limit
                lost = "  LOST" if is_lost else ""
                print(f"  {what:17} {1e3 * median:6.0f} ms, 95 % under {1e3 * most:6.0f} ms{lost}")
                figures[what] = {"median_s": round(median, 4), "p95_s": round(most, 4)}
            kept.append(figures)
    keep("label_strokes", {"strokes": args.strokes, "sizes": kept})


if __name__ == "__main__":
    main()
