"""``featx compare``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli._labels import labelled_images, show_coverage
from featx.cli._options import add_run, add_sources, as_source, defaults_of
from featx.cli._outputs import PAGE, add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import RunOptions
    from featx.tasks import compare

    defaults = defaults_of(RunOptions) | defaults_of(compare)
    add_sources(parser)
    add_output(
        parser, "--store", "store", required=True, metavar="F.h5", help="keeps all features"
    )
    parser.add_argument(
        "--backbone",
        action="append",
        metavar="NAME[=FILE]",
        help="a network, with its weights file where it is not downloaded; give it several times "
        "(default featx_small)",
    )
    parser.add_argument("--layer", action="append", help="a layer; several times for several")
    parser.add_argument("--pooling", action="append", help="a pooling; several times for several")
    parser.add_argument(
        "--preset", default=defaults["preset"], help="plain, svm, sqrt, hflip, ten-crop or best"
    )
    parser.add_argument("--labels", metavar="L.csv", help="columns path and label")
    parser.add_argument("--folds", type=int, default=defaults["n_folds"], help="default 5")
    parser.add_argument("--device", default=defaults["device"], help="auto, cpu, cuda")
    add_output(parser, "--html", PAGE, metavar="OUT.html", help="write a page with a plot")
    add_run(parser, defaults)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare, and write the page."""
    from featx.extraction import Encoder, RunOptions
    from featx.tasks import compare, comparison_report

    paths, labelled = labelled_images(as_source(args.source), args.labels)
    named = [word.partition("=") for word in args.backbone or ["featx_small"]]
    found = compare(
        paths,
        labelled.labels,
        args.store,
        [
            Encoder(name, weights=file or "default", layers=args.layer, poolings=args.pooling)
            for name, _, file in named
        ],
        RunOptions(args.device, batch_size=args.batch_size, workers=args.workers),
        preset=args.preset,
        n_folds=args.folds,
    )
    result = found.to_dict()
    if args.html:
        result["report"] = str(comparison_report(found).save(args.html))
    return {**result, **labelled.coverage.to_dict(), "table": str(found)}


def show(result: dict[str, Any]) -> str:
    """Print the table."""
    lines = [result["table"]]
    lines.append(
        f"{result['n_images']} images of {result['n_classes']} classes, {result['n_folds']} folds"
        + (f"; {result['n_failed']} could not be read" if result["n_failed"] else "")
    )
    lines += show_coverage(result)
    if "report" in result:
        lines.append(f"plot: {result['report']}")
    return "\n".join(lines)
