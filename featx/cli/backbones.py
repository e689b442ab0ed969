"""``featx backbones``."""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "pattern",
        nargs="?",
        metavar="PATTERN",
        help="for example 'resnet*'; a word finds names that contain it; 'timm/...' lists timm's",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """List networks with what is known of them."""
    from featx.backbones import backbone_card, list_backbones
    from featx.errors import BackboneError, nearest

    pattern = args.pattern
    if pattern and not set(pattern) & set("*?["):
        pattern = f"{pattern}*" if pattern.startswith("timm/") else f"*{pattern}*"
    names = list_backbones(pattern)
    if not names:
        raise BackboneError(
            f"backbones: nothing fits {args.pattern!r}, expected part of a name or a pattern such "
            f"as 'resnet*'.{nearest(args.pattern.strip('*'), list_backbones())}"
        )
    return {"backbones": [_described(backbone_card(name)) for name in names]}


def _described(card: Any) -> dict[str, Any]:
    return {
        "name": card.name,
        "source": card.source,
        "weights": [entry.name for entry in card.weights],
        "n_parameters": card.n_parameters,
        "crop_px": card.local.crop_px,
        "license": card.license,
    }


def show(result: dict[str, Any]) -> str:
    """Print a line a network."""
    lines = [f"{'name':34}{'source':13}{'params':>9}  {'px':>4}  weights"]
    for b in result["backbones"]:
        millions = f"{b['n_parameters'] / 1e6:.1f} M" if b["n_parameters"] else "-"
        weights = ", ".join(b["weights"]) or "none published"
        lines.append(
            f"{b['name']:34}{b['source']:13}{millions:>9}  {b['crop_px'] or '-':>4}  {weights}"
        )
    return "\n".join(lines)
