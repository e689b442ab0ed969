"""Options that several commands share; their defaults are the library's."""

from __future__ import annotations

import argparse
import inspect
import math
from typing import Any

__all__ = [
    "add_max_pixels",
    "add_network",
    "add_run",
    "add_sources",
    "add_table",
    "as_source",
    "defaults_of",
    "show_figure",
]


def defaults_of(function: Any) -> dict[str, Any]:
    """Return the defaults in a function's signature."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def add_sources(parser: argparse.ArgumentParser, *, stores: bool = False) -> None:
    """Add SOURCE..., with `stores` also stores instead."""
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a folder (label = the folder an image lies in), an image, a glob, or a CSV with a "
        "column 'path'" + ("; or stores, whose vectors are taken" if stores else ""),
    )


def as_source(words: list[str]) -> str | list[str]:
    """Return one source by itself, several as a list."""
    return words[0] if len(words) == 1 else words


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add --table."""
    parser.add_argument(
        "--table",
        help="fingerprint of the table, or its beginning; needed where there are several",
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add where a saved recipe's network finds its weights and runs."""
    parser.add_argument(
        "--weights", help="weights file, where it is no longer where it was at extraction"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default auto)")


def add_run(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    """Add --batch-size and --workers."""
    size = defaults["batch_size"]
    parser.add_argument(
        "--batch-size",
        type=int,
        default=size,
        help=f"images a forward pass (default {'32, on a GPU 256' if size is None else size})",
    )
    parser.add_argument("--workers", type=int, help="reader processes (default one a core)")


def show_figure(value: float | None) -> str:
    """Return a measured figure as text; NaN and None are none."""
    return "not measured" if value is None or math.isnan(value) else f"{value:.3f}"


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    """Add --max-pixels."""
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="largest image that is decoded, width x height (default 178956970)",
    )
