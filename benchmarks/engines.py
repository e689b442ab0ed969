"""Engines against each other: the network alone, and its agreement; whole runs are in stages.py.

    python benchmarks/engines.py [--repeats 5] [--images 500]

The contenders of each repeat run one after the other, so that what else the machine does meets
them alike; figures are medians, and medians of ratios. Torch's threads wait for one another
after every step, so that on cores that others use too its figures on all threads fall far more
than OpenVINO's; those on one thread are the fairer ratio there.

`of_chip` is the share of what the processor multiplies at most: images per second times FLOPs per
image (two per multiplication), of the highest rate of a matrix product of torch's or OpenVINO's on
as many threads, 1,024 to 4,096 a side, between the repeats. A network may pass 1: its products
have other shapes.
"""

from __future__ import annotations

import argparse
import contextlib
import time

import numpy as np
import torch
import torchvision
from common import WEIGHTS, gflop_of, keep, need_assets, some_photographs

import featx
from featx.engines.graphs import compile_graph, import_openvino
from featx.extraction import Encoder, RunOptions
from featx.pooling import get_pooling

BATCH = 32
N_BATCHES = 2
SIDES = (1024, 2048, 4096)
READS = {"featx_small": "penultimate", "mobilenet_v2": "penultimate", "resnet50": "avgpool"}
CONTENDERS = [(e, p) for p in ("float32", "bfloat16") for e in ("torch", "openvino")]


def networks():
    """Return what each name is loaded from; resnet50 as a module of one's own, random."""
    torch.manual_seed(0)
    return {
        "featx_small": {"backbone": "featx_small"},
        "mobilenet_v2": {"backbone": "mobilenet_v2", "weights": WEIGHTS},
        "resnet50": {"backbone": torchvision.models.resnet50(weights=None)},
    }


def loaded(options, engine, precision):
    """Load a network for the CPU."""
    options = {"weights": "default", **options}
    name = options.pop("backbone")
    return featx.load_backbone(name, device="cpu", engine=engine, precision=precision, **options)


def rate(run, n):
    """Return images per second."""
    start = time.perf_counter()
    run()
    return n / (time.perf_counter() - start)


def network_alone(repeats):
    """Images a second at batch 32 on one thread and on all, and how long converting takes."""
    for name, options in networks().items():
        for n_threads in sorted({1, torch.get_num_threads()}):
            with threads(n_threads):
                figures = alone(name, options, repeats)
            keep(f"engines_network_{name}_{n_threads}_threads", {"repeats": repeats, **figures})


@contextlib.contextmanager
def threads(n):
    """Give both engines so many: OpenVINO takes as many as torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    yield
    torch.set_num_threads(before)


def alone(name, options, repeats):
    """Measure every engine and precision on one network."""
    nets = {c: loaded(options, *c) for c in CONTENDERS}
    side = nets[CONTENDERS[0]].trial_px
    images = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8)
    layer = READS[name]
    reads = [(layer, get_pooling("none" if layer == "penultimate" else "avg"))]

    def run(net):
        for _ in range(N_BATCHES):
            net.features([images], reads)

    convert_s = {}
    for c, net in nets.items():
        net.layer(layer)
        start = time.perf_counter()
        net.choose_engine([layer], [images.shape[1:]], n_images=1000)
        convert_s[c] = time.perf_counter() - start
        run(net)
    rates = {c: [] for c in CONTENDERS}
    products = {precision: [] for precision in ("float32", "bfloat16")}
    for _ in range(repeats):
        for c, net in nets.items():
            rates[c].append(rate(lambda net=net: run(net), N_BATCHES * BATCH))
        for precision, found in products.items():
            found.append(product_tflops(precision))
    limits = {precision: float(np.median(found)) for precision, found in products.items()}
    gflop = gflop_of(nets["torch", "float32"]._torch.module, torch.zeros(1, 3, side, side))
    return {
        "gflop": gflop,
        **{f"product, {precision}, tflops": limit for precision, limit in limits.items()},
    } | {
        f"{engine}, {precision}": {
            "of_chip": float(np.median(rates[engine, precision]))
            * gflop
            / 1e3
            / limits[precision],
            "images_per_second": float(np.median(rates[engine, precision])),
            "ratio_to_torch": float(
                np.median(np.array(rates[engine, precision]) / rates["torch", precision])
            ),
            "convert_s": convert_s[engine, precision],
        }
        for engine, precision in CONTENDERS
    }


def product_tflops(precision):
    """Return the highest rate of a matrix product, on as many threads as torch has."""
    openvino = import_openvino()
    from openvino import opset8 as opset

    best = 0.0
    for n in SIDES:
        a, b = (torch.randn(n, n) for _ in range(2))
        x = opset.parameter([n, n], np.float32)
        graph = openvino.Model([opset.matmul(x, opset.constant(b.numpy()), False, False)], [x])
        compiled, theirs = compile_graph(graph, precision, 1), a.numpy()
        c, d = (m.to(getattr(torch, precision)) for m in (a, b))
        for multiply in (
            lambda c=c, d=d: torch.mm(c, d),
            lambda g=compiled, a=theirs: g.finish(g.start(a), lambda _: None),
        ):
            multiply()
            for _ in range(3):
                best = max(best, rate(multiply, 2 * n**3 / 1e12))
    return best


def agreement(paths):
    """Worst and mean cosine between engines and precisions on photographs."""
    for name, options in networks().items():
        if name == "resnet50":
            continue  # random weights: every image's vector is nearly the same
        found = {}
        for c in CONTENDERS:
            loaded = Encoder(precision=c[1], **options).load(RunOptions("cpu", c[0]))
            parts = [vectors[0] for _, vectors in loaded.embed(paths, pad=True)]
            found[c] = np.concatenate(parts).astype(np.float64)
        figures = {}
        for i, a in enumerate(CONTENDERS):
            for b in CONTENDERS[i + 1 :]:
                x, y = found[a], found[b]
                cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
                figures[f"{' '.join(a)} to {' '.join(b)}"] = {
                    "worst_cosine": float(cosine.min()),
                    "mean_cosine": float(cosine.mean()),
                    "largest_difference": float(np.abs(x - y).max() / np.abs(x).max()),
                }
        keep(f"engines_agreement_{name}", {"n_images": len(paths), **figures})


def main():
    """Run both."""
    need_assets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=500, help="taken evenly over all sets")
    args = parser.parse_args()
    paths = some_photographs(args.images)
    network_alone(args.repeats)
    agreement(paths)


if __name__ == "__main__":
    main()
