"""``featx map``."""

from __future__ import annotations

import argparse
from typing import Any

from featx._repr import show_count
from featx.cli._outputs import add_output
from featx.cli.options import add_options, add_table

PAGE = {".html": "map", ".htm": "map"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.mapping import draw_map

    parser.add_argument("store", metavar="F.h5|INDEX", help="a store, or a file of featx index")
    add_output(
        parser, "--html", PAGE, required=True, metavar="OUT.html", help="the page; images of an "
        "older map there keep their places"
    )  # fmt: skip
    parser.add_argument(
        "--labels",
        metavar="L.csv",
        help="a CSV with the columns path and label (default its own labels)",
    )
    add_options(
        parser, draw_map, ("workers",),
        anew="make a new map instead of adding to the old one",
        random_state="seed of the projection",
    )  # fmt: skip
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Draw the map."""
    from featx.mapping import draw_map

    names = ("workers", "anew", "random_state")
    options = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return draw_map(
        args.store, args.html, labels=args.labels, table=args.table, **options
    ).to_dict()


def show(result: dict[str, Any]) -> str:
    """Say what is on the map."""
    where = "placed" if not result["is_kept"] else "new among those that kept their places"
    text = (
        f"{show_count(result['n_samples'], 'image')}, {result['n_new']:,} {where}, "
        f"{result['n_labelled']:,} with a label, in {result['seconds']:.1f} s; "
        f"{result['n_bytes'] / 1e6:,.1f} MB"
    )
    if result["n_without_picture"]:
        text += (
            f"\n{result['n_without_picture']:,} without a picture, since their files are gone or "
            "cannot be read"
        )
    if result["is_kept"] and 2 * result["n_new"] > result["n_samples"]:
        text += "\nmost of them are new: --anew lays all of them out again"
    return text
