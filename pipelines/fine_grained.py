"""Fine-grained recognition: birds, flowers, pets.

    python -m pipelines.fine_grained --data DIR --dataset flowers102 --backbone resnet50

Training images of the split train. Birds are cut to their boxes, half as large again, as in
Razavian et al. 2014; --whole takes the whole pictures.
"""

from __future__ import annotations

import argparse
import sys

from pipelines.datasets import write_crops
from pipelines.options import add_common, data_set, run, sweep
from pipelines.protocols import run_classification


def main() -> None:
    """Run every preset on one data set and write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.fine_grained")
    add_common(parser, dataset="flowers102", presets=["plain", "best"])
    parser.add_argument("--labels-per-class", type=int, help="drawn anew for each repeat")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--whole", action="store_true", help="leave boxes alone")
    args = parser.parse_args()
    data = data_set(args, needs="labels")
    if data.boxes is not None and not args.whole:
        data = write_crops(data, args.out / "crops", enlarge=1.5)
    sweep(
        "fine_grained",
        data,
        args,
        run_classification,
        n_per_class=args.labels_per_class,
        n_repeats=args.repeats,
    )


if __name__ == "__main__":
    sys.exit(run(main))
