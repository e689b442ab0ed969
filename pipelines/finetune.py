"""When to fine-tune: probe, fine-tuned and from-scratch side by side.

    python -m pipelines.finetune --data DIR --backbone mobilenet_v2 --labels-per-class 10

The tuned weights are kept: extraction, store and index take them like any other.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np

from featx import FeatureExtractor, LinearProbeClassifier
from featx.cli.options import read_options
from featx.evaluation import few_label_splits
from featx.finetuning import FineTuneClassifier
from featx.report import Report
from pipelines.options import add_common, command_line, data_set, run, write


def main() -> None:
    """Fit the three on the same draws and write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.finetune")
    add_common(parser, dataset="image_folder", presets=["plain"])
    parser.add_argument("--labels-per-class", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    args = parser.parse_args()
    data = data_set(args, needs="labels")
    paths = np.array(data.paths)
    own = np.flatnonzero(data.split == "test")
    pool = np.flatnonzero(data.split != "test")
    draws = few_label_splits(data.labels, args.labels_per_class, args.repeats, pool=pool)
    network = read_options(args, FeatureExtractor, cache=args.out / "features.h5")
    X = network.transform(paths.tolist())
    found: dict[str, list[float]] = {"probe": [], "fine-tuned": [], "from scratch": []}
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for seed, (train, rest) in enumerate(draws):
        test = own if len(own) else rest
        for name in found:
            start = time.perf_counter()
            if name == "probe":
                model: Any = LinearProbeClassifier().fit(X[train], data.labels[train])
                score = model.score(X[test], data.labels[test])
            else:
                model = read_options(args, FineTuneClassifier, random_state=seed)
                if name == "from scratch":
                    model.set_params(weights=None)
                model.fit(paths[train].tolist(), data.labels[train])
                score = model.score(paths[test].tolist(), data.labels[test])
            found[name].append(float(score))
            seconds[name].append(time.perf_counter() - start)
            if name == "fine-tuned" and seed == 0:
                model.save_backbone(args.out / "tuned.safetensors")
            print(f"draw {seed} {name}: {score:.3f}")
    means = {name: float(np.mean(values)) for name, values in found.items()}
    report = Report(
        f"{data.name}: probe, fine-tuned, from scratch",
        subtitle=f"{args.labels_per_class} per class, {args.repeats} draws, {network.backbone}",
    )
    report.add_scores(means, title="Mean accuracy")
    report.add_bars(list(found), list(means.values()), limit=1.0)
    report.add_table(
        [[n, means[n], min(found[n]), max(found[n]), float(np.mean(seconds[n]))] for n in found],
        ["classifier", "mean", "lowest", "highest", "seconds"],
    )
    report.add_key_values({"command": command_line("pipelines.finetune")})
    write(args.out, "finetune", report, {"accuracy": found, "seconds": seconds})


if __name__ == "__main__":
    sys.exit(run(main))
