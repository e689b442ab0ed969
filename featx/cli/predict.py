"""``featx predict``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli._options import add_network, add_run, add_sources, as_source, defaults_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction.embed import embed_images

    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    add_sources(parser)
    add_network(parser)
    add_run(parser, defaults_of(embed_images))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Label images with what the model was trained on."""
    from featx.cli._network import embed_sources
    from featx.estimators import load_model

    saved = load_model(args.model)
    paths, found = embed_sources(
        as_source(args.source),
        saved.recipe,
        saved.metadata.get("made_with", {}),
        args,
        thing=f"model {args.model!r}",
    )
    good = [paths[i] for i in found.good]
    failures = [{"path": paths[i], "reason": reason} for i, reason in found.failures]
    result = {"predictions": _labelled(saved.model, good, found.features), "failures": failures}
    return result if good else {**result, "ok": False}


def _labelled(model: Any, paths: list[str], features: Any) -> list[dict[str, Any]]:
    if not paths:
        return []
    scores = model.predict_proba(features)
    labels: list[Any]
    if hasattr(model, "attribute_names_"):
        names = model.attribute_names_.tolist()
        labels = [[n for n, p in zip(names, row, strict=True) if p > 0.5] for row in scores]
    else:
        names = [str(name) for name in model.classes_.tolist()]
        labels = [str(label) for label in model.predict(features)]
    return [
        {"path": path, "label": label, "scores": dict(zip(names, row.tolist(), strict=True))}
        for path, label, row in zip(paths, labels, scores, strict=True)
    ]


def show(result: dict[str, Any]) -> str:
    """Print a line an image."""
    lines = []
    for p in result["predictions"]:
        if isinstance(p["label"], list):
            lines.append(f"{p['path']}\t{', '.join(p['label']) or '(none)'}")
        else:
            lines.append(f"{p['path']}\t{p['label']}\t{p['scores'][p['label']]:.3f}")
    lines += [f"{f['path']}\tcould not be read: {f['reason']}" for f in result["failures"]]
    return "\n".join(lines)
