"""``featx compare``."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from featx._repr import show_count
from featx.backbones.names import split_folder
from featx.cli._messages import show_coverage
from featx.cli._outputs import add_output, add_page
from featx.cli._sources import find_labelled
from featx.cli.options import (
    RUN,
    add_labels,
    add_options,
    add_preset,
    add_sources,
    as_source,
    read_options,
)

COMPARED = ("layers", "poolings", "resize_px", "crop_px", "decode", "precision")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import Encoder, RunOptions
    from featx.tasks import compare

    add_sources(parser)
    add_output(
        parser,
        "--store",
        "store",
        required=True,
        metavar="F.h5",
        help="store that keeps all features",
    )
    parser.add_argument(
        "--backbone",
        dest="backbones",
        action="append",
        metavar="NAME[=FILE]",
        help="a network, with its weights file if it is not downloaded; also local-dir:FOLDER, "
        "hf/FOLDER, or a network of another package; give it several times "
        "(default featx_base)",
    )
    add_options(parser, Encoder, COMPARED)
    add_preset(parser, "views and classifier for all networks (default plain)")
    add_labels(parser)
    add_options(
        parser, compare, (), n_folds="most folds of the cross-validation",
        over_layers="take N layers of each network, evenly over its depth, instead of --layer",
    )  # fmt: skip
    add_options(parser, RunOptions, RUN)
    add_page(parser, "plots")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare, and write the page."""
    from featx.extraction import Encoder, RunOptions
    from featx.extraction.encoder import DEFAULT_BACKBONE
    from featx.tasks import compare, comparison_report

    paths, labelled = find_labelled(as_source(args.source), args.labels)
    encoders = [
        read_options(args, partial(Encoder, name, weights=file or "default"))
        for name, file in map(_split, args.backbones or [DEFAULT_BACKBONE])
    ]
    run = read_options(args, RunOptions)
    found = read_options(args, partial(compare, paths, labelled.labels, args.store, encoders, run))
    result = found.to_dict()
    if args.html:
        result["report"] = str(comparison_report(found).save(args.html))
    return {**result, **labelled.coverage.to_dict(), "table": str(found)}


def _split(word: str) -> tuple[str, str]:
    """Return the name of a network, and its file where one is given."""
    folder = split_folder(word, "default")[1]
    if folder != "default":  # whose own name may have a "=" in it
        return word, ""
    name, _, file = word.partition("=")
    return name, file


def show(result: dict[str, Any]) -> str:
    """Print the table."""
    lines = [result["table"]]
    lines.append(
        f"{show_count(result['n_images'], 'image')} of "
        f"{show_count(result['n_classes'], 'class')}, {show_count(result['n_folds'], 'fold')}"
        + (f"; {result['n_failed']} could not be read" if result["n_failed"] else "")
    )
    return "\n".join([*lines, *show_coverage(result)])
