"""``featx evaluate``."""

from __future__ import annotations

import argparse
from typing import Any

from featx._repr import show_count
from featx.cli._messages import show_coverage, show_figure
from featx.cli._outputs import add_page
from featx.cli.options import add_labels, add_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    parser.add_argument("store", metavar="F.h5", help="a store, which featx extract wrote")
    add_labels(parser, attributes=True)
    add_page(parser, "confusions and mistakes, and where in the pictures the model saw the label")
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure a model on labelled features of the same recipe."""
    from featx.tasks import Classifier, evaluation_report

    classifier = Classifier.load(args.model)
    with classifier.open_store(args.store, args.table) as store:
        found = classifier.evaluate(store, args.labels)
    result = found.to_dict()
    if args.html:
        page = evaluation_report(
            found, title="Evaluation of a model", subtitle=f"{args.model} on {args.store}",
            maps=classifier.draw_maps,
        )  # fmt: skip
        result["report"] = str(page.save(args.html))
    return result


def show(result: dict[str, Any]) -> str:
    """Print each figure with its interval."""
    from featx.tasks.pages import name_measure

    lines = [show_count(result["n_samples"], "image")]
    for name, span in result["intervals"].items():
        text = (
            f"95 % interval {span[0]:.3f} to {span[1]:.3f}" if span else "too few for an interval"
        )
        lines.append(f"{name_measure(name)}: {show_figure(result[name])} ({text})")
    if "calibration_error" in result:
        error = result["calibration_error"]
        lines.append(f"calibration error: {error:.3f} (confidence against how often it is right)")
    seen = result["n_seen_in_training"]
    if seen is None:
        lines.append("whether the model was trained on some of them is not known")
    elif seen:
        lines.append(
            f"the model was trained on {seen} of these images: what it reaches on new ones is "
            "probably less"
        )
    if result.get("n_unknown"):
        n = show_count(result["n_unknown"], "image")
        lines.append(f"the model does not know the labels of {n}")
    return "\n".join([*lines, *show_coverage(result)])
