"""``featx train``."""

from __future__ import annotations

import argparse
import time
from typing import Any

from featx.cli._messages import show_coverage, show_figure
from featx.cli._outputs import add_output
from featx.cli.options import add_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("store", metavar="F.h5")
    add_output(parser, "--out", "model", required=True, metavar="MODEL", help="file of the model")
    parser.add_argument("--labels", metavar="L.csv", help="columns path and label, or attributes")
    parser.add_argument(
        "--task", default="classification", choices=["classification", "attributes"]
    )
    parser.add_argument("--attributes", nargs="+", help="columns to take (default all)")
    parser.add_argument("--method", default="logistic", choices=["logistic", "svm"])
    add_table(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and save."""
    from featx.cli._models import require_images
    from featx.store import open_store

    start = time.monotonic()
    with open_store(args.store, table=args.table) as store:
        require_images(store)
        fit = _attributes if args.task == "attributes" else _classes
        result, model, found = fit(store, args)
        from featx.estimators import save_model

        notes = {"task": args.task, "made_with": store.made_with}
        save_model(
            model, args.out, recipe=store.recipe, metadata=notes, digests=store.digests[found.rows]
        )
        result |= {"n_samples": len(found.rows), **found.coverage.to_dict()}
    return {**result, "task": args.task, "seconds": time.monotonic() - start, "out": args.out}


def _classes(store: Any, args: argparse.Namespace) -> tuple[dict[str, Any], Any, Any]:
    from featx.estimators import LinearProbeClassifier
    from featx.images import class_labels

    found = class_labels(store, args.labels)
    model = LinearProbeClassifier(args.method).fit(store[found.rows], found.labels)
    return (
        {
            "classes": model.classes_.tolist(),
            "cv_score": model.best_score_,
            "cv_metric": model.scoring,
            "C": model.C_,
        },
        model,
        found,
    )


def _attributes(store: Any, args: argparse.Namespace) -> tuple[dict[str, Any], Any, Any]:
    import numpy as np

    from featx.estimators import AttributeClassifier
    from featx.images import attribute_labels

    found = attribute_labels(store, args.labels, args.attributes)
    names = list(found.names)
    model = AttributeClassifier(args.method, attribute_names=names)
    model.fit(store[found.rows], found.values)
    losses = model.cv_results_["log_loss"]
    measured = losses[:, ~np.isnan(losses).all(axis=0)]
    return (
        {
            "classes": names,
            "cv_score": -float(np.nanmin(measured, axis=0).mean()) if measured.size else None,
            "cv_metric": "neg_log_loss, mean over attributes",
            "C": dict(zip(names, model.C_.tolist(), strict=True)),
        },
        model,
        found,
    )


def show(result: dict[str, Any]) -> str:
    """Say what was trained."""
    score = result["cv_score"]
    lines = [
        (
            f"{result['task']}: {len(result['classes'])} classes, {result['n_samples']} images, "
            f"{result['cv_metric']} {show_figure(score)} "
            f"cross-validated, in {result['seconds']:.1f} s; saved to {result['out']}"
        )
    ]
    if show_figure(score) == "not measured":
        few = "every class has" if result["task"] == "classification" else "an answer of each has"
        lines.append(f"{few} a single image, so none can be held out: label more images")
    return "\n".join([*lines, *show_coverage(result)])
