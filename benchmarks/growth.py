"""Peak memory and time an image, from 1,000 to 100,000 images.

    python benchmarks/growth.py [--sizes 1000 10000 100000]

Generated JPEGs of 48 px, a network of one layer, so that what grows is featx and not the network.
Each size runs in a process of its own; memory is the peak of it and its readers together, sampled
every 50 ms (proportional set size, so that shared pages count once). Then the same again with
nothing changed, and with 1 % of the images added.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from common import keep
from PIL import Image

CODE = """
import sys, torch, featx
class Mean(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten(1)
store = featx.extract(sys.argv[1], sys.argv[2], backbone=Mean(), resize_px=32, crop_px=32,
                      batch_size=64, workers=2, precision="float32", progress=False)
print(store.summary.seconds, store.summary.images_per_second)
"""


def draw(folder, start, stop):
    """Write different small JPEGs, numbers `start` to `stop`."""
    rng = np.random.default_rng(start)
    for i in range(start, stop):
        place = folder / f"{i // 1000:03}"
        place.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((48, 48)).save(place / f"{i:06}.jpg", quality=60)


def peak_of(process):
    """Return the highest memory in MiB that a process and its children have had, when it ends."""
    import psutil

    peak = 0.0
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        try:
            for one in [parent, *parent.children(recursive=True)]:
                total += one.memory_full_info().pss
        except psutil.Error:
            continue
        peak = max(peak, total / 2**20)
        time.sleep(0.05)
    return peak


def main():
    """Run each size and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    args = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for n in args.sizes:
            (root / str(n)).mkdir()
            draw(root / str(n), 0, n)
            for run in ("first run", "unchanged", "1 % added"):
                if run == "1 % added":
                    draw(root / str(n), n, n + n // 100)
                process = subprocess.Popen(
                    [sys.executable, "-c", CODE, str(root / str(n)), str(root / f"{n}.h5")],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                found = []
                watcher = threading.Thread(
                    target=lambda p=process, to=found: to.append(peak_of(p))
                )
                watcher.start()
                seconds, _ = map(float, process.communicate()[0].split())
                watcher.join()
                figures[f"{n} images, {run}"] = {
                    "peak_mib": round(found[0]),
                    "ms_per_image": round(1000 * seconds / n, 4),
                    "seconds": round(seconds, 1),
                }
                print(n, run, figures[f"{n} images, {run}"])
    keep("growth", figures)


if __name__ == "__main__":
    main()
