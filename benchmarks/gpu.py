"""Stages on a GPU, what fraction of it the network takes, torch.compile and a plain script.

    python benchmarks/gpu.py [--images 20000] [--repeats 2]

The shared photographs as often as it takes, each copy with a comment of its own so that none is
recognised by its content, in memory (/dev/shm) if there is such a folder. Everything in bfloat16,
batches of 256. resnet50 has random weights, which changes no speed.

- chip: the largest rates of a matrix product in bfloat16 (side 8,192) and of a copy there (bytes
  read and written).
- network: batches from this machine's memory to vectors there, by torch, by torch.compile, and in
  float16 and float32; images per second times FLOPs per image (two per multiplication) is the
  share of the chip. `first_s` is the first batch: cuDNN's plans, or compiling.
- stages: `featx.tasks.benchmark`.
- script: a torch DataLoader with one worker per core, torchvision's transforms, the network in
  bfloat16 and channels_last, pinned memory; interleaved with `featx.extract`, both from files to
  vectors, processes of readers included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from common import WEIGHTS, gflop_of, keep, need_assets, some_photographs
from peers import Files

import featx
from featx.backbones import load_backbone
from featx.extraction import RunOptions
from featx.pooling import get_pooling
from featx.tasks import benchmark

NETWORKS = {
    "resnet50": None,
    "mobilenet_v2": WEIGHTS,
    "featx_base": "default",
    "featx_small": "default",
}
BATCH = 256
N_BATCHES = 16
READS = [("penultimate", get_pooling("none"))]


def copies(n, folder):
    """Write so many photographs that differ in a comment."""
    paths = some_photographs(1788)
    for i in range(n):
        data = Path(paths[i % len(paths)]).read_bytes()
        comment = b"%d" % i
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{i:06}.jpg").write_bytes(data[:2] + segment + data[2:])


def seconds(run, repeats=3):
    """Return the median time of something that ends on this side of the GPU, after one more."""
    found = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return float(np.median(found[1:]))


def chip():
    """Return what the GPU does at most."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn_like(a)
    x = torch.randn(2**30, device="cuda")
    y = torch.empty_like(x)
    product = seconds(lambda: [torch.mm(a, b) for _ in range(10)]) / 10
    copy = seconds(lambda: [y.copy_(x) for _ in range(10)]) / 10
    return {"bf16_tflops": 2 * 8192**3 / product / 1e12, "bytes_per_s": 2 * x.nbytes / copy}


def network(name, weights, limit):
    """Return rates of the network alone."""
    rates = {}
    for engine, precision in (
        ("torch", "bfloat16"), ("compile", "bfloat16"), ("torch", "float16"), ("torch", "float32"),
    ):  # fmt: skip
        net = load_backbone(
            name, weights=weights, device="cuda", precision=precision, engine=engine
        )
        net.layer("penultimate")
        side = net.trial_px
        if not rates:
            x = torch.zeros(1, 3, side, side, device="cuda", dtype=torch.bfloat16)
            gflop = gflop_of(net._torch.module, x)
        view = net.empty((BATCH, side, side, 3), np.uint8)
        view[:] = np.random.default_rng(0).integers(0, 256, view.shape, dtype=np.uint8)
        batches = [(i, [view]) for i in range(N_BATCHES)]

        def run(net=net, batches=batches):
            return list(net.stream(batches, READS, pad_to=BATCH))

        start = time.perf_counter()
        net.features([view], READS, pad_to=BATCH)
        first_s = time.perf_counter() - start
        rate = N_BATCHES * BATCH / seconds(run)
        rates[f"{engine}, {precision}"] = {"images_per_second": rate, "first_s": first_s}
        if precision != "float32":
            rates[f"{engine}, {precision}"]["of_chip"] = rate * gflop / 1e3 / limit
    return {"gflop": gflop, **rates}


def script(name, weights, paths):
    """Return what extracts as a plain script does."""
    net = torchvision.models.get_model(name, weights=None)
    if weights is not None:
        net.load_state_dict(torch.load(weights, weights_only=True))
    setattr(net, "fc" if name == "resnet50" else "classifier", torch.nn.Identity())
    net = net.eval().to("cuda", torch.bfloat16, memory_format=torch.channels_last)
    transform = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms()

    def run():
        loader = torch.utils.data.DataLoader(
            Files(paths, transform), BATCH, num_workers=os.cpu_count(), pin_memory=True
        )
        with torch.inference_mode():
            found = []
            for x in loader:
                there = x.to("cuda", torch.bfloat16, non_blocking=True)
                found.append(net(there.contiguous(memory_format=torch.channels_last)).float())
            return torch.cat(found).cpu().numpy()

    return run


def beside_a_script(name, weights, paths, repeats):
    """Return rates of both, in turns."""
    net = {"backbone": name, "weights": weights, "device": "cuda", "progress": False}
    plain = script(name, weights, paths)
    with tempfile.TemporaryDirectory() as folder:

        def ours(number):
            return featx.extract(paths, Path(folder) / f"{number}.h5", **net)

        ours("warm").close()
        plain_s, featx_s = [], []
        for repeat in range(repeats):
            start = time.perf_counter()
            expected = plain()
            plain_s.append(time.perf_counter() - start)
            start = time.perf_counter()
            with ours(repeat) as store:
                featx_s.append(time.perf_counter() - start)
                found = store[:]
    cosines = (found * expected).sum(1)
    cosines /= np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return {
        "featx": len(paths) / float(np.median(featx_s)),
        "script": len(paths) / float(np.median(plain_s)),
        "ratio": float(np.median(np.divide(plain_s, featx_s))),
        "mean_cosine": float(cosines.mean()),
        "n_images": len(paths),
    }


def main():
    """Measure and keep."""
    need_assets()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    limits = chip()
    keep("chip, GPU", limits)
    for name, weights in NETWORKS.items():
        keep(f"engines_network, GPU, {name}", network(name, weights, limits["bf16_tflops"]))
    there = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=there) as folder:
        copies(args.images, Path(folder))
        for name, weights in NETWORKS.items():
            found = benchmark(
                folder, featx.Encoder(name, weights=weights), RunOptions("cuda", progress=False),
                n_images=args.images, repeats=args.repeats,
            )  # fmt: skip
            keep(f"stages, GPU, {name}", found.to_dict())
        paths = sorted(str(path) for path in Path(folder).iterdir())
        for name in ("mobilenet_v2", "resnet50"):
            figures = beside_a_script(name, NETWORKS[name], paths, args.repeats)
            keep(f"script, GPU, {name}", figures)


if __name__ == "__main__":
    main()
