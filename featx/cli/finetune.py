"""``featx finetune``."""

from __future__ import annotations

import argparse
import shlex
import time
from typing import Any

from featx.cli._messages import show_coverage, show_figure
from featx.cli._outputs import add_output
from featx.cli._sources import find_labelled
from featx.cli.options import add_labels, add_options, add_sources, as_source, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.finetuning import FineTuneClassifier

    add_sources(parser)
    add_output(
        parser,
        "--out",
        {".safetensors": "weights"},
        required=True,
        metavar="TUNED.safetensors",
        help="weights file",
    )
    add_labels(parser)
    add_options(
        parser, FineTuneClassifier, ("backbone", "weights", "device", "batch_size", "workers"),
        train_from="first layer that is trained, or all (default about the last third)",
        epochs="most epochs",
        learning_rate="its peak (default 1e-4)",
        validation_fraction="share of each class that chooses the epoch; 0 is none",
        batch_size="images per step",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, save the tuned network, and return the figures."""
    from featx.finetuning import FineTuneClassifier

    start = time.monotonic()
    paths, labelled = find_labelled(as_source(args.source), args.labels)
    model = read_options(args, FineTuneClassifier)
    model.fit(paths, labelled.labels).save_backbone(args.out)
    return {
        "classes": model.classes_.tolist(),
        "val_accuracy": model.history_[model.best_epoch_].val_accuracy,
        "probe_val_accuracy": model.history_[0].val_accuracy,
        "epochs": len(model.history_) - 1,
        "best_epoch": model.best_epoch_,
        "seconds": time.monotonic() - start,
        "out": args.out,
        "backbone": model.backbone,
        "train_from": model.train_from_,
        "n_trained_parameters": model.n_trained_parameters_,
        "n_samples": len(paths),
        "n_validation": len(model.validation_rows_),
        **labelled.coverage.to_dict(),
    }


def show(result: dict[str, Any]) -> str:
    """Say what was gained, and how to extract with it."""
    r = result
    words = ["featx", "extract", "SOURCE", "--store", "F.h5"]
    words += ["--backbone", r["backbone"], "--weights", r["out"]]
    lines = [
        (
            f"{len(r['classes'])} classes, {r['n_samples']} images, {r['n_trained_parameters']} "
            f"weights trained from {r['train_from']} on, {r['epochs']} epochs in "
            f"{r['seconds']:.1f} s"
        ),
        (
            f"accuracy on {r['n_validation']} held-out images, which also chose the epoch: "
            f"{show_figure(r['val_accuracy'])} after epoch {r['best_epoch']}, "
            f"{show_figure(r['probe_val_accuracy'])} by the probe on frozen features"
            if r["n_validation"]
            else "accuracy not measured: no image is held out, and the last epoch is kept"
        ),
    ]
    if r["best_epoch"] == 0:
        lines.append("no epoch was better than the probe: the weights saved are the original ones")
    lines += show_coverage(r)
    return "\n".join([*lines, f"extract with it: {shlex.join(words)}"])
