"""``featx info``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli._streams import show_name

MAX_LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("store", metavar="F.h5")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Describe the tables; the figures at the top are those of the first."""
    from featx.store import store_info

    info = store_info(args.store)
    tables = [
        {
            "fingerprint": table.fingerprint,
            "n_samples": table.n_samples,
            "n_features": table.n_features,
            "dtype": table.dtype,
            "recipe": table.recipe.to_dict() if table.recipe else None,
        }
        for table in info.tables
    ]
    first = tables[0] if tables else {"fingerprint": None, "n_samples": 0, "n_features": 0}
    return {
        "n_samples": first["n_samples"],
        "n_features": first["n_features"],
        "fingerprint": first["fingerprint"],
        "failures": [{"path": f.path, "reason": f.reason} for f in info.failures],
        "tables": tables,
        "creator": info.creator,
    }


def show(result: dict[str, Any]) -> str:
    """List tables and failures."""
    lines = []
    for table in result["tables"]:
        name = table["fingerprint"] or "outside"
        lines.append(
            f"table {name}: {table['n_samples']} x {table['n_features']} {table['dtype']}"
        )
        recipe = table["recipe"] or {"made": "outside featx"}
        lines += [f"  {key}: {value}" for key, value in recipe.items()]
    if not result["tables"]:
        lines.append("no table yet")
    failures = result["failures"]
    lines.append(f"{len(failures)} images could not be read")
    lines += [f"  {show_name(f['path'])}: {f['reason']}" for f in failures[:MAX_LISTED]]
    if len(failures) > MAX_LISTED:
        lines.append(f"  ... and {len(failures) - MAX_LISTED} more (--json lists all)")
    return "\n".join(lines)
