"""``featx suggest``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from featx.cli._streams import show_name
from featx.cli.options import add_options, add_table, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.labelling import suggest

    parser.add_argument("store", metavar="F.h5", help="a store, which featx extract wrote")
    parser.add_argument(
        "--labels", metavar="L.csv", help="the labels so far (default none; see featx label)"
    )
    parser.add_argument("-n", type=int, default=argparse.SUPPRESS, help="how many (default 24)")
    add_options(
        parser,
        suggest,
        (),
        strategy="auto, typical, uncertain or random",
        random_state="seed of what is drawn at random",
    )
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Choose what to label next."""
    from featx.labelling import suggest
    from featx.store import open_store

    # a label file that is not there yet, as before the first label, has none
    is_new = bool(args.labels) and not os.path.lexists(args.labels)
    note = f"--labels {args.labels!r}: there is no such file yet, and no image counts as labelled"
    labels = None if is_new else args.labels
    with open_store(args.store, table=args.table) as store:
        store.require_images()
        args.store, args.labels = store, labels
        found = read_options(args, suggest)
    suggestions = [s.to_dict() for s in found]
    return {"suggestions": suggestions, "n": len(found), "notes": [note] if is_new else []}


def notes(result: dict[str, Any]) -> list[str]:
    """Say what may not have been meant."""
    return list(result["notes"])


def show(result: dict[str, Any]) -> str:
    """Print a line for each image."""
    if not result["suggestions"]:
        return "every image has a label"
    lines = []
    for s in result["suggestions"]:
        guess = "" if s["label"] is None else f"  {s['label'] or 'none'} {s['confidence']:.2f}"
        lines.append(f"{show_name(s['path'])}{guess}  ({s['reason']})")
    return "\n".join(lines)
