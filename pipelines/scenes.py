"""Scene recognition on a set's own split.

    python -m pipelines.scenes --data DIR --dataset mit67 --backbone resnet50

Training images of the split train; with --labels-per-class a few of them.
"""

from __future__ import annotations

import argparse
import sys

from featx.tasks import run_classification, task_report
from pipelines.options import add_common, command_line, data_set, network, run, write


def main() -> None:
    """Run every preset on one data set and write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.scenes")
    add_common(parser, dataset="scene15", presets=["plain", "best"])
    parser.add_argument("--labels-per-class", type=int, help="drawn anew for each repeat")
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
    page = task_report(results, command=command_line("pipelines.scenes"))
    write(args.out, "scenes", page, [r.to_dict() for r in results])


if __name__ == "__main__":
    sys.exit(run(main))
