"""Attribute detection: several labels per image.

    python -m pipelines.attributes --data DIR --dataset celeba --backbone resnet50

The set's own split, or the last quarter tests. VOC's twenty classes are attributes too.
"""

from __future__ import annotations

import argparse
import sys

from pipelines.options import add_common, data_set, run, sweep
from pipelines.protocols import run_attributes


def main() -> None:
    """Run every preset on one data set and write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.attributes")
    add_common(parser, dataset="celeba", presets=["plain", "places"])
    parser.add_argument("--limit", type=int, help="take the first so many images")
    args = parser.parse_args()
    data = data_set(args, needs="attributes")
    if args.limit:
        data = data.subset(range(min(args.limit, len(data))))
    sweep(
        "attributes",
        data,
        args,
        run_attributes,
    )


if __name__ == "__main__":
    sys.exit(run(main))
