"""Where the time of an extraction goes, for three networks, on photographs and on large ones.

    python benchmarks/stages.py [--images 600] [--repeats 5]

`featx.tasks.benchmark` on a part of the shared photographs, evenly over all sets, and on 40 of
them made 3,000 px long (each several times). resnet50 has random weights, which changes no speed.
For mobilenet_v2 also over the numbers of workers and the batch sizes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import ASSETS, SETS, WEIGHTS, keep, need_assets
from peers import photographs

import featx
from featx.extraction import RunOptions
from featx.tasks import benchmark

NETWORKS = {"featx_small": "default", "mobilenet_v2": WEIGHTS, "resnet50": None}
N_LARGE = 160


def main():
    """Measure and keep."""
    need_assets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    every = featx.ImageManifest.from_source([ASSETS / "datasets" / name for name in SETS])
    with tempfile.TemporaryDirectory() as folder:
        photographs(N_LARGE, Path(folder), large=True)
        sources = {"photographs": every, "3,000 px": Path(folder) / "images"}
        for kind, source in sources.items():
            for name, weights in NETWORKS.items():
                found = benchmark(
                    source, featx.Encoder(name, weights=weights),
                    RunOptions("cpu", progress=False),
                    n_images=args.images, repeats=args.repeats, sweep=name == "mobilenet_v2",
                )  # fmt: skip
                figures = found.to_dict()
                sweeps = figures.pop("sweeps")
                keep(f"stages, {name}, {kind}", figures)
                if sweeps:
                    keep(f"sweep, {name}, {kind}", {s.pop("setting"): s for s in sweeps})


if __name__ == "__main__":
    main()
