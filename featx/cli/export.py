"""``featx export``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli._outputs import add_output
from featx.cli.options import add_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("store", metavar="F.h5")
    add_output(
        parser,
        "out",
        {".npz": "npz", ".npy": "npy", ".parquet": "parquet", ".csv": "csv"},
        metavar="OUT",
        help="ends in .npz (arrays features, paths, labels), .npy (features), .parquet or .csv "
        "(columns path, label)",
    )
    parser.add_argument(
        "--labels-only",
        action="store_true",
        help="without the features, to a .csv: a label file, which featx label goes on with",
    )
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Copy a table."""
    from featx.store import export_store, open_store

    export_store(args.store, args.out, table=args.table, labels_only=args.labels_only)
    with open_store(args.store, table=args.table) as store:
        n_features = 0 if args.labels_only else store.n_features
        return {"out": args.out, "n_samples": store.n_samples, "n_features": n_features}


def show(result: dict[str, Any]) -> str:
    """Say what was written."""
    n, n_features = result["n_samples"], result["n_features"]
    what = f"{n} x {n_features}" if n_features else f"the labels of {n} images"
    return f"{what} written to {result['out']}"
