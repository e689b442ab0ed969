"""What fine-tuning costs and buys: passes of the frozen part, and a sweep over depth on two sets.

    nice python -m benchmarks.finetune passes
    nice python -m benchmarks.finetune depths --backbone featx_small --side 144 --seeds 3

`passes` counts, by hooks in the network itself, how often the first and the last block of a small
transformer run in a fit from block 10 on, with the activations in memory, on disk, and nowhere.
`depths` draws ten labels per class and compares ``train_from="auto"`` with the probe on all of
these labels, on images that neither has seen.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import asdict

import numpy as np
import torch

import featx
from benchmarks.common import ASSETS, WEIGHTS, machine, need_assets, some_photographs
from featx.evaluation import few_label_splits
from featx.finetuning import FineTuneClassifier

SETS = ("flowers12", "cats_dogs")
PER_CLASS, MOST_TESTED = 10, 300


def count_passes(n_images: int) -> list[dict]:
    """Fit with each way to keep activations, and count the images that blocks are run for."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True, num_classes=0).eval()
    paths = some_photographs(n_images)
    y = np.arange(n_images) % 2
    rows = []
    for epochs in (1, 4):
        for room in ({}, {"max_cache_bytes": 0}, {"max_cache_bytes": 0, "max_disk_bytes": 0}):
            counts = {"blocks.0": 0, "blocks.11": 0}

            def note(name: str, x: torch.Tensor, counts: dict = counts) -> None:
                counts[name] += len(x)

            handles = [
                net.get_submodule(f"{name}.norm1").register_forward_hook(
                    lambda _, inputs, __, name=name: note(name, inputs[0])
                )
                for name in counts
            ]
            clf = FineTuneClassifier(
                net, train_from="blocks.10", epochs=epochs, patience=epochs, n_views=2,
                resize_px=96, crop_px=96, device="cpu", progress=False, **room,
            )  # fmt: skip
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                clf.fit(paths, y)
            seconds = time.perf_counter() - start
            for handle in handles:
                handle.remove()
            rows.append({"epochs": epochs, "cache": clf.cache_, "seconds": seconds,
                         "n_frozen_passes": clf.n_frozen_passes_, **counts})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def compare_depths(backbone: str, side: int, seeds: int, options: dict) -> list[dict]:
    """Sweep over depths on draws of two sets."""
    weights = str(WEIGHTS) if backbone == "mobilenet_v2" else "default"
    sizes = {"weights": weights, "resize_px": side, "crop_px": side, "progress": False}
    rows = []
    for name in SETS:
        images = featx.ImageManifest.from_source(ASSETS / "datasets" / name)
        paths, labels = np.array(images.paths), np.array(images.labels)
        labels = np.array([label.rpartition("/")[2] for label in labels])
        extractor = featx.FeatureExtractor(backbone, precision="float32", **sizes)
        draws = few_label_splits(labels, PER_CLASS, seeds)
        for seed, (train, rest) in enumerate(draws):
            test = np.random.default_rng(seed).permutation(rest)[:MOST_TESTED]
            X = extractor.transform(paths[train].tolist())
            probe = featx.LinearProbeClassifier(random_state=0).fit(X, labels[train])
            vectors = extractor.transform(paths[test].tolist())
            start = time.perf_counter()
            clf = FineTuneClassifier(
                backbone, train_from="auto", random_state=seed, **sizes, **options
            ).fit(paths[train].tolist(), labels[train])
            seconds = time.perf_counter() - start
            rows.append({
                "set": name, "seed": seed,
                "probe": probe.score(vectors, labels[test]),
                "auto": clf.score(paths[test].tolist(), labels[test]), "kept": clf.kept_,
                "train_from": clf.train_from_, "seconds": seconds, "n_test": len(test),
                "n_held_out": len(clf.validation_rows_),
                "depths": [asdict(d) for d in clf.depths_],
            })  # fmt: skip
            tried = " ".join(f"{d.train_from}:{d.val_accuracy:.3f}" for d in clf.depths_)
            found = {k: v for k, v in rows[-1].items() if k != "depths"}
            print(found, "held out:", tried, flush=True)
    return rows


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finetune")
    parser.add_argument("what", choices=["passes", "depths"])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--backbone", default="featx_small")
    parser.add_argument("--side", type=int, default=144)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--out")
    args = parser.parse_args()
    need_assets()
    if args.what == "passes":
        rows = count_passes(args.images)
    else:
        options = {"epochs": args.epochs, "n_views": args.views}
        rows = compare_depths(args.backbone, args.side, args.seeds, options)
    if args.out:
        result = {"machine": machine(), "arguments": vars(args), "rows": rows}
        with open(args.out, "w") as file:  # noqa: PTH123
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
