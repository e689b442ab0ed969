"""Eight-bit integers against bfloat16: speed of the network alone, and what the features lose.

    pip install nncf
    python benchmarks/int8.py

Post-training quantisation of OpenVINO's graph by nncf ("mixed" preset), calibrated on the sample
images of the package; asked with 256 other photographs. Batches of 32 on all cores; contenders
take turns, medians of 5. resnet50 has random weights, which give all images nearly one vector: its
cosines say nothing.
"""

from __future__ import annotations

import logging
import time
import warnings

import nncf
import numpy as np
import openvino
import torch
from common import WEIGHTS, keep, need_assets, some_photographs

import featx
from featx.backbones._openvino import _graph_of, _Reads
from featx.demo import sample_data_dir
from featx.extraction import prepare_job
from featx.images import iter_batches

NETWORKS = {"featx_small": "default", "mobilenet_v2": WEIGHTS, "resnet50": None}
BATCH, REPEATS = 32, 5


def views_of(job, paths):
    """Return the network's views of images."""
    batches = iter_batches(paths, job.preprocessor(), batch_size=BATCH, workers=0)
    return np.concatenate([batch.views[0] for batch in batches])


def graph_of(job, x):
    """Convert as the engine does."""
    net, layer = job.backbone, job.specs[0].layer
    whole = _Reads(net._module.eval(), net._torch._normalise, {layer: net.layer(layer)}, net.head)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(whole, x, check_trace=False, strict=False)
        graph = _graph_of(traced, x)
    graph.reshape([-1, *x.shape[1:]])
    return graph


def compiled(graph, hint):
    """Compile as the engine does."""
    hints = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    hints |= {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "ENABLE_CPU_PINNING": False}
    return openvino.Core().compile_model(graph, "CPU", hints).create_infer_request()


def run(request, views):
    """Return the vectors."""
    parts = [views[i : i + BATCH] for i in range(0, len(views), BATCH)]
    return np.concatenate([np.array(request.infer([p])[0]).reshape(len(p), -1) for p in parts])


def main():
    """Measure all networks."""
    need_assets()
    logging.getLogger("nncf").setLevel(logging.ERROR)
    asked = some_photographs(256)
    samples = featx.ImageManifest.from_source(sample_data_dir()).paths
    for name, weights in NETWORKS.items():
        job = prepare_job(name, weights=weights, device="cpu", engine="torch", precision="float32")
        views, calibration = views_of(job, asked), views_of(job, samples)
        graph = graph_of(job, torch.from_numpy(views[:2]))
        data = nncf.Dataset([calibration[i : i + 1] for i in range(len(calibration))])
        start = time.perf_counter()
        small = nncf.quantize(
            graph, data, subset_size=len(calibration), preset=nncf.QuantizationPreset.MIXED
        )
        figures = {"calibration_images": len(calibration), "seconds": time.perf_counter() - start}
        requests = {
            "float32": compiled(graph, "f32"),
            "bfloat16": compiled(graph, "bf16"),
            "int8": compiled(small, "bf16"),
        }
        vectors = {key: run(request, views).astype(float) for key, request in requests.items()}
        rates = {key: [] for key in requests}
        for _ in range(REPEATS):
            for key, request in requests.items():
                start = time.perf_counter()
                run(request, views)
                rates[key].append(len(views) / (time.perf_counter() - start))
        for key in requests:
            x, y = vectors["float32"], vectors[key]
            cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
            figures[key] = {
                "images_per_second": float(np.median(rates[key])),
                "ratio_to_bfloat16": float(
                    np.median(np.array(rates[key]) / np.array(rates["bfloat16"]))
                ),
                "mean_cosine": float(cosine.mean()),
                "worst_cosine": float(cosine.min()),
            }
        keep(f"int8, {name}", figures)


if __name__ == "__main__":
    main()
