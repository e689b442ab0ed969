"""Image retrieval: the same thing in other pictures.

    python -m pipelines.retrieval --data DIR --dataset roxford5k --protocol medium

paired_folders takes any two folders, query/ and reference/, where equal names are the same thing.
"""

from __future__ import annotations

import argparse
import sys

from featx import ImageManifest
from pipelines.datasets import write_crops
from pipelines.options import add_common, data_set, run, sweep
from pipelines.protocols import run_retrieval


def main() -> None:
    """Run every preset on one data set and write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.retrieval")
    add_common(parser, dataset="paired_folders", presets=["plain", "paper", "best"])
    parser.add_argument("--whiten-on", metavar="FOLDER", help="images to learn whitening from")
    parser.add_argument("--protocol", help="default: the set's first")
    args = parser.parse_args()
    data = data_set(args, needs="queries")
    if data.query_boxes is not None:
        data = write_crops(data, args.out / "queries")
    others = list(ImageManifest.from_source(args.whiten_on).paths) if args.whiten_on else None
    sweep(
        "retrieval",
        data,
        args,
        run_retrieval,
        protocol=args.protocol,
        whiten_on=others,
    )


if __name__ == "__main__":
    sys.exit(run(main))
