"""A model of extraction by many workers: the measured small runs first, then larger ones.

    python benchmarks/scale_model.py

Workers start, each takes the next shard when it has finished one (event by event), and the driver
copies the rows at the end. Everything it is given was measured on the machine of
``benchmarks/results`` (two cores): see docs/scale.md. Prints how far it is from the measured runs.
"""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass

from common import ROOT

LIST_PER_S = 100_000 / 0.15  # docs/benchmarks/decode.md
RESULTS = ROOT / "benchmarks" / "results" / "x86_64-2cores-cpu.json"
MEASURED = json.loads(RESULTS.read_text())["scale"]
MERGE_ROWS_PER_S = MEASURED["merged_rows_per_second"]  # 1,260 float32 per row


@dataclass(frozen=True)
class Worker:
    """What one worker does alone: images per second, and seconds until its first."""

    rate: float
    start_s: float


def simulate(n, n_workers, worker, *, shard=128):
    """Return the seconds until the last row is in the store."""
    free = [(worker.start_s, i) for i in range(n_workers)]
    heapq.heapify(free)
    left, end = n, 0.0
    while left:
        at, who = heapq.heappop(free)
        size = min(shard, left)
        left -= size
        at += size / worker.rate
        end = max(end, at)
        heapq.heappush(free, (at, who))
    return n / LIST_PER_S + end + n / MERGE_ROWS_PER_S


def main():
    """Compare with the measured runs, then go on."""
    n, one = MEASURED["n_images"], MEASURED["Ray, 1 actor"]
    worker = Worker(one["images_per_second_once_started"], one["start_seconds"])
    for name, n_workers in (("Ray, 1 actor", 1), ("Ray, 2 actors", 2)):
        expected, found = simulate(n, n_workers, worker), MEASURED[name]["seconds"]
        print(
            f"{name}: model {expected:.1f} s, measured {found:.1f} s, {expected / found - 1:+.0%}"
        )
    for n, shard in ((10**6, 512), (10**8, 65536)):
        for n_workers in (8, 64, 512, 4096):
            whole = simulate(n, n_workers, worker, shard=shard)
            share = n / MERGE_ROWS_PER_S / whole
            print(
                f"{n:.0e} images, {n_workers} cores: {whole / 3600:.2f} h, {share:.0%} of it merge"
            )


if __name__ == "__main__":
    main()
