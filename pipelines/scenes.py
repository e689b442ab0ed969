"""Scene recognition on a set's own split.

    python -m pipelines.scenes --data DIR --dataset mit67 --backbone resnet50

Training images of the split train; with --labels-per-class a few of them.
"""

from __future__ import annotations

import argparse
import sys

from pipelines.options import add_common, data_set, run, sweep
from pipelines.protocols import run_classification


def main() -> None:
    """Run every preset on one data set and write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.scenes")
    add_common(parser, dataset="scene15", presets=["plain", "best"])
    parser.add_argument("--labels-per-class", type=int, help="drawn anew for each repeat")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    data = data_set(args, needs="labels")
    sweep(
        "scenes",
        data,
        args,
        run_classification,
        n_per_class=args.labels_per_class,
        n_repeats=args.repeats,
    )


if __name__ == "__main__":
    sys.exit(run(main))
