"""``featx duplicates``."""

from __future__ import annotations

import argparse
from inspect import signature
from typing import Any

from featx._repr import show_count
from featx.cli._outputs import add_page
from featx.cli._streams import show_name
from featx.cli.options import add_table

MAX_PRINTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.evaluation import duplicate_groups

    parser.add_argument("store", metavar="F.h5", help="a store, which featx extract wrote")
    parser.add_argument(
        "other",
        nargs="?",
        metavar="OTHER.h5",
        help="a second store, to find copies across the two",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=signature(duplicate_groups).parameters["threshold"].default,
        help="smallest cosine of a near copy (default 0.95)",
    )
    add_page(parser, "the pictures")
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Find copies within a store or across two."""
    found = _across(args) if args.other else _within(args)
    if args.html:
        from featx.cli._galleries import copies_report

        found["report"] = str(copies_report(found["groups"]).save(args.html))
    return {**found, "threshold": args.threshold}


def _within(args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from featx.evaluation import duplicate_groups
    from featx.store import open_store

    with open_store(args.store, table=args.table) as store:
        store.require_images()
        group = duplicate_groups(store[:], threshold=args.threshold, hashes=store.digests)
        paths, digests = store.paths, store.digests
    numbers, counts = np.unique(group, return_counts=True)
    groups = []
    for number in numbers[counts > 1]:
        rows = np.flatnonzero(group == number)
        is_exact = len(set(digests[rows].tolist())) == 1
        groups.append({"paths": paths[rows].tolist(), "exact": is_exact})
    groups.sort(key=lambda g: -len(g["paths"]))
    return {
        "n_samples": len(paths),
        "n_groups": len(groups),
        "n_copies": sum(len(g["paths"]) - 1 for g in groups),
        "groups": groups,
    }


def _across(args: argparse.Namespace) -> dict[str, Any]:
    from featx.evaluation import find_leaks
    from featx.store.info import open_pair

    one, other = open_pair(args.store, args.other, table=args.table)
    with one, other:
        one.require_images()
        other.require_images()
        leaks = find_leaks(
            one[:],
            other[:],
            train_hashes=one.digests,
            test_hashes=other.digests,
            threshold=args.threshold,
        )
        mine, theirs = one.paths, other.paths
    groups = [
        {"paths": [str(mine[a]), str(theirs[b])], "exact": bool(exact), "cosine": float(cosine)}
        for a, b, exact, cosine in zip(
            leaks.train, leaks.test, leaks.is_exact, leaks.cosine, strict=True
        )
    ]
    return {
        "n_samples": len(mine) + len(theirs),
        "n_groups": len(groups),
        "n_copies": len(leaks.test_rows),
        "groups": groups,
    }


def show(result: dict[str, Any]) -> str:
    """Print the groups, the largest first."""
    counts = (
        f"{show_count(result['n_groups'], 'group')} of copies among "
        f"{show_count(result['n_samples'], 'image')}, "
        f"{show_count(result['n_copies'], 'image')} to spare "
        f"(cosine of at least {result['threshold']:g}, or the same bytes)"
    )
    lines = [counts]
    for group in result["groups"][:MAX_PRINTED]:
        heading = "same bytes:" if group["exact"] else "alike:"
        lines += [heading, *(f"  {show_name(path)}" for path in group["paths"])]
    left = len(result["groups"]) - MAX_PRINTED
    if left > 0:
        lines.append(f"... and {left} more; --json or --html has all")
    return "\n".join(lines)
