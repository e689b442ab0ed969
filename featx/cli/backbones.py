"""``featx backbones``."""

from __future__ import annotations

import argparse
from typing import Any

MAX_LISTED = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "pattern",
        nargs="?",
        metavar="PATTERN",
        help="for example 'resnet*'; a word finds names that contain it; timm's are listed where "
        "no other fits, or for 'timm/...'",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """List networks with what is known of them."""
    from featx.backbones.catalogue import (
        backbone_card,
        count_timm,
        list_backbones,
        suggest_name,
    )
    from featx.errors import BackboneError

    def _try(name: str) -> dict[str, Any]:
        """Give a network that featx cannot run a row with the reason, not an end of the list."""
        try:
            return _describe(backbone_card(name))
        except BackboneError as err:
            return {
                "name": name,
                "source": None,
                "weights": [],
                "n_parameters": None,
                "crop_px": None,
                "license": None,
                "licenses": {},
                "unusable": str(err),
            }

    names = list_backbones(args.pattern)
    if not names:
        raise BackboneError(
            f"backbones: nothing fits {args.pattern!r}, expected part of a name or a pattern such "
            f"as 'resnet*'.{suggest_name(args.pattern.strip('*'))}"
        )
    cards = [_describe(backbone_card(names[0]))] if len(names) == 1 else list(map(_try, names))
    more = 0 if args.pattern is None or cards[0]["source"] == "timm" else count_timm(args.pattern)
    return {"backbones": cards, "n_more_in_timm": more, "pattern": args.pattern}


def _describe(card: Any) -> dict[str, Any]:
    return {
        "name": card.name,
        "source": card.source,
        "weights": [entry.name for entry in card.weights],
        "n_parameters": card.n_parameters,
        "crop_px": card.local.crop_px,
        "license": card.license,
        "licenses": {entry.name: entry.license for entry in card.weights},
    }


def show(result: dict[str, Any]) -> str:
    """Print a line per network."""
    shown = result["backbones"][:MAX_LISTED]
    width = max(34, *(len(b["name"]) + 1 for b in shown))
    terms = [b["license"] or "not stated" for b in shown]
    wide = max(map(len, ["licence", *terms])) + 2
    lines = [f"{'name':{width}}{'source':13}{'params':>9}  {'px':>4}  {'licence':{wide}}weights"]
    for b, said in zip(shown, terms, strict=True):
        millions = f"{b['n_parameters'] / 1e6:.1f} M" if b["n_parameters"] else "-"
        size, source = b["crop_px"] or "-", b["source"] or "-"
        weights = ", ".join(_name_weights(b)) or b.get("unusable") or "none published"
        lines.append(
            f"{b['name']:{width}}{source:13}{millions:>9}  {size:>4}  {said:{wide}}{weights}"
        )
    if len(result["backbones"]) > len(shown):
        lines.append(
            f"... and {len(result['backbones']) - len(shown)} more: give more of the name, or "
            "--json, which lists all"
        )
    if result["n_more_in_timm"]:
        lines.append(
            f"timm has {result['n_more_in_timm']} more: featx backbones "
            f"'timm/*{result['pattern'].strip('*')}*'"
        )
    return "\n".join(lines)


def _name_weights(found: dict[str, Any]) -> list[str]:
    """Name weights, with their terms where these are not those of the default."""
    return [
        name if terms == found["license"] else f"{name} ({terms or 'not stated'})"
        for name, terms in found["licenses"].items()
    ]
