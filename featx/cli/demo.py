"""``featx demo``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli._outputs import add_output
from featx.cli.options import add_options, read_options

MEASURES = {"map": "mean average precision", "accuracy": "accuracy"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.demo import run_demo

    add_output(
        parser,
        "--out",
        "folder",
        default="featx-demo",
        metavar="DIR",
        help="folder for the report (default featx-demo)",
    )
    add_options(parser, run_demo, ("backbone", "weights", "device"))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run all tasks on the sample images."""
    from featx.demo import run_demo

    return read_options(args, run_demo)


def show(result: dict[str, Any]) -> str:
    """Print each task's figure and where the report is."""
    lines = [
        (
            f"{result['images']} sample images through {result['backbone']} in "
            f"{result['seconds']:.1f} s; in brackets the same from raw pixels, without a network:"
        )
    ]
    for name, task in result["tasks"].items():
        measure = "map" if "map" in task else "accuracy"
        lines.append(
            f"  {name.replace('_', '-'):14}{MEASURES[measure]:24}{task[measure]:.3f}   "
            f"({task[f'{measure}_pixels']:.3f})"
        )
    return "\n".join(lines)
