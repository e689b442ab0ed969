"""The blocks of a network, against what its own package knows of it."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from featx.engines.blocks import find_blocks


@pytest.mark.parametrize(
    ("name", "row", "depths"),
    [
        ("vit_small_patch14_reg4_dinov2", "blocks", None),
        ("hiera_tiny_224", "blocks", None),
        ("swin_tiny_patch4_window7_224", "layers.{}.blocks", (2, 2, 6, 2)),
        ("convnext_atto", "stages.{}.blocks", (2, 2, 6, 2)),
        ("resnet50", "layer{}", (3, 4, 6, 3)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_blocks_have_the_depths_of_the_papers(
    name: str, row: str, depths: tuple[int, ...] | None
) -> None:
    timm = pytest.importorskip("timm", reason="timm is an extra")
    with torch.device("meta"):
        found = find_blocks(timm.create_model(name))
    first = 1 if row == "layer{}" else 0
    expected = [
        f"{row.format(s + first)}.{i}" for s, n in enumerate(depths or (12,)) for i in range(n)
    ]
    assert list(found) == expected


def test_blocks_of_torchvision_are_in_order_of_execution() -> None:
    layers = [f"encoder.layers.encoder_layer_{i}" for i in range(12)]
    with torch.device("meta"):
        module = torchvision.models.vit_b_32(weights=None)
    assert list(find_blocks(module)) == layers


def test_a_network_without_rows_has_no_blocks() -> None:
    assert find_blocks(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))) == ()
    assert find_blocks(nn.Linear(3, 3)) == ()
