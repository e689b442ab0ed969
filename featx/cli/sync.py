"""``featx sync``."""

from __future__ import annotations

import argparse
from typing import Any

from featx._repr import show_count
from featx.cli.options import add_table

# Below, neighbours are missing that an index should find.
GOOD_RECALL = 0.9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("store", metavar="F.h5", help="a store, which featx extract wrote")
    parser.add_argument(
        "url",
        metavar="URL",
        help="lancedb:///folder, qdrant://host:port/collection, postgresql://user@host/database, "
        "sqlite:///file, duckdb:///file or milvus:///file.db; ?table=NAME at the end names "
        "the table (default featx)",
    )
    parser.add_argument(
        "--anew",
        action="store_true",
        help="remove the table first, for another recipe or other columns; only a table that "
        "featx made",
    )
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write what differs."""
    from featx.databases import sync

    return sync(args.store, args.url, table=args.table, anew=args.anew).to_dict()


def notes(result: dict[str, Any]) -> list[str]:
    """Say where the database finds too little."""
    if result["recall"] >= GOOD_RECALL:
        return []
    share = f"{result['recall']:.2f} of the 10 nearest"
    return [f"the database finds {share}; docs/databases.md says how to tune its index"]


def show(result: dict[str, Any]) -> str:
    """Say what was done."""
    return (
        f"{result['added']} added, {result['updated']} updated, {result['removed']} removed; "
        f"{show_count(result['n_samples'], 'row')}, recall at 10 {result['recall']:.3f}"
    )
