"""``featx index``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from featx._repr import show_count
from featx.cli._messages import list_failures
from featx.cli._outputs import add_output
from featx.cli.options import add_options, add_table, read_options
from featx.errors import ParameterError

INSTANCES = "instances"
OF_VECTORS = {"metric": "--metric", "codes": "--codes", "target_recall": "--target-recall",
              "dtype": "--dtype"}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.cli._later import import_scikit_learn

    import_scikit_learn()
    from featx.retrieval import RetrievalIndex

    parser.add_argument("store", metavar="F.h5", help="a store, which featx extract wrote")
    add_output(
        parser, "--out", "index", required=True, metavar="INDEX", help="index file to write"
    )
    add_options(
        parser, RetrievalIndex, (),
        metric="cosine, euclidean or dot",
        kind="exact compares with every image; hnsw and ivf search approximately, through faiss; "
        "auto is exact up to 1 GiB of vectors, then ivf; instances finds the same object in other "
        "pictures, by local features of the images, which are read again",
        codes="how hnsw and ivf hold vectors in memory: float32, float16, int8, pq, or auto, "
        "which takes what fits",
        target_recall="share of the 10 nearest that hnsw and ivf should find",
        dtype="type of the vectors in the file: float32, or float16, which takes half",
    )  # fmt: skip
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Build and save; vectors are copied block by block."""
    from featx.extraction.kept import keep_network
    from featx.retrieval import RetrievalIndex
    from featx.store import open_store

    start = time.monotonic()
    with open_store(args.store, table=args.table) as store:
        store.require_images()
        if getattr(args, "kind", None) == INSTANCES:
            return _index_instances(args, store, start)
        index = read_options(args, RetrievalIndex, storage="store").fit(store)
        index.save(args.out)
        recall = index.recall_
        keep_network(index.recipe_, index.made_with_)
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


def _index_instances(args: argparse.Namespace, store: Any, start: float) -> dict[str, Any]:
    from featx.retrieval import InstanceIndex

    for name, flag in OF_VECTORS.items():
        if hasattr(args, name):
            raise ParameterError(
                f"{flag}: got {getattr(args, name)!r} with --kind instances, which has no vectors "
                "but local features of images, expected none"
            )
    index = InstanceIndex().fit(store)
    index.save(args.out)
    return {
        "n_samples": index.n_samples_fit_,
        "n_features": index.n_features_,
        "kind": INSTANCES,
        "failures": [{"path": str(name), "reason": why} for name, why in index.failures_],
        "bytes": Path(args.out).stat().st_size,
        "seconds": time.monotonic() - start,
        "out": args.out,
    }


def notes(result: dict[str, Any]) -> list[str]:
    """Name the images that are not in the index."""
    return list_failures(result.get("failures", []))


def show(result: dict[str, Any]) -> str:
    """Say what was built."""
    kind = result["kind"]
    if kind == INSTANCES:
        n, n_left_out = result["n_samples"], len(result["failures"])
        left_out = f", {show_count(n_left_out, 'image')} left out" if n_left_out else ""
        return (
            f"{show_count(n, 'image')} with {result['n_features']} local features{left_out}, in "
            f"{result['seconds']:.1f} s; saved to {result['out']} "
            f"({result['bytes'] / n / 1024:.0f} KiB per image)"
        )
    if result["codes"] is not None:
        kind = f"{kind} with {result['codes']} codes, recall at 10 {result['recall']:.3f}"
    return (
        f"{show_count(result['n_samples'], 'image')}, {kind}, {result['metric']}, in "
        f"{result['seconds']:.1f} s; saved to {result['out']}\n"
        f"kind {result['kind']} ({result['reason']})"
    )
