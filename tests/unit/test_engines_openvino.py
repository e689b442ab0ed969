"""Engines: whatever runs a network, the features are torch's."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from _encoders import load_encoder, load_recipe
from PIL import Image
from torch import nn

import featx
from featx.backbones import load_backbone
from featx.backbones.embedded import build_embedded
from featx.cli.main import main
from featx.engines import _openvino, placement
from featx.engines import choice as choice_module
from featx.engines.chosen import EngineChoice
from featx.engines.placement import Placement, Precision
from featx.errors import BackboneError, MissingDependencyError, ParameterError
from featx.extraction.embed import embed_images
from featx.pooling import get_pooling

CPU = {"device": "cpu", "precision": "float32"}
AVG, NONE = get_pooling("avg"), get_pooling("none")
PENULTIMATE = [("penultimate", NONE)]
HAS_BFLOAT16 = placement.has_bfloat16(torch.device("cpu"))
is_there = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not is_there, reason="needs openvino (featx[openvino])")
needs_bfloat16 = pytest.mark.skipif(not HAS_BFLOAT16, reason="needs a CPU with bfloat16")


def pictures(n: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)


def by_hand(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Forward as one writes it in torch, without featx."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    with torch.inference_mode():
        found = network.eval()((x - mean) / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    return found.numpy()


def share_of_largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="module")
def photographs(shared_assets: Path) -> list[str]:
    paths = sorted(map(str, (shared_assets / "datasets" / "flowers12").rglob("*.jpg")))
    if not paths:
        pytest.skip(f"no photographs in {shared_assets}")
    return paths[:: max(1, len(paths) // 24)][:24]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, picture in enumerate(pictures(6, 48)):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder


# -- the same features ------------------------------------------------------------------------


@needs_openvino
def test_featx_small_equals_a_plain_forward_in_torch() -> None:
    net = load_backbone("featx_small", engine="openvino", **CPU)
    images = pictures(5, 160)
    (found,) = net.features([images], PENULTIMATE)
    expected = by_hand(build_embedded("featx_small"), images)
    assert share_of_largest(found, expected) < _openvino.TOLERANCE


@needs_openvino
def test_mobilenet_v2_equals_a_plain_forward_in_torch(shared_assets: Path) -> None:
    weights = shared_assets / "weights" / "mobilenet_v2.pth"
    if not weights.is_file():
        pytest.skip(f"no weights at {weights}")
    network = torchvision.models.mobilenet_v2(weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.classifier = nn.Identity()
    net = load_backbone("mobilenet_v2", weights=weights, engine="openvino", **CPU)
    images = pictures(4, 224)
    (found,) = net.features([images], PENULTIMATE)
    assert share_of_largest(found, by_hand(network, images)) < _openvino.TOLERANCE


@needs_openvino
@needs_bfloat16
def test_in_bfloat16_it_is_as_near_to_float32_as_torch_is(photographs: list[str]) -> None:
    found = {}
    for engine, precision in (
        ("torch", "float32"),
        ("torch", "bfloat16"),
        ("openvino", "bfloat16"),
    ):
        loaded = load_encoder(device="cpu", precision=precision, engine=engine, workers=0)
        found[engine, precision] = embed_images(loaded, photographs).features
    exact, theirs, mine = found.values()
    assert 1 - cosines(mine, exact).min() < 1.5 * (1 - cosines(theirs, exact).min())
    # Measured: 0.99995 at worst on 480 photographs, where each is 0.986 from float32.
    assert cosines(mine, theirs).min() > 0.999


@needs_openvino
def test_several_layers_and_poolings_come_from_one_pass() -> None:
    nets = {e: load_backbone("resnet18", weights=None, engine=e, **CPU)
            for e in ("torch", "openvino")}  # fmt: skip
    images = pictures(3, 96)
    # bn1 is followed by an in-place ReLU: a late reader would see its output clipped
    reads = [(n, get_pooling(p)) for n in ("bn1", "layer2.0.conv1", "layer4")
             for p in ("avg", "max", "gem(3)", "rmac")] + PENULTIMATE  # fmt: skip
    expected = nets["torch"].features([images], reads)
    found = nets["openvino"].features([images], reads)
    assert len(nets["openvino"]._engines.openvino._ready) == 1
    for read, a, b in zip(reads, found, expected, strict=True):
        assert share_of_largest(a, b) < _openvino.TOLERANCE, read
    assert found[0].min() < 0
    maps = [net.maps(images, "layer3") for net in nets.values()]
    assert share_of_largest(maps[1], maps[0]) < _openvino.TOLERANCE


def small_network(kind: str) -> nn.Module | str:
    """Return one with torchvision's parts, and few: conversion takes a second per block."""
    if kind == "swin":
        return torchvision.models.SwinTransformer(
            patch_size=[4, 4], embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=[7, 7]
        )
    if kind == "vit":
        net = torchvision.models.VisionTransformer(
            image_size=224, patch_size=32, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64
        )
        nn.init.normal_(net.heads.head.weight)  # zeros, as it is made
        return net
    return kind  # a name


@needs_openvino
@pytest.mark.parametrize("kind", ["swin", "vit", "googlenet", "shufflenet_v2_x0_5"])
def test_other_kinds_of_networks_agree_too(kind: str) -> None:
    torch.manual_seed(0)
    network = small_network(kind)
    weights = None if network == kind else "default"
    nets = [
        load_backbone(network, weights=weights, engine=e, **CPU) for e in ("torch", "openvino")
    ]
    images = pictures(2, 224 if kind in ("swin", "vit") else 96)
    layers = {"swin": ["features.1", "features.3"], "vit": ["encoder.ln"]}.get(kind, [])
    reads = [*((layer, AVG) for layer in layers), *PENULTIMATE]
    for a, b in zip(*(net.features([images], reads) for net in nets), strict=True):
        assert share_of_largest(b, a) < _openvino.TOLERANCE


@needs_openvino
def test_few_images_share_the_cores_and_many_have_one_each(monkeypatch) -> None:
    monkeypatch.setattr(_openvino.torch, "get_num_threads", lambda: 3)
    net = load_backbone("featx_small", engine="openvino", **CPU)
    images = pictures(17, 160)
    expected = by_hand(build_embedded("featx_small"), images)
    for n, streams in ((2, {1}), (17, {1, 3}), (1, {1, 3})):
        (found,) = net.features([images[:n]], PENULTIMATE)
        assert share_of_largest(found, expected[:n]) < _openvino.TOLERANCE
        (ready,) = net._engines.openvino._ready.values()
        assert set(ready.streams.compiled) == streams


@needs_openvino
def test_batches_from_several_threads_and_streams_left_half_way_do_not_mix() -> None:
    net = load_backbone("featx_small", engine="openvino", **CPU)
    images = pictures(24, 160)
    (expected,) = net.features([images], PENULTIMATE)
    batches = [(i, [images[i : i + 5]]) for i in range(0, 24, 5)]

    def run(seed: int) -> None:
        rows = np.random.default_rng(seed).permutation(24)
        mixed = [(i, [images[rows[i : i + 5]]]) for i in range(0, 24, 5)]
        found = {i: v[0] for i, v in net.stream(mixed, PENULTIMATE, pad_to=5)}
        for i, vectors in found.items():
            np.testing.assert_array_equal(vectors, expected[rows[i : i + 5]])

    left = net.stream(batches, PENULTIMATE)
    np.testing.assert_array_equal(next(left)[1][0], expected[:5])
    left.close()  # with one more batch under way
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run, range(8)))


@needs_openvino
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_features_do_not_depend_on_the_batch_to_the_last_bit(precision: str) -> None:
    net = load_backbone("featx_small", engine="openvino", device="cpu", precision=precision)
    images = pictures(9, 160)
    (together,) = net.features([images], PENULTIMATE)
    for rows in ([0], [8], [3, 1, 4], list(range(9))[::-1]):
        np.testing.assert_array_equal(net.features([images[rows]], PENULTIMATE)[0], together[rows])
    (padded,) = net.features([images[:2]], PENULTIMATE, pad_to=16)
    np.testing.assert_array_equal(padded, together[:2])
    other = load_backbone("featx_small", engine="openvino", device="cpu", precision=precision)
    np.testing.assert_array_equal(other.features([images], PENULTIMATE)[0], together)


@needs_openvino
def test_views_of_several_sizes_and_a_transforms_floats() -> None:
    nets = [load_backbone("resnet18", weights=None, engine=e, **CPU)
            for e in ("torch", "openvino")]  # fmt: skip
    small, large = pictures(2, 64), pictures(2, 96)
    floats = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    for views in ([small, large], [small], [floats]):
        (a,), (b,) = (net.features(views, [("layer4", AVG)], keep_views=True) for net in nets)
        assert share_of_largest(b, a) < _openvino.TOLERANCE


# -- which engine, and why --------------------------------------------------------------------


SHAPE = [(160, 160, 3)]


def test_auto_is_torch_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    net = load_backbone(**CPU)
    choice = net.choose_engine(["penultimate"], SHAPE, n_images=1000)
    assert choice == EngineChoice(
        "torch", "openvino is not installed (pip install 'featx[openvino]')"
    )
    asked = load_backbone(engine="torch", **CPU)
    assert asked.choose_engine([], SHAPE, n_images=1000).reason == "as asked for"
    for device, precision, reason in [
        ("cuda:0", "float32", "runs on cuda:0"),
        ("cpu", "float16", "computes in float16"),
    ]:
        where = Placement(torch.device(device), Precision(precision), "auto", "as asked for")
        assert choice_module.why_torch(where, n_images=9, n_views=1) == reason


@needs_openvino
def test_auto_is_openvino_where_it_pays_and_agrees() -> None:
    net = load_backbone(**CPU)

    def chosen(shapes, n_images: int) -> EngineChoice:
        return net.choose_engine(["penultimate"], shapes, n_images=n_images)

    assert chosen(SHAPE, 1000).name == "openvino"
    assert "agrees with torch on trial images" in chosen(SHAPE, 1000).reason
    assert chosen(SHAPE, 127) == EngineChoice(
        "torch", "openvino's conversion pays off from 128 passes on, and this run has 127"
    )
    assert chosen(SHAPE * 2, 64).name == "openvino"
    assert "not known beforehand" in chosen(None, 1000).reason


class Doubled(nn.Module):
    """What tracing gets wrong: it takes the branch of the trial's batch size for all."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * (2.0 if int(x.shape[0]) == _openvino.N_TRACED else 1.0)


class Fourier(nn.Module):
    """What OpenVINO has no operation for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(x.mean(1)).float()


@needs_openvino
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Doubled(), r"Doubled': OpenVINO gives another output of layer 'output' than torch"),
        (Fourier(), r"Fourier': OpenVINO cannot run it .* use engine 'torch'"),
    ],
    ids=["wrong", "impossible"],
)
def test_a_network_that_openvino_gets_wrong_stays_with_torch_and_is_named(
    module: nn.Module, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        choice = load_backbone(module, **CPU).choose_engine(
            ["output"], [(32, 32, 3)], n_images=1000
        )
    assert choice.name == "torch"
    assert choice.reason in caplog.text
    asked = load_backbone(module, engine="openvino", **CPU)
    with pytest.raises(BackboneError, match=message):
        asked.choose_engine(["output"], [(32, 32, 3)], n_images=1)
    with pytest.raises(BackboneError, match=message):
        asked.features([pictures(2, 32)], [("output", NONE)])


@needs_openvino
@needs_bfloat16
def test_bfloat16_that_loses_more_than_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_openvino, "MORE_THAN_TORCH", -1.0)
    net = load_backbone(engine="openvino", device="cpu", precision="bfloat16")
    with pytest.raises(BackboneError, match=r"in bfloat16 gives .* with a cosine of 0\.9"):
        net.features([pictures(1, 160)], PENULTIMATE)


def test_missing_package_is_named_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[openvino\]'"):
        load_backbone(engine="openvino", **CPU)


def test_what_an_engine_cannot_do_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r"engine: got 'openvin', .*'openvino'"):
        load_backbone(engine="openvin")
    with pytest.raises(ParameterError, match="'openvino' with precision 'float16'"):
        load_backbone(engine="openvino", device="cpu", precision="float16")
    with pytest.raises(ParameterError, match="'openvino' with device 'cuda:0'"):
        placement.require_able(
            Placement(torch.device("cuda:0"), Precision("float32"), "openvino", "as asked for")
        )
    net = load_backbone(engine="torch", **CPU)
    with pytest.raises(ParameterError, match="which was loaded for engine 'torch'"):
        net.features([pictures(1, 160)], PENULTIMATE, engine="openvino")


@needs_openvino
def test_it_is_imported_only_when_used_and_reports_to_nobody(tmp_path: Path) -> None:
    """``import openvino`` as such writes an id into the home folder and sends it."""
    code = (
        "import sys, numpy as np, featx; net = featx.load_backbone(device='cpu');"
        "assert 'openvino' not in sys.modules;"
        "net.choose_engine(['penultimate'], [(160, 160, 3)], n_images=500);"
        "print('openvino' in sys.modules, 'openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**_environment(), "HOME": str(tmp_path)},
    )
    assert done.stdout.split() == ["True", "False"]
    assert not list(tmp_path.rglob("*openvino*"))


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


# -- stores -----------------------------------------------------------------------------------


@needs_openvino
def test_both_engines_fill_one_table_and_each_says_so(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "f.h5"
    first = featx.extract(photos, store, engine="torch", workers=0, **CPU)
    expected = first[:]
    assert (first.summary.engine, first.summary.engine_reason) == ("torch", "as asked for")
    assert first.made_with["engine"] == "torch"
    again = featx.extract(photos, store, engine="openvino", workers=0, **CPU)
    assert (again.summary.reused, again.summary.engine) == (6, "none")
    assert again.made_with["engine"] == "torch"
    Image.fromarray(pictures(1, 60)[0]).save(photos / "new.png")
    more = featx.extract(photos, store, engine="openvino", workers=0, **CPU)
    assert (more.summary.extracted, more.recipe) == (1, first.recipe)
    assert more.made_with["engine"] == "openvino"
    assert more.made_with["engine_version"][:2] == "20"
    other = featx.extract(photos, tmp_path / "g.h5", engine="openvino", workers=0, **CPU)
    assert other.recipe == first.recipe
    assert share_of_largest(other[:6], expected) < _openvino.TOLERANCE
    loaded = load_recipe(other.recipe, device="cpu", engine="torch")
    (_, (asked,)) = next(loaded.embed(other.paths[:2].tolist()))
    assert share_of_largest(other[:2], asked) < _openvino.TOLERANCE


@needs_openvino
def test_the_engine_is_chosen_by_all_images_not_by_those_left(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch a resumed run that ends with another engine than it began with."""
    monkeypatch.setattr(choice_module, "MIN_PASSES", 6)
    for name in ("5.png", "4.png"):
        (photos / name).rename(tmp_path / name)
    first = featx.extract(photos, tmp_path / "f.h5", workers=0, **CPU)
    reason = "openvino's conversion pays off from 6 passes on, and this run has 4"
    assert first.summary.engine_reason == reason
    for name in ("5.png", "4.png"):
        (tmp_path / name).rename(photos / name)
    second = featx.extract(photos, tmp_path / "f.h5", workers=0, **CPU)
    assert (second.summary.extracted, second.summary.engine) == (2, "openvino")


@needs_openvino
def test_feature_extractor_takes_an_engine() -> None:
    images = pictures(3, 160)
    a, b = (
        featx.FeatureExtractor(engine=e, **CPU).transform(images) for e in ("torch", "openvino")
    )
    assert share_of_largest(b, a) < _openvino.TOLERANCE
    assert "engine" in featx.FeatureExtractor().get_params()


@needs_openvino
def test_the_command_line_says_what_ran_and_why(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["extract", str(photos), "--store", str(tmp_path / "f.h5"), "--device", "cpu",
             "--precision", "float32", "--workers", "0"]  # fmt: skip
    assert main([*words, "--engine", "openvino", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["engine"], result["engine_reason"]) == ("openvino", "as asked for")
    assert main([*words[:3], str(tmp_path / "g.h5"), *words[4:]]) == 0
    assert "engine torch (openvino's conversion pays off" in capsys.readouterr().out
    assert main([*words, "--engine", "tvm"]) == 1
    said = capsys.readouterr().err
    assert "engine: got 'tvm', expected one of 'auto', 'torch', 'compile' or 'openvino'" in said


def test_a_choice_is_plain_data() -> None:
    choice = EngineChoice("torch", "as asked for")
    assert dataclasses.asdict(choice) == {"name": "torch", "reason": "as asked for"}
    assert choice.version == torch.__version__.partition("+")[0] or choice.version
