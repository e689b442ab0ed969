"""Image classification from a few labels per class.

    python -m pipelines.classification --data DIR --backbone resnet50 --labels-per-class 10

The rest is tested on, for ten draws; a set with a split of its own uses it.
"""

from __future__ import annotations

import argparse
import sys

from pipelines.options import add_common, data_set, run, sweep
from pipelines.protocols import run_classification


def main() -> None:
    """Run every preset on one data set and write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.classification")
    add_common(parser, dataset="image_folder", presets=["plain", "best"])
    parser.add_argument(
        "--labels-per-class", type=int, default=10, help="drawn anew for each repeat"
    )
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    data = data_set(args, needs="labels")
    sweep(
        "classification",
        data,
        args,
        run_classification,
        n_per_class=args.labels_per_class,
        n_repeats=args.repeats,
    )


if __name__ == "__main__":
    sys.exit(run(main))
