"""``featx verify``."""

from __future__ import annotations

import argparse
from typing import Any

from featx._repr import show_count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("store", metavar="F.h5", help="a store, which featx extract wrote")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check every row against its checksums."""
    from featx.store import verify_store

    found = verify_store(args.store)
    result = {
        "ok": found.ok,
        "problems": list(found.problems),
        "n_rows_checked": found.n_rows_checked,
    }
    if not found.ok:
        result["error"] = (
            f"store {args.store!r}: {show_count(len(found.problems), 'problem')}, expected none; "
            "a damaged store cannot be mended: extract the images into a new one (featx extract "
            "SOURCE --store NEW.h5)"
        )
    return result


def show(result: dict[str, Any]) -> str:
    """Say whether everything fits."""
    if result["ok"]:
        n = result["n_rows_checked"]
        fit = "fits its checksum" if n == 1 else "fit their checksums"
        return f"ok: {show_count(n, 'row')} {fit}"
    return "\n".join(result["problems"])
