"""``featx info``."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from featx._repr import show_count
from featx._version import __version__
from featx.cli._streams import show_name

MAX_LISTED = 20
SHOWN = ("backbone", "weights", "layer", "pooling", "augment", "precision")
# What decides on results, speed and errors.
PACKAGES = (
    "torch", "torchvision", "numpy", "scikit-learn", "h5py", "pillow", "openvino", "onnxruntime",
    "nncf", "timm", "open_clip_torch", "transformers", "faiss-cpu", "fastapi", "ray",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "store",
        metavar="F.h5",
        nargs="?",
        help="a store; without one, show versions and machine for a bug report",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Describe the tables, where the figures at the top are those of the first; or the machine."""
    if args.store is None:
        return _describe_machine()
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


def _describe_machine() -> dict[str, Any]:
    """Import none of the packages: one that is broken is not to hide the others."""
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "featx": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "n_cores": os.cpu_count(),
        "packages": packages,
    }


def _show_recipe(recipe: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a person wants to know of a recipe; --json has all of it."""
    if recipe is None:
        return {"made": "outside featx"}
    from featx.recipe import Preprocessing

    shown = {name: recipe[name] for name in SHOWN}
    return {**shown, "images made into": Preprocessing.from_dict(recipe["preprocessing"]).summary}


def show(result: dict[str, Any]) -> str:
    """List tables and failures, or versions."""
    if "packages" in result:
        packages = {k: v or "not installed" for k, v in result["packages"].items()}
        rows = {**{k: v for k, v in result.items() if k != "packages"}, **packages}
        return "\n".join(f"{name:16} {value}" for name, value in rows.items())
    lines = []
    for table in result["tables"]:
        name = table["fingerprint"] or "outside"
        lines.append(
            f"table {name}: {show_count(table['n_samples'], 'image')}, each "
            f"{table['n_features']} numbers of {table['dtype']}"
        )
        lines += [f"  {key}: {value}" for key, value in _show_recipe(table["recipe"]).items()]
    if not result["tables"]:
        lines.append("no table yet")
    failures = result["failures"]
    lines.append(f"{show_count(len(failures), 'image')} could not be read")
    lines += [f"  {show_name(f['path'])}: {f['reason']}" for f in failures[:MAX_LISTED]]
    if len(failures) > MAX_LISTED:
        lines.append(f"  ... and {len(failures) - MAX_LISTED} more (--json lists all)")
    return "\n".join(lines)
