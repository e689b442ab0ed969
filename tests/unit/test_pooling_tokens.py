"""Poolings of tokens, against timm's own intermediate features."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from featx import Encoder
from featx.backbones import build_network, load_backbone
from featx.errors import BackboneError, ParameterError
from featx.extraction.specs import plan_features
from featx.pooling import get_pooling
from featx.recipe import Preprocessing

CPU = {"precision": "float32", "device": "cpu", "engine": "torch"}


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3"])  # 1 token, 1, registers
@pytest.mark.parametrize("px", [160, 96])
def test_class_token_and_patches_are_those_of_timm(name: str, px: int) -> None:
    pytest.importorskip("timm", reason="timm is an extra")
    net = load_backbone(f"timm/{name}", weights=None, sizes=[px], **CPU)
    module = build_network(f"timm/{name}", weights=None, sizes=[px]).module.eval()
    x = torch.randn(2, 3, px, px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ((patches, prefix),) = module.forward_intermediates(
            x, indices=1, norm=True, return_prefix_tokens=True, intermediates_only=True
        )
    mean = patches.mean(dim=(2, 3))
    poolings = ["patch", "cls+avg"] if prefix.shape[1] else ["patch"]
    specs = plan_features(net, poolings=poolings, sizes=[px])
    found = net.features([x.numpy()], [(spec.layer, spec.pooling) for spec in specs])
    expected = [mean, torch.cat([prefix[:, 0], mean], dim=1)] if prefix.shape[1] else [mean]
    assert [spec.n_features for spec in specs] == [e.shape[1] for e in expected]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "px"), [("test_vit", 160), ("test_vit", 96), ("test_vit3", 160), ("test_vit2", 96)]
)
def test_the_last_blocks_are_what_timm_gives_for_a_probe(name: str, px: int) -> None:
    """As DINOv2's own: class tokens of the last n, and the mean of the last one's patches."""
    pytest.importorskip("timm", reason="timm is an extra")
    net = load_backbone(f"timm/{name}", weights=None, sizes=[px], **CPU)
    module = build_network(f"timm/{name}", weights=None, sizes=[px]).module.eval()
    x = torch.randn(2, 3, px, px, generator=torch.Generator().manual_seed(0))
    n = 3 if name == "test_vit" else 2
    with torch.inference_mode():
        outputs = module.get_intermediate_layers(x, n=n, return_prefix_tokens=True, norm=True)
    means = [patches.mean(dim=1) for patches, _ in outputs]
    expected = {"patch": torch.cat(means, dim=1)}
    if net.has_class_token:
        classes = torch.cat([prefix[:, 0] for _, prefix in outputs], dim=1)
        expected |= {"cls": classes, "cls+avg": torch.cat([classes, means[-1]], dim=1)}
    specs = plan_features(net, [f"last{n}"], [*expected], sizes=[px])
    found = net.features([x.numpy()], [(spec.layer, spec.pooling) for spec in specs])
    assert [spec.n_features for spec in specs] == [e.shape[1] for e in expected.values()]
    for mine, theirs in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_the_last_blocks_of_torchvisions_transformer_beside_its_other_layers() -> None:
    """One pass reads them all: each is what it is when read alone."""
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    module = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32).eval()
    net = load_backbone(module, preprocessing=Preprocessing(32, 32), **CPU)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        tokens = torch.cat([module.class_token.expand(2, -1, -1), module._process_input(x)], 1)
        tokens = tokens + module.encoder.pos_embedding
        blocks = module.encoder.layers
        outputs = list(itertools.accumulate(blocks, lambda y, f: f(y), initial=tokens))
        normed = [module.encoder.ln(y) for y in outputs[1:]]
    layers = ["last2", "last3", "encoder.ln", "encoder.layers.encoder_layer_1"]
    joined = [torch.cat(normed[1:], 2), torch.cat(normed, 2), normed[2], outputs[2]]
    expected = [tokens[:, 0] for tokens in joined]
    found = net.features([x.numpy()], [(name, get_pooling("cls")) for name in layers])
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("timm/test_vit", "last7", r"'last7', but it has 6 blocks, expected 'last1' to 'last6'"),
        ("timm/test_vit", "last0", "expected a module that gives one tensor"),
        ("timm/test_convnext", "last2", "expected a transformer of timm's or torchvision's"),
        ("squeezenet1_1", "last2", "expected a transformer of timm's or torchvision's"),
    ],
)
def test_last_blocks_that_there_are_not_are_named(name: str, layer: str, message: str) -> None:
    pytest.importorskip("timm", reason="timm is an extra")
    with pytest.raises(BackboneError, match=message):
        plan_features(load_backbone(name, weights=None, **CPU), [layer])


def test_a_store_of_last_blocks_is_asked_by_its_recipe() -> None:
    pytest.importorskip("timm", reason="timm is an extra")
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3)).astype(np.uint8)
    encoder = Encoder("timm/test_vit", weights=None, layers="last4", poolings="cls+avg",
                      resize_px=96, crop_px=96, precision="float32")  # fmt: skip
    (recipe,) = encoder.recipes
    assert (recipe.layer, recipe.pooling, recipe.n_features) == ("last4", "cls+avg", 5 * 64)
    again = Encoder.from_recipe(recipe, weights=None)
    np.testing.assert_array_equal(again.encode(images), encoder.encode(images))


@pytest.mark.slow
def test_openvino_gives_the_last_blocks_that_torch_gives() -> None:
    pytest.importorskip("timm", reason="timm is an extra")
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    net = load_backbone("timm/test_vit", weights=None, precision="float32", device="cpu",
                        engine="openvino")  # fmt: skip
    (spec,) = plan_features(net, ["last3"], ["cls+avg"])
    images = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3)).astype(np.uint8)
    reads = [(spec.layer, spec.pooling)]
    found, expected = (net.features([images], reads, engine=e)[0] for e in ("openvino", "torch"))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_stem_gives_patches_alone() -> None:
    pytest.importorskip("timm", reason="timm is an extra")
    net = load_backbone("timm/vit_tiny_patch16_224", weights=None, **CPU)
    (spec,) = plan_features(net, ["patch_embed"], ["patch"])
    x = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.uint8)
    reads = [(spec.layer, spec.pooling), (spec.layer, get_pooling("avg"))]
    np.testing.assert_array_equal(*net.features([x], reads))
    with pytest.raises(ParameterError, match="without a class token"):
        plan_features(net, ["patch_embed"], ["cls+avg"])


def test_their_names_take_no_number() -> None:
    assert [get_pooling(word).name for word in ("CLS+AVG", "patch")] == ["cls+avg", "patch"]
    with pytest.raises(ParameterError, match="'patch' takes no parameter"):
        get_pooling("patch(1)")
