"""``featx evaluate``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli._messages import show_coverage, show_figure
from featx.cli.options import add_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    parser.add_argument("store", metavar="F.h5")
    parser.add_argument("--labels", metavar="L.csv", help="columns path and label, or attributes")
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure a model on labelled features of the same recipe."""
    from featx.cli._models import label_text, load_classifier, open_fitting_table
    from featx.evaluation import evaluate_attributes, evaluate_classes
    from featx.images import AttributeLabels, ClassLabels, attribute_labels, class_labels

    saved, names = load_classifier(args.model)
    model = saved.model
    found: AttributeLabels | ClassLabels
    with open_fitting_table(args.store, saved, args.model, args.table) as store:
        if hasattr(model, "attribute_names_"):
            found = attribute_labels(store, args.labels, names)
            result = evaluate_attributes(found.values, model.predict_proba(store[found.rows]))
        else:
            found = class_labels(store, args.labels)
            features = store[found.rows]
            predicted = [label_text(label) for label in model.predict(features).tolist()]
            result = evaluate_classes(
                found.labels, predicted, model.predict_proba(features), names
            )
        n_seen = saved.count_seen(store.digests[found.rows])
    return {**result, "n_seen_in_training": n_seen, **found.coverage.to_dict()}


def show(result: dict[str, Any]) -> str:
    """Print each figure with its interval."""
    lines = [f"{result['n_samples']} images"]
    for name, span in result["intervals"].items():
        text = (
            f"95 % interval {span[0]:.3f} to {span[1]:.3f}" if span else "too few for an interval"
        )
        lines.append(f"{name}: {show_figure(result[name])} ({text})")
    seen = result["n_seen_in_training"]
    if seen is None:
        lines.append("whether the model was trained on some of them is not known")
    elif seen:
        lines.append(
            f"the model was trained on {seen} of these images: what it reaches on new ones is "
            "probably less"
        )
    if result.get("n_unknown"):
        lines.append(f"{result['n_unknown']} images have labels that the model does not know")
    return "\n".join([*lines, *show_coverage(result)])
