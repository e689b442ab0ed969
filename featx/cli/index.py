"""``featx index``."""

from __future__ import annotations

import argparse
import time
from typing import Any

from featx.cli._outputs import add_output
from featx.cli.options import add_options, add_table, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.retrieval import RetrievalIndex

    parser.add_argument("store", metavar="F.h5")
    add_output(parser, "--out", "index", required=True, metavar="INDEX", help="file of the index")
    add_options(
        parser, RetrievalIndex, (),
        metric="cosine, euclidean or dot",
        kind="auto, exact, hnsw or ivf: exact compares with every image; hnsw and ivf with a part "
        "of them, through faiss; auto is exact up to 1 GiB of vectors, then ivf",
        codes="what hnsw and ivf hold of a vector: float32, float16, int8, pq, or auto, what fits "
        "the memory",
        target_recall="share of the first 10 that hnsw and ivf should find",
        dtype="of the vectors in the file: float32, or float16, which takes half",
    )  # fmt: skip
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Build and save; vectors are copied block by block."""
    from featx.retrieval import RetrievalIndex
    from featx.store import open_store

    start = time.monotonic()
    with open_store(args.store, table=args.table) as store:
        store.require_images()
        index = read_options(args, RetrievalIndex, storage="store").fit(store)
        index.save(args.out)
        recall = index.recall_
        return {
            "n_samples": index.n_samples_fit_,
            "n_features": index.n_features_in_,
            "kind": index.kind_.name,
            "codes": None if recall is None else index.kind_.codes,
            "reason": index.kind_.reason,
            "recall": 1.0 if recall is None else recall.recall,
            "metric": index.metric,
            "fingerprint": store.fingerprint,
            "seconds": time.monotonic() - start,
            "out": args.out,
        }


def show(result: dict[str, Any]) -> str:
    """Say what was built."""
    kind = result["kind"]
    if result["codes"] is not None:
        kind = f"{kind} with {result['codes']} codes, recall at 10 {result['recall']:.3f}"
    return (
        f"{result['n_samples']} images, {kind}, {result['metric']}, in "
        f"{result['seconds']:.1f} s; saved to {result['out']}\n"
        f"kind {result['kind']}: {result['reason']}"
    )
