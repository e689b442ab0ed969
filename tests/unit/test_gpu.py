"""What runs on a GPU gives what a CPU gives, whatever is under way at once."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from _encoders import load_encoder

import featx
from featx.backbones import load_backbone
from featx.extraction.embed import embed_images
from featx.finetuning import FineTuneClassifier
from featx.pooling import get_pooling
from featx.retrieval import RetrievalIndex

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
READS = [("penultimate", get_pooling("none"))]


def noise(n: int, side: int = 128) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, side, side, 3), np.uint8)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("name", ["featx_small", "resnet18", "vit_b_32"])
def test_float32_is_that_of_a_cpu_and_not_tf32(name: str) -> None:
    images = noise(8, 224)
    loads = {"weights": "default" if name == "featx_small" else None, "precision": "float32"}
    (here,) = load_backbone(name, device="cpu", engine="torch", **loads).features([images], READS)
    net = load_backbone(name, device="cuda", **loads)
    (there,) = net.features([images], READS)
    # TF32 has 10 bits: its differences are around 1e-3
    assert np.abs(here - there).max() < 2e-5 * np.abs(here).max()
    assert net.maps(images, net_layer(net)).dtype == np.float32
    assert torch.backends.cudnn.allow_tf32  # a user's own networks are left alone


def net_layer(net) -> str:
    return next(name for name, shape in net.layers.items() if len(shape) == 4)


@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 0.98), ("float16", 0.9999)])
def test_low_precision_stays_near(precision: str, least: float) -> None:
    paths = featx.ImageManifest.from_source(featx.images.sample_data_dir()).paths[::12]
    loads = {"backbone": "featx_small", "engine": "torch"}
    here = featx.FeatureExtractor(device="cpu", precision="float32", **loads).fit_transform(paths)
    there = featx.FeatureExtractor(device="cuda", precision=precision, **loads).fit_transform(
        paths
    )
    assert cosines(here, there).min() > least


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.99999), ("bfloat16", 0.98)])
def test_a_compiled_network_gives_the_same(precision: str, least: float) -> None:
    images = noise(12, 224)  # filled up to sixteen
    loads = {"device": "cuda", "precision": precision}
    reads = [("blocks.4", get_pooling("max")), *READS]
    plain = load_backbone("featx_small", **loads).features([images], reads)
    net = load_backbone("featx_small", engine="compile", **loads)
    for found, expected in zip(net.features([images], reads), plain, strict=True):
        assert cosines(found, expected).min() > least


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_under_way_at_once_does_not_mix(precision: str) -> None:
    run = {"device": "cuda", "batch_size": 32, "workers": 0}
    loaded = load_encoder(precision=precision, resize_px=128, crop_px=128, **run)
    images = list(noise(300))
    found = embed_images(loaded, images).features
    alone = [
        loaded.backbone.features([np.stack(images[at : at + 32])], job_reads(loaded), pad_to=32)[0]
        for at in range(0, 300, 32)
    ]
    np.testing.assert_allclose(found, np.concatenate(alone), rtol=1e-5, atol=1e-5)
    with ThreadPoolExecutor(4) as threads:  # as a server's requests come
        again = threads.map(
            lambda at: loaded.backbone.features(
                [np.stack(images[at : at + 32])], job_reads(loaded), pad_to=32
            )[0],
            range(0, 300, 32),
        )
        np.testing.assert_allclose(found, np.concatenate(list(again)), rtol=1e-5, atol=1e-5)


def job_reads(loaded) -> list:
    return [(spec.layer, spec.pooling) for spec in loaded.specs]


def test_batches_are_halved_until_the_memory_takes_them(caplog: pytest.LogCaptureFixture) -> None:
    images = noise(256, 224)
    loads = {"weights": None, "device": "cuda", "precision": "float32"}
    (expected,) = load_backbone("resnet18", **loads).features([images[:64]], READS)
    net = load_backbone("resnet18", **loads)
    net.layers  # noqa: B018 - loaded and traced before memory is short
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction(
            (torch.cuda.memory_reserved() + 600 * 2**20) / total
        )
        with caplog.at_level(logging.WARNING):
            (found,) = net.features([images], READS)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "has no memory for 256 images at once, going on with 128" in caplog.text
    np.testing.assert_allclose(found[:64], expected, rtol=1e-3, atol=1e-4)


def test_an_extraction_and_a_second_one(tmp_path: Path) -> None:
    folder = featx.images.sample_data_dir()
    with featx.extract(folder, tmp_path / "gpu.h5", precision="float32", workers=2) as there:
        assert there.summary.device.startswith("cuda")
        assert there.summary.engine == "torch"
        with featx.extract(
            folder, tmp_path / "cpu.h5", precision="float32", device="cpu", engine="torch"
        ) as here:
            assert list(here.paths) == list(there.paths)
            assert here.fingerprint == there.fingerprint
            np.testing.assert_allclose(here[:], there[:], rtol=1e-3, atol=1e-4)
    with featx.extract(folder, tmp_path / "gpu.h5", precision="float32", device="cpu") as again:
        assert again.summary.extracted == 0


def test_fine_tuning_serves_a_cpu_too(tmp_path: Path) -> None:
    X = np.random.default_rng(0).integers(0, 128, (24, 64, 64, 3), dtype=np.uint8)
    X[12:] += 100
    y = ["dark"] * 12 + ["light"] * 12
    clf = FineTuneClassifier(
        n_views=2, epochs=2, crop_px=64, resize_px=64, device="cuda", workers=0
    ).fit(X, y)
    assert clf.score(X, y) == 1
    clf.save_backbone(tmp_path / "w.safetensors")
    loads = {"weights": tmp_path / "w.safetensors", "precision": "float32"}
    here, there = (
        load_backbone("featx_small", device=device, **loads).features([X], READS)[0]
        for device in ("cpu", "cuda")
    )
    assert np.abs(here - there).max() < 2e-5 * np.abs(here).max()


def test_an_index_answers_as_one_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, Q = rng.standard_normal((5000, 64), np.float32), rng.standard_normal((50, 64), np.float32)
    expected = RetrievalIndex().fit(X)
    expected.save(tmp_path / "i")
    for index in (
        RetrievalIndex(storage="cuda").fit(X),
        RetrievalIndex.load(tmp_path / "i", storage="cuda"),
    ):
        assert (index.query(Q).ids == expected.query(Q).ids).mean() > 0.99
        np.testing.assert_allclose(
            index.query(Q).distances, expected.query(Q).distances, atol=1e-6
        )
