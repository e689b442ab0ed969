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
        help="for example 'resnet*'; a word finds the names that contain it. timm's networks are "
        "listed if no other fits, or for 'timm/...'",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """List networks with what is known of them."""
    from featx.backbones.catalogue import count_timm, list_backbones, suggest_name
    from featx.errors import BackboneError

    names = list_backbones(args.pattern)
    if not names:
        raise BackboneError(
            f"backbones: nothing fits {args.pattern!r}, expected part of a name or a pattern such "
            f"as 'resnet*'.{suggest_name(args.pattern.strip('*'))}"
        )
    cards = [_describe(name, is_listed=len(names) > 1) for name in names]
    more = 0 if args.pattern is None or cards[0]["source"] == "timm" else count_timm(args.pattern)
    return {"backbones": cards, "n_more_in_timm": more, "pattern": args.pattern}


def _describe(name: str, *, is_listed: bool) -> dict[str, Any]:
    """Return what is known of a network.

    One of a list that featx cannot run is there with the reason; asked for alone, it is an error.
    """
    from featx.backbones.catalogue import backbone_card, source_of
    from featx.errors import BackboneError

    try:
        card = backbone_card(name)
    except BackboneError as err:
        if not is_listed:
            raise
        nothing = dict.fromkeys(("n_parameters", "crop_px", "license"))
        known = {"name": name, "source": source_of(name).prefix.rstrip("/"), "weights": []}
        return {**known, **nothing, "licenses": {}, "unusable": str(err)}
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
        size = b["crop_px"] or "-"
        weights = ", ".join(_name_weights(b)) or b.get("unusable") or "none published"
        if b["source"] == "featx":
            weights = "in the package"
        lines.append(
            f"{b['name']:{width}}{b['source']:13}{millions:>9}  {size:>4}  {said:{wide}}{weights}"
        )
    if any(b["n_parameters"] is None for b in shown):
        lines.append("params -: known only once the network is built")
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
