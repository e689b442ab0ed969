"""``featx train``."""

from __future__ import annotations

import argparse
import time
from typing import Any

from featx.cli._options import add_table, show_figure
from featx.cli._outputs import add_output


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
    from featx.store import open_store

    start = time.monotonic()
    with open_store(args.store, table=args.table) as store:
        fit = _attributes if args.task == "attributes" else _classes
        result, model, rows = fit(store, args)
        from featx.estimators import save_model

        notes = {"task": args.task, "made_with": store.made_with}
        save_model(
            model, args.out, recipe=store.recipe, metadata=notes, digests=store.digests[rows]
        )
        result["n_unlabelled"] = len(store) - result["n_samples"]
    return {**result, "task": args.task, "seconds": time.monotonic() - start, "out": args.out}


def _classes(store: Any, args: argparse.Namespace) -> tuple[dict[str, Any], Any, Any]:
    from featx.cli._labels import class_labels
    from featx.estimators import LinearProbeClassifier

    rows, labels = class_labels(store, args.labels)
    model = LinearProbeClassifier(args.method).fit(store[rows], labels)
    return (
        {
            "classes": model.classes_.tolist(),
            "cv_score": model.best_score_,
            "cv_metric": model.scoring,
            "C": model.C_,
            "n_samples": len(rows),
        },
        model,
        rows,
    )


def _attributes(store: Any, args: argparse.Namespace) -> tuple[dict[str, Any], Any, Any]:
    import numpy as np

    from featx.cli._labels import attribute_labels
    from featx.estimators import AttributeClassifier

    rows, names, Y = attribute_labels(store, args.labels, args.attributes)
    model = AttributeClassifier(args.method, attribute_names=names).fit(store[rows], Y)
    losses = model.cv_results_["log_loss"]
    measured = losses[:, ~np.isnan(losses).all(axis=0)]
    return (
        {
            "classes": names,
            "cv_score": -float(np.nanmin(measured, axis=0).mean()) if measured.size else None,
            "cv_metric": "neg_log_loss, mean over attributes",
            "C": dict(zip(names, model.C_.tolist(), strict=True)),
            "n_samples": len(rows),
        },
        model,
        rows,
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
        lines.append("every class has a single image, so none can be held out: label more images")
    if result["n_unlabelled"]:
        lines.append(
            f"{result['n_unlabelled']} images of the store have no label and were left out"
        )
    return "\n".join(lines)
