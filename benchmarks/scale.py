"""One extraction by one process, by Ray with one and two actors, and by two shards, interleaved.

    python benchmarks/scale.py [--images 3000] [--repeats 3]

mobilenet_v2 on the shared photographs, evenly over all sets. Seconds of the whole call in a
process that has imported featx, and for Ray has a cluster of this machine's cores running;
actors start anew in each. The rate without the start comes from a second size, half as many:
(images - half) / (seconds - seconds of half). Rows are compared with those of one process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import WEIGHTS, keep, need_assets, some_photographs
from growth import draw

import featx
from featx.extraction.shards import shards_folder
from featx.store import StoreWriter, open_store

NET = {"backbone": "mobilenet_v2", "weights": WEIGHTS, "device": "cpu", "progress": False}


def alone(paths, store):
    """Extract in one process."""
    featx.extract(paths, store, **NET).close()


def by_ray(actors):
    """Return what extracts with so many actors."""

    def run(paths, store):
        from featx.extraction import RayOptions

        options = RayOptions(actors=actors, images_per_shard=128)
        featx.extract(paths, store, engine="ray", ray=options, **NET).close()

    return run


def one_shard(paths, store, rank):
    """Extract one of two parts on one core, reading in the same process."""
    torch.set_num_threads(1)
    featx.extract(paths, store, shard=(rank, 2), workers=0, **NET).close()


def by_shards(paths, store):
    """Extract by two processes."""
    context = multiprocessing.get_context("spawn")
    parts = [context.Process(target=one_shard, args=(paths, store, r)) for r in range(2)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
        if part.exitcode:
            raise RuntimeError(f"a shard ended with {part.exitcode}")


CONTENDERS = {
    "one process": alone,
    "Ray, 1 actor": by_ray(1),
    "Ray, 2 actors": by_ray(2),
    "2 shards": by_shards,
}


class Mean(torch.nn.Module):
    """A network that costs nothing, with 1,260 features."""

    def forward(self, x):
        """Average over a grid."""
        return torch.nn.functional.adaptive_avg_pool2d(x, (20, 21)).flatten(1)


def merging(n):
    """Return the rows per second of putting two complete shards together, planning included."""
    options = {
        "backbone": Mean(), "resize_px": 32, "crop_px": 32, "precision": "float32",
        "device": "cpu", "engine": "torch", "batch_size": 64, "progress": False,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name) / "images", Path(name) / "f.h5"
        folder.mkdir()
        draw(folder, 0, n)
        shards_folder(store).mkdir()
        busy = shards_folder(store) / "busy.h5"
        with StoreWriter(busy):  # so that neither puts them together
            for rank in range(2):
                featx.extract(folder, store, shard=(rank, 2), **options).close()
        busy.unlink()
        start = time.perf_counter()
        with featx.extract(folder, store, **options) as opened:
            assert opened.summary.extracted == n
        return n / (time.perf_counter() - start)


def rows_of(store):
    """Return every row's bytes by path, and the order."""
    with open_store(store) as opened:
        return opened[:].tobytes(), opened.paths.tolist()


def main():
    """Measure and keep."""
    need_assets()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    import ray

    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    paths = some_photographs(args.images)
    sizes = {"half": paths[::2], "all": paths}
    seconds = {(name, size): [] for name in CONTENDERS for size in sizes}
    same = dict.fromkeys(CONTENDERS, True)
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(args.repeats):
            for size, some in sizes.items():
                expected = None
                for k, (name, run) in enumerate(CONTENDERS.items()):
                    store = Path(folder) / f"{repeat}-{size}-{k}.h5"
                    start = time.perf_counter()
                    run(some, store)
                    seconds[name, size].append(time.perf_counter() - start)
                    found = rows_of(store)
                    expected = expected or found
                    same[name] &= found == expected
                    store.unlink()
    ray.shutdown()
    figures = {}
    for name in CONTENDERS:
        whole, half = np.array(seconds[name, "all"]), np.array(seconds[name, "half"])
        base = np.array(seconds["one process", "all"])
        rate = (len(paths) - len(sizes["half"])) / (np.median(whole) - np.median(half))
        figures[name] = {
            "seconds": float(np.median(whole)),
            "ratio_to_one_process": float(np.median(base / whole)),
            "images_per_second_once_started": float(rate),
            "start_seconds": float(np.median(whole) - len(paths) / rate),
            "same_rows": same[name],
        }
    figures["merged_rows_per_second"] = float(np.median([merging(20_000) for _ in range(3)]))
    keep("scale", {"n_images": len(paths), "repeats": args.repeats, **figures})


if __name__ == "__main__":
    main()
