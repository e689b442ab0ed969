"""``featx finetune``."""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import asdict
from typing import Any

from featx._repr import show_count
from featx.cli._messages import show_coverage
from featx.cli._outputs import add_output
from featx.cli._sources import find_labelled
from featx.cli.options import add_labels, add_options, add_sources, as_source, read_options

# Of four images that changed, all for the better, a sign test says p = .06.
SURE = 5


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
        help="weights file to write",
    )
    add_labels(parser)
    add_options(
        parser, FineTuneClassifier, ("backbone", "weights", "device", "batch_size", "workers"),
        train_from="train this layer and all after it; auto tries several depths and keeps the "
        "best on held-out images; all trains everything (default: the last third of the layers)",
        epochs="most epochs",
        learning_rate="peak of the learning rate (default 1e-4)",
        validation_fraction="share of each class to hold out, to choose epoch and depth; 0 holds "
        "out nothing",
        batch_size="images per training step",
        max_cache_bytes="most memory for activations of the frozen layers (default 1 GiB)",
        max_disk_bytes="most disk space for them in TMPDIR if memory is short (default 8 GiB)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, save the tuned network, and return the figures."""
    from featx.finetuning import FineTuneClassifier

    start = time.monotonic()
    paths, labelled = find_labelled(as_source(args.source), args.labels)
    model = read_options(args, FineTuneClassifier)
    model.fit(paths, labelled.labels).save_backbone(args.out)
    return {
        "kept": model.kept_,
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
        "n_frozen_passes": model.n_frozen_passes_,
        "depths": [asdict(depth) for depth in model.depths_],
        "n_samples": len(paths),
        "n_validation": len(model.validation_rows_),
        **labelled.coverage.to_dict(),
    }


def show(result: dict[str, Any]) -> str:
    """Say what was gained, and how to extract with it."""
    r = result
    words = ["featx", "extract", "SOURCE", "--store", "F.h5"]
    words += ["--backbone", r["backbone"], "--weights", r["out"]]
    what = f"trained from {r['train_from']} on" if r["train_from"] else "nothing trained"
    counts = f"{show_count(len(r['classes']), 'class')}, {show_count(r['n_samples'], 'image')}"
    lines = [f"{counts}, {what}, {r['seconds']:.1f} s"]
    if r["n_validation"]:
        lines += _show_depths(r)
    else:
        lines.append("accuracy not measured: no image is held out, and the last epoch is kept")
    if r["kept"] == "probe":
        lines.append(
            "fine-tuning did not help: the probe on frozen features is kept, and the weights "
            "saved are the original ones"
        )
    lines += show_coverage(r)
    return "\n".join([*lines, f"extract with it: {shlex.join(words)}"])


def _show_depths(r: dict[str, Any]) -> list[str]:
    """Return the table of what was tried, and what the held-out images chose."""
    n = r["n_validation"]
    names = [d["train_from"] or "none (probe)" for d in r["depths"]]
    width = max(len("train from"), *map(len, names))
    lines = [
        f"accuracy on {n} held-out images, which also chose the epoch and the depth:",
        f"  {'train from':{width}}  accuracy  log loss    weights  best epoch  seconds",
    ]
    for name, d in zip(names, r["depths"], strict=True):
        lines.append(
            f"  {name:{width}}  {d['val_accuracy']:8.3f}  {d['val_loss']:8.3f}  "
            f"{d['n_trained_parameters']:9}  {d['best_epoch']:4} of {d['epochs']:2}  "
            f"{d['seconds']:7.1f}"
        )
    gain = round((r["val_accuracy"] - r["probe_val_accuracy"]) * n)
    if r["kept"] != "probe":
        lines.append(f"the fine-tuned network is kept: it is right on {gain} more of them")
        if gain < SURE:
            lines.append("so few can be chance: measure on other images before you rely on it")
    return lines
