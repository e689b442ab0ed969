"""``featx query``."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import Any

import numpy as np

from featx.cli._messages import describe_failures, list_failures
from featx.cli._outputs import add_page
from featx.cli._streams import show_name
from featx.cli.options import add_moved_weights, add_options, as_source, read_options
from featx.errors import ParameterError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import RunOptions
    from featx.retrieval.rerankings import RERANKINGS

    parser.add_argument(
        "index", metavar="INDEX", help="a file of featx index, or a folder of such, asked as one"
    )
    parser.add_argument(
        "image",
        nargs="+",
        metavar="IMAGE",
        help="images, folders, globs or a CSV with 'path'; or stores, whose vectors are asked",
    )
    parser.add_argument("-k", type=int, default=10, help="matches per image (default 10)")
    parser.add_argument(
        "--rerank",
        action="append",
        choices=["none", *RERANKINGS],
        help="another order than plain distance (default none); given several times, each begins "
        "with what the one before ranked",
    )
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only images with this label or metadata, as label=cat, colour!=red or 'price<=20'; "
        "all must hold, several values of one column are alternatives",
    )
    parser.add_argument(
        "--engine",
        dest="shards_engine",
        default="local",
        choices=["local", "ray"],
        help="ray: an actor per index of the folder (default local, one after the other)",
    )
    add_page(parser, "the pictures")
    add_moved_weights(parser)
    add_options(parser, RunOptions, ("device", "batch_size", "workers", "max_pixels"))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Find what looks like the images."""
    with contextlib.ExitStack() as stack:
        index, options = _open_index(args, stack)
        paths, features, failures = _read_queries(args, index)
        results: list[dict[str, Any]] = []
        if paths:
            if "rerank" in options:
                options["images"] = paths
            where = args.filter or None
            results = index.query(features, k=args.k, filter=where, **options).to_dicts()
    for one, path in zip(results, paths, strict=True):
        one["query"] = path
    result: dict[str, Any] = {"results": results, "failures": failures}
    if not results:
        return {**result, "ok": False, "error": describe_failures(failures)}
    if args.html:
        result["html"] = str(_page(results, args.html))
    return result


def _read_queries(
    args: argparse.Namespace, index: Any
) -> tuple[list[str], Any, list[dict[str, str]]]:
    """Return what is asked: paths, vectors, and the images that could not be read."""
    from featx.cli._sources import are_stores, embed_sources
    from featx.store.info import open_fitting

    thing = f"index {args.index!r}"
    if are_stores("IMAGE", args.image):
        paths, blocks = [], []
        for word in args.image:
            with open_fitting(word, index.recipe_, maker=f"index {args.index}") as store:
                store.require_images()
                paths += store.paths.tolist()
                blocks.append(store[:])
        return paths, np.concatenate(blocks), []
    return embed_sources(as_source(args.image), index.recipe_, index.made_with_, args, thing=thing)


def _open_index(
    args: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[Any, dict[str, Any]]:
    """Return one index, or one of many shards, and how it is asked."""
    from featx.extraction import RunOptions
    from featx.retrieval import RetrievalIndex, ShardedIndex

    if args.shards_engine == "local" and not os.path.isdir(args.index):  # noqa: PTH112
        index = RetrievalIndex.load(args.index, mmap=True)
        index.set_params(weights=args.weights, device=read_options(args, RunOptions).device)
        return index, {"rerank": args.rerank}
    if set(args.rerank or ()) - {"none"}:
        raise ParameterError(
            f"--rerank: got {', '.join(args.rerank)} for {args.index!r}, which is asked in "
            "shards, expected none; make one index of the store"
        )
    shards = args.index if os.path.isdir(args.index) else [args.index]  # noqa: PTH112
    return stack.enter_context(ShardedIndex(shards, engine=args.shards_engine, mmap=True)), {}


def _page(results: list[dict[str, Any]], out: str) -> Any:
    from featx.report import GalleryMatch, GalleryRow, Report

    rows = [
        GalleryRow(r["query"], tuple(GalleryMatch(m["path"], m["distance"]) for m in r["matches"]))
        for r in results
    ]
    return Report("What looks like this").add_gallery(rows).save(out)


def _agreeing(match: dict[str, Any]) -> str:
    inliers = match.get("inliers", -1)
    return f"  ({inliers} features agree)" if inliers >= 0 else ""


def notes(result: dict[str, Any]) -> list[str]:
    """Name the images that could not be read."""
    return list_failures(result["failures"])


def show(result: dict[str, Any]) -> str:
    """Print a block per image."""
    lines = []
    for r in result["results"]:
        lines.append(show_name(r["query"]))
        lines += [
            f"  {m['distance']:.4f}  {show_name(str(m['path']))}  "
            f"{show_name(str(m.get('label', '')))}".rstrip()
            + _agreeing(m)
            for m in r["matches"]
        ]
    return "\n".join(lines)
