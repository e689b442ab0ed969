"""The teacher's network, and a student that starts from its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from featx.backbones.embedded import LITE0, InvertedResiduals, NetworkShape
from featx.errors import ParameterError, nearest

__all__ = ["fold_lite0", "fold_mobilenet_v2", "load_teacher"]


def load_teacher(name: str, weights: str | Path) -> nn.Module:
    """Build a network that returns its penultimate vector (B, D).

    Parameters
    ----------
    name : str
        A torchvision classification network with a `classifier` or `fc` at its end, or
        ``timm/NAME``.
    weights : str or Path
        Its state dict, as torch saved it; read with ``weights_only=True``.

    Raises
    ------
    ParameterError
        If torchvision has no such network, or it ends in neither `classifier` nor `fc`.
    """
    if name.startswith("timm/"):
        return _load_timm(name.removeprefix("timm/"), weights)
    from torchvision import models

    if name not in models.list_models(module=models):
        known = models.list_models(module=models)
        raise ParameterError(
            f"--teacher: got {name!r}, expected a torchvision classification network"
            f"{nearest(name, known)}"
        )
    network: Any = models.get_model(name)
    network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))  # noqa: TID251
    if hasattr(network, "classifier"):
        network.classifier = nn.Identity()
    elif hasattr(network, "fc"):
        network.fc = nn.Identity()
    else:
        raise ParameterError(
            f"--teacher: {name!r} ends in neither `classifier` nor `fc`; "
            "expected a network whose last module can be cut off, such as 'mobilenet_v2'"
        )
    ready: nn.Module = network.eval().requires_grad_(False)
    return ready


def _load_timm(name: str, weights: str | Path) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise ParameterError(
            f"--teacher: got {name!r}, expected a network of timm"
            f"{nearest(name, timm.list_models())}"
        )
    network: Any = timm.create_model(name, pretrained=False)
    network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))  # noqa: TID251
    network.reset_classifier(0)
    ready: nn.Module = network.eval().requires_grad_(False)
    return ready


def fold_lite0(teacher: nn.Module) -> InvertedResiduals:
    """Copy timm's tf_efficientnet_lite0 into the embedded design, batch norms folded.

    The result computes what the teacher computes.
    """
    student, source = InvertedResiduals(LITE0), cast("Any", teacher)
    _fold(source.conv_stem, source.bn1, student.stem)
    blocks: list[Any] = [block for stage in source.blocks for block in stage]
    for target, block in zip(cast("Any", student.blocks), blocks, strict=True):
        if target.expand is None:
            _fold(block.conv_dw, block.bn1, target.depthwise)
            _fold(block.conv_pw, block.bn2, target.project)
        else:
            _fold(block.conv_pw, block.bn1, target.expand)
            _fold(block.conv_dw, block.bn2, target.depthwise)
            _fold(block.conv_pwl, block.bn3, target.project)
    _fold(source.conv_head, source.bn2, student.head)
    return student.eval()


def fold_mobilenet_v2(teacher: nn.Module) -> InvertedResiduals:
    """Copy torchvision's mobilenet_v2, with its weights, batch norms folded."""
    student = InvertedResiduals(NetworkShape())
    features: Any = teacher.features
    _fold(features[0][0], features[0][1], student.stem)
    for i, target in enumerate(student.blocks):
        _fold_block(features[i + 1].conv, target)
    _fold(features[18][0], features[18][1], student.head)
    return student.eval()


def _fold_block(source: Any, target: Any) -> None:
    parts = list(source)
    if target.expand is not None:
        _fold(parts[0][0], parts[0][1], target.expand)
        parts = parts[1:]
    _fold(parts[0][0], parts[0][1], target.depthwise)
    _fold(parts[1], parts[2], target.project)


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d, target: nn.Conv2d) -> None:
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    target.weight.copy_(convolution.weight * scale[:, None, None, None])
    assert target.bias is not None
    target.bias.copy_(norm.bias - norm.running_mean * scale)
