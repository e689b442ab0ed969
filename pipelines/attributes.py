"""Attribute detection: several labels an image.

    python -m pipelines.attributes --data DIR --dataset celeba --backbone resnet50

The set's own split, or the last quarter tests. VOC's twenty classes are attributes too.
"""

from __future__ import annotations

import argparse
import sys

from featx.tasks import run_attributes, task_report
from pipelines.options import add_common, command_line, data_set, network, run, write


def main() -> None:
    """Run every preset on one data set and write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.attributes")
    add_common(parser, dataset="celeba", presets=["plain", "places"])
    parser.add_argument("--limit", type=int, help="take the first so many images")
    args = parser.parse_args()
    data = data_set(args, needs="attributes")
    if args.limit:
        data = data.subset(range(min(args.limit, len(data))))
    results = []
    for preset in args.presets:
        result = run_attributes(
            data, args.out / "features.h5", network=network(args), preset=preset
        )
        print(result)
        results.append(result)
    page = task_report(results, command=command_line("pipelines.attributes"))
    write(args.out, "attributes", page, [r.to_dict() for r in results])


if __name__ == "__main__":
    sys.exit(run(main))
