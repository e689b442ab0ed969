"""``featx evaluate``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli._options import add_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    parser.add_argument("store", metavar="F.h5")
    parser.add_argument("--labels", metavar="L.csv", help="columns path and label, or attributes")
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure a model on labelled features of the same recipe."""
    from featx.estimators import load_model
    from featx.evaluation import evaluate_attributes, evaluate_classes
    from featx.recipe import require_same_recipe
    from featx.store import open_store

    saved = load_model(args.model)
    with open_store(args.store, table=args.table) as store:
        require_same_recipe(
            store.recipe, saved.recipe, thing=args.store, maker=f"model {args.model}"
        )
        from featx.cli._labels import attribute_labels, class_labels

        model = saved.model
        if hasattr(model, "attribute_names_"):
            names = model.attribute_names_.tolist()
            rows, _, Y = attribute_labels(store, args.labels, names)
            return evaluate_attributes(Y, model.predict_proba(store[rows]))
        rows, labels = class_labels(store, args.labels)
        features = store[rows]
        return evaluate_classes(
            labels, model.predict(features), model.predict_proba(features), model.classes_
        )


def show(result: dict[str, Any]) -> str:
    """Print each figure with its interval."""
    lines = [f"{result['n_samples']} images"]
    for name, span in result["intervals"].items():
        text = (
            f"95 % interval {span[0]:.3f} to {span[1]:.3f}" if span else "too few for an interval"
        )
        lines.append(f"{name}: {result[name]:.3f} ({text})")
    if result.get("n_unknown"):
        lines.append(f"{result['n_unknown']} images have labels that the model does not know")
    return "\n".join(lines)
