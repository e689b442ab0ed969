"""What comes out of a network: the same numbers as torch gives by hand, whatever is around."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from _encoders import load_encoder
from torch import nn

from featx.backbones import load_backbone
from featx.engines import _torch
from featx.errors import BackboneError, ParameterError
from featx.extraction.embed import embed_images
from featx.extraction.specs import plan_features
from featx.pooling import get_pooling

AVG, NONE = get_pooling("avg"), get_pooling("none")
F32 = {"precision": "float32", "device": "cpu"}
rng = np.random.default_rng(0)


def pictures(n: int, side: int = 224) -> np.ndarray:
    return rng.integers(0, 256, (n, side, side, 3), np.uint8)


def by_hand(images: np.ndarray) -> torch.Tensor:
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    return (x - mean) / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def resnet() -> tuple:
    net = load_backbone("resnet18", weights=None, **F32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torchvision.models.resnet18(weights=None).eval()
    return net, module


def test_penultimate_is_the_input_of_the_classifier(resnet) -> None:
    net, module = resnet
    images = pictures(3)
    module.fc, classifier = nn.Identity(), module.fc
    with torch.inference_mode():
        expected = module(by_hand(images)).numpy()
    module.fc = classifier
    (found,) = net.features([images], [("penultimate", NONE)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_several_layers_and_poolings_come_from_one_pass(resnet) -> None:
    net, module = resnet
    images = pictures(2)
    names = ["layer1", "layer2.0.conv1", "bn1", "layer4"]
    kept = {}
    hooks = [
        module.get_submodule(n).register_forward_hook(
            lambda _, __, out, n=n: kept.update({n: out.clone()})
        )
        for n in names
    ]
    with torch.inference_mode():
        module(by_hand(images))
    for hook in hooks:
        hook.remove()
    calls = []
    counted = net._torch.module.register_forward_pre_hook(lambda *_: calls.append(1))
    before = net.n_images
    reads = [(n, get_pooling(p)) for n in names for p in ("avg", "max")]
    found = net.features([images], reads)
    counted.remove()
    assert len(calls) == 1
    assert net.n_images - before == 2
    for i, name in enumerate(names):
        # bn1 is followed by an in-place ReLU: a late reader would see its output clipped
        x = kept[name].flatten(2).numpy()
        np.testing.assert_allclose(found[2 * i], x.mean(2), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found[2 * i + 1], x.max(2), rtol=1e-3, atol=1e-4)


def test_a_pass_stops_after_the_deepest_layer_that_is_read(resnet) -> None:
    net, _ = resnet
    assert net.layers
    run, ran = net._torch._folded, []
    hooks = [
        run.get_submodule(n).register_forward_pre_hook(lambda *_, n=n: ran.append(n))
        for n in ("layer2", "layer3", "fc")
    ]
    net.features([pictures(1)], [("layer2", AVG)])
    for hook in hooks:
        hook.remove()
    assert ran == ["layer2"]


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-5), ("bfloat16", 2e-2)],  # 24 and 8 bits; other batches, other sum orders
)
def test_features_do_not_depend_on_the_batch(precision: str, tolerance: float) -> None:
    """Would catch a network left in training mode, as batch norm and dropout then are."""
    net = load_backbone("mobilenet_v2", weights=None, precision=precision, device="cpu")
    images = pictures(5, 96)
    reads = [("penultimate", NONE)]
    (together,) = net.features([images], reads)
    net._torch.module.train()  # somebody who holds the module may do that
    alone = np.concatenate([net.features([images[i : i + 1]], reads)[0] for i in range(5)])
    scale = np.abs(together).max()
    assert np.abs(together - alone).max() <= tolerance * scale


def test_padded_batches_give_the_same_bits(resnet) -> None:
    net, _ = resnet
    images, reads = pictures(8, 64), [("layer3", AVG)]
    (full,) = net.features([images], reads)
    for n in (1, 3, 7):
        (part,) = net.features([images[:n]], reads, pad_to=8)
        np.testing.assert_array_equal(part, full[:n])


def test_views_are_averaged_or_kept(resnet) -> None:
    net, _ = resnet
    one, other, reads = pictures(2, 64), pictures(2, 96), [("layer4", AVG)]
    (a,), (b,) = net.features([one], reads), net.features([other], reads)
    (mean,) = net.features([one, other], reads)
    (kept,) = net.features([one, other], reads, keep_views=True)
    np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-6)
    np.testing.assert_array_equal(kept, np.concatenate([a, b], axis=1))


def test_a_transforms_floats_are_taken_as_they_are(resnet) -> None:
    net, _ = resnet
    images = pictures(2, 64)
    (a,) = net.features([images], [("layer1", AVG)])
    (b,) = net.features([by_hand(images).numpy()], [("layer1", AVG)])
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_near_float32_and_keeps_batch_norm_exact() -> None:
    low = load_backbone("resnet18", weights=None, precision="bfloat16", device="cpu")
    full = load_backbone("resnet18", weights=None, **F32)
    assert low.weights == full.weights  # what is hashed is what was loaded
    assert low._torch.module.bn1.running_var.dtype == torch.float32
    images = pictures(4)
    (a,), (b,) = (n.features([images], [("penultimate", NONE)]) for n in (low, full))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.999


def test_channels_last_maps_of_a_swin_transformer_are_turned() -> None:
    """Would catch pooling over width and channels, which gives a vector of 7 numbers."""
    net = load_backbone("swin_t", weights=None, **F32)
    assert net.layer("features.7").shape == (1, 768, 7, 7)
    kept = []
    features = net._torch.module.features
    hook = features.register_forward_hook(lambda _, __, out: kept.append(out.clone()))
    images = pictures(1)
    (found,) = net.features([images], [("features", AVG)])
    hook.remove()
    np.testing.assert_allclose(found, kept[0].mean(dim=(1, 2)).numpy(), rtol=1e-4, atol=1e-5)


def test_a_module_that_is_called_twice_gives_its_last_output() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Conv2d(3, 3, 1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale(self.scale(x) + 1).mean((2, 3))

    net = load_backbone(Twice(), **F32)
    assert net.layer("scale").n_calls == 2
    images = pictures(1)
    (inner,) = net.features([images], [("scale", AVG)])
    (outer,) = net.features([images], [("output", NONE)])
    np.testing.assert_allclose(inner, outer, rtol=1e-5)


def test_default_poolings_fit_what_the_layer_gives() -> None:
    vit = load_backbone("vit_b_32", weights=None, **F32)
    specs = plan_features(vit, [None, "encoder"], [None])
    assert [(s.layer, s.pooling.name, s.n_features) for s in specs] == [
        ("penultimate", "none", 768),
        ("encoder", "cls", 768),
    ]
    (tokens,) = vit.features([pictures(1)], [("encoder", get_pooling("cls"))])
    (penultimate,) = vit.features([pictures(1) * 0], [("penultimate", NONE)])
    assert tokens.shape == penultimate.shape == (1, 768)


def test_squeezenets_penultimate_is_a_map_and_is_averaged(resnet) -> None:
    net = load_backbone("squeezenet1_1", weights=None, **F32)
    (spec,) = plan_features(net)
    assert (spec.pooling.name, spec.n_features) == ("avg", 512)
    (spec,) = plan_features(net, poolings=["flatten"])
    assert spec.n_features == 512 * 13 * 13


def test_wrong_layers_and_poolings_are_named(resnet) -> None:
    net, _ = resnet
    with pytest.raises(BackboneError, match=r"'resnet18': got layer 'layr4', .*mean 'layer4'"):
        net.layer("layr4")
    with pytest.raises(ParameterError, match=r"layer 'penultimate' of 'resnet18': .*'rmac\(3\)'"):
        plan_features(net, poolings=["rmac"])
    with pytest.raises(ParameterError, match=r"got 'layer4' with 'max' twice"):
        plan_features(net, ["layer4"], ["mac", "max"])
    with pytest.raises(ParameterError, match="got none, expected at least one"):
        plan_features(net, [])


def test_a_network_that_mixes_images_is_refused() -> None:
    class Mixing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(-1, 8)

    net = load_backbone(Mixing(), **F32)
    with pytest.raises(BackboneError, match=r"'output' gives \d+ rows for a batch of 2 images"):
        net.features([pictures(2)], [("output", NONE)])


def test_a_network_that_cannot_take_the_image_says_so() -> None:
    net = load_backbone(nn.Linear(5, 2), **F32)
    with pytest.raises(BackboneError, match=r"Linear.*cannot process an image of shape"):
        net.layer("output")


SIZES = []


class Greedy(torch.nn.Module):
    """Has memory for so many images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x):
        if x.shape[2] == 224:  # the trial of one image
            return x.mean(dim=(2, 3))
        SIZES.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return x.mean(dim=(2, 3))


def test_a_batch_that_does_not_fit_the_memory_is_halved_for_good(caplog, monkeypatch) -> None:
    monkeypatch.setattr(_torch, "LEAST_AT_ONCE", 32)  # as on a GPU, which takes them all at once
    net = load_backbone(Greedy(5), precision="float32", device="cpu", engine="torch")
    reads = [("output", get_pooling("none"))]
    images = np.random.default_rng(0).integers(0, 256, (19, 32, 32, 3), np.uint8)
    whole = load_backbone(Greedy(99), precision="float32", device="cpu", engine="torch")
    (expected,) = whole.features([images], reads)
    SIZES.clear()
    (found,) = net.features([images], reads)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert SIZES == [19, 9, 4, 4, 4, 4, 3]
    assert "no memory for 19 images at once, going on with 9" in caplog.text
    SIZES.clear()
    (found,) = net.features([images[:6]], reads, pad_to=32)
    np.testing.assert_allclose(found, expected[:6], atol=1e-6)
    assert SIZES == [4, 4]
    with pytest.raises(BackboneError, match=r"has no memory for one image \(CUDA out of memory"):
        load_backbone(Greedy(0), precision="float32", device="cpu", engine="torch").features(
            [images], reads
        )


@pytest.mark.parametrize("batch_size", [1, 8, 20, 64])
def test_a_processors_passes_have_one_size_and_every_image_comes_back(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_torch, "AT_ONCE_PER_THREAD", 0)
    net = load_backbone(Greedy(99), precision="float32", device="cpu", engine="torch")
    images = np.random.default_rng(0).integers(0, 256, (27, 32, 32, 3), np.uint8)
    SIZES.clear()
    batches = [(i, [images[i : i + batch_size]]) for i in range(0, 27, batch_size)]
    reads = [("output", get_pooling("none"))]
    found = [v[0] for _, v in net.stream(batches, reads, pad_to=batch_size)]
    assert set(SIZES) == {min(batch_size, 8)}
    mean, std = net.preprocessing.mean, net.preprocessing.std
    expected = (images.mean(axis=(1, 2), dtype=np.float64) / 255 - mean) / std
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["featx_small", "resnet18"])
def test_rounding_stands_in_for_bfloat16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Torch's own bfloat16 is the reference, with or without instructions for it.
    images, reads = pictures(2, 96), [("penultimate", NONE)]
    weights = "default" if name == "featx_small" else None
    found = {}
    for kind, precision, rounds in (
        ("exact", "float32", False), ("torch", "bfloat16", False), ("rounded", "bfloat16", True),
    ):  # fmt: skip
        monkeypatch.setattr(_torch, "must_round", lambda *_, rounds=rounds: rounds)
        loads = {"weights": weights, "device": "cpu", "engine": "torch", "precision": precision}
        (x,) = load_backbone(name, **loads).features([images], reads)
        found[kind] = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1)[:, None]
    between = np.linalg.norm(found["rounded"] - found["torch"], axis=1).max()
    assert 0 < between < np.linalg.norm(found["exact"] - found["torch"], axis=1).max() < 0.1


def test_only_processors_without_bfloat16_round(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(_torch.platform, "machine", lambda: "x86_64")
    for has in (True, False):
        monkeypatch.setattr(_torch, "has_bfloat16", lambda _, has=has: has)
        assert _torch.must_round(torch.bfloat16, cpu) is not has
        assert not _torch.must_round(torch.float16, cpu)
        assert not _torch.must_round(torch.bfloat16, torch.device("cuda"))
    monkeypatch.setattr(_torch.platform, "machine", lambda: "aarch64")
    assert not _torch.must_round(torch.bfloat16, cpu)


def test_an_engine_that_takes_two_batches_is_given_two_and_keeps_the_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"device": "cpu", "precision": "float32", "engine": "torch"}
    loaded = load_encoder(**options, batch_size=2, workers=0)
    net, images = loaded.backbone, list(pictures(11))
    expected = embed_images(loaded, images).features
    monkeypatch.setattr(net._torch, "n_at_once", 2)  # as on a GPU
    events: list[str] = []
    begin = net._passes.begin

    def watched(*args):
        number = sum(event.startswith("begun") for event in events)
        events.append(f"begun {number}")
        fetch = begin(*args)
        return lambda: events.append(f"fetched {number}") or fetch()

    monkeypatch.setattr(net._passes, "begin", watched)
    found = embed_images(loaded, images).features
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    pairs = [(f"begun {i + 1}", f"fetched {i}") for i in range(5)]
    assert events == ["begun 0", *(event for pair in pairs for event in pair), "fetched 5"]
    monkeypatch.setattr(net._torch, "read", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        embed_images(loaded, images)


def test_batches_are_larger_on_a_gpu_unless_asked_for() -> None:
    options = {"device": "cpu", "precision": "float32", "engine": "torch"}
    for size, on_cpu, on_gpu in ((None, 32, 256), (7, 7, 7)):
        loaded = load_encoder(**options, batch_size=size)
        gpu = dataclasses.replace(loaded, backbone=SimpleNamespace(device="cuda:1"))
        assert (loaded.batch_size, gpu.batch_size) == (on_cpu, on_gpu)


def test_a_broken_transform_is_found_at_once() -> None:
    net = load_backbone("resnet18", weights=None, transform=lambda image: 1 / 0, **F32)
    with pytest.raises(BackboneError, match="its transform raised ZeroDivisionError on a blank"):
        net.layer("penultimate")
