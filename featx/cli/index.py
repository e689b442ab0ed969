"""``featx index``."""

from __future__ import annotations

import argparse
import time
from typing import Any

from featx.cli._options import add_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("store", metavar="F.h5")
    parser.add_argument("--out", required=True, metavar="INDEX", help="file of the index")
    parser.add_argument(
        "--kind", default="auto", choices=["auto", "exact"], help="auto is exact (default auto)"
    )
    parser.add_argument("--metric", default="cosine", choices=["cosine", "euclidean", "dot"])
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Build and save; vectors are copied block by block."""
    from featx.retrieval import RetrievalIndex
    from featx.store import open_store

    start = time.monotonic()
    with open_store(args.store, table=args.table) as store:
        index = RetrievalIndex(args.metric, storage="store").fit(store)
        index.save(args.out)
        return {
            "n_samples": index.n_samples_fit_,
            "n_features": index.n_features_in_,
            "kind": "exact",
            "metric": args.metric,
            "fingerprint": store.fingerprint,
            "seconds": time.monotonic() - start,
            "out": args.out,
        }


def show(result: dict[str, Any]) -> str:
    """Say what was built."""
    return (
        f"{result['n_samples']} images, {result['kind']}, {result['metric']}, in "
        f"{result['seconds']:.1f} s; saved to {result['out']}"
    )
