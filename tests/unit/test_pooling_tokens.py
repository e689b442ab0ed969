"""Poolings of tokens, against timm's own intermediate features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featx.backbones import build_network, load_backbone
from featx.errors import ParameterError
from featx.extraction.specs import plan_features
from featx.pooling import get_pooling

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
