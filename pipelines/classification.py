"""Image classification from a few labels a class.

    python -m pipelines.classification --data DIR --backbone resnet50 --labels-per-class 10

The rest is tested on, for ten draws; a set with a split of its own uses it.
"""

from __future__ import annotations

import argparse
import sys

from featx.tasks import run_classification, task_report
from pipelines.options import add_common, command_line, data_set, network, run, write


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
    results = []
    for preset in args.presets:
        result = run_classification(
            data,
            args.out / "features.h5",
            network=network(args),
            preset=preset,
            n_per_class=args.labels_per_class,
            n_repeats=args.repeats,
        )
        print(result)
        results.append(result)
    page = task_report(results, command=command_line("pipelines.classification"))
    write(args.out, "classification", page, [r.to_dict() for r in results])


if __name__ == "__main__":
    sys.exit(run(main))
