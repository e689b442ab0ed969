"""Eight-bit integers against bfloat16 and float32: speed, what features lose, what accuracy loses.

    python benchmarks/int8.py

Speed of the network alone, over 256 photographs held in memory, batches of 32 on all cores; the
precisions take turns, medians of 5. Cosines to float32 of the same photographs. Accuracy of the
linear probe (C by cross-validation) on the splits of flowers12 and scene15, for the networks that
have weights here: resnet50 has random ones, which give all images nearly one vector.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from common import WEIGHTS, keep, need_assets, some_photographs
from probe import score

from featx.extraction import Encoder, RunOptions
from featx.images.loader import iter_batches

NETWORKS = {"featx_small": "default", "mobilenet_v2": WEIGHTS, "resnet50": None}
PRECISIONS = ("float32", "bfloat16", "int8")
BATCH, REPEATS = 32, 5
SETS = ("flowers12", "scene15")


def speeds(networks, paths):
    """Return the rates of every precision, in turns, and its vectors."""
    network = networks["float32"]
    batches = list(iter_batches(paths, network.preprocessor(), batch_size=BATCH, workers=0))
    reads = [(spec.layer, spec.pooling) for spec in network.specs]
    rates, vectors = {key: [] for key in networks}, {}
    for repeat in range(REPEATS + 1):
        for key, network in networks.items():
            start = time.perf_counter()
            found = [
                network.backbone.features(b.views, reads, pad_to=BATCH, engine="openvino")[0]
                for b in batches
            ]
            if repeat:  # the first time converts
                rates[key].append(len(paths) / (time.perf_counter() - start))
            vectors[key] = np.concatenate(found).astype(float)
    return rates, vectors


def main():
    """Measure all networks."""
    need_assets()
    paths = some_photographs(256)
    for name, weights in NETWORKS.items():
        net = {"backbone": name, "weights": weights, "device": "cpu"}
        run = RunOptions("cpu", "openvino")
        networks = {p: Encoder(name, weights=weights, precision=p).load(run) for p in PRECISIONS}
        start = time.perf_counter()
        choice = networks["int8"].choose_engine(len(paths))
        figures = {"first_start_s": time.perf_counter() - start, "said": choice.reason}
        rates, vectors = speeds(networks, paths)
        for key in PRECISIONS:
            x, y = vectors["float32"], vectors[key]
            cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
            ratios = np.array(rates[key]) / np.array(rates["bfloat16"])
            figures[key] = {
                "images_per_second": float(np.median(rates[key])),
                "ratio_to_bfloat16": float(np.median(ratios)),
                "mean_cosine": float(cosine.mean()),
                "worst_cosine": float(cosine.min()),
            }
            if weights is not None:
                with tempfile.TemporaryDirectory() as folder:
                    figures[key]["accuracy"] = {
                        s: score(s, {**net, "precision": key}, Path(folder)) for s in SETS
                    }
        keep(f"int8, {name}", figures)


if __name__ == "__main__":
    main()
