"""Networks from random weights that a student of the embedded family is compared with.

All keep batch norm while they train; the library's `fuse` folds it for inference. Each maps
(B, 3, H, W) to (B, n_features).
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.models.resnet import BasicBlock

__all__ = ["SlimResNet", "mobilenet"]


def mobilenet(n_features: int, *, width: float) -> nn.Module:
    """Return torchvision's mobilenet_v2 with `width` times its channels and a last map of its own.

    Parameters
    ----------
    n_features : int
        Length of the vector.
    width : float
        Multiplier of every layer's channels; cost grows with its square.
    """
    network = mobilenet_v2(width_mult=width)
    n_last = network.classifier[1].in_features
    network.classifier = nn.Identity() if n_last == n_features else nn.Linear(n_last, n_features)
    return network


class SlimResNet(nn.Module):
    """Residual basic blocks (He et al. 2016, arXiv 1512.03385), one a stage, narrow.

    Parameters
    ----------
    n_features : int
        Length of the vector.
    widths : tuple of int
        Channels of each stage; every stage halves the resolution.
    """

    def __init__(self, n_features: int, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        n_ins = [widths[0], *widths[:-1]]
        self.stages = nn.Sequential(*map(_stage, n_ins, widths))
        self.project = nn.Linear(widths[-1], n_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (B, n_features) projection of the last map's mean."""
        out: torch.Tensor = self.project(self.stages(self.stem(x)).mean(dim=(2, 3)))
        return out


def _stage(n_in: int, n_out: int) -> nn.Module:
    shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, 2, bias=False), nn.BatchNorm2d(n_out))
    return BasicBlock(n_in, n_out, 2, shortcut)
