"""A plain 3 x 3 network that trains with side branches and ships without them.

Each layer trains as a 3 x 3 and a 1 x 1 convolution, each with batch norm, plus a batch-normed
identity where shapes allow, and folds into one 3 x 3 convolution (RepVGG, Ding et al. 2021, arXiv
2101.03697). It is what a student that does not start from the teacher is compared with.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["PlainSmall", "RepLayer"]

WIDTHS = ((48, 2), (96, 2), (192, 2), (192, 1), (192, 2), (192, 1), (384, 2))


class RepLayer(nn.Module):
    """One layer with its training branches, (B, n_in, H, W) to (B, n_out, H / stride, ...)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.wide_norm = nn.BatchNorm2d(n_out)
        self.point = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.point_norm = nn.BatchNorm2d(n_out)
        self.same_norm = nn.BatchNorm2d(n_in) if n_in == n_out and stride == 1 else None
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum the branches and clip at zero."""
        # Strided by hand: torch 2.14's backward pass of a strided 1 x 1 convolution of three
        # channels, channels last, on the CPU writes outside its memory.
        thinned = x[:, :, :: self.stride, :: self.stride]
        out = self.wide_norm(self.wide(x)) + self.point_norm(self.point(thinned))
        return functional.relu(out if self.same_norm is None else out + self.same_norm(x))

    @torch.no_grad()
    def fold(self) -> nn.Conv2d:
        """Return the one convolution that computes what the branches compute in eval mode."""
        n_out, n_in = self.wide.weight.shape[:2]
        folded = nn.Conv2d(n_in, n_out, 3, self.stride, 1)
        weight, bias = _folded(self.wide.weight, self.wide_norm)
        point, point_bias = _folded(self.point.weight, self.point_norm)
        weight[:, :, 1:2, 1:2] += point
        bias += point_bias
        if self.same_norm is not None:
            same, same_bias = _folded(torch.eye(n_in)[:, :, None, None], self.same_norm)
            weight[:, :, 1:2, 1:2] += same
            bias += same_bias
        folded.weight.copy_(weight)
        assert folded.bias is not None
        folded.bias.copy_(bias)
        return folded


def _folded(weight: torch.Tensor, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class PlainSmall(nn.Module):
    """Seven plain layers, mean over positions, one projection: (B, 3, H, W) to (B, n_features)."""

    def __init__(self, n_features: int, *, wider: float = 1.0) -> None:
        super().__init__()
        rows = [(int(n * wider), stride) for n, stride in WIDTHS]
        n_ins = [3, *(n for n, _ in rows)]
        self.layers = nn.Sequential(
            *(RepLayer(a, n, stride) for a, (n, stride) in zip(n_ins, rows, strict=False))
        )
        self.project = nn.Linear(n_ins[-1], n_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (B, n_features) projection."""
        out: torch.Tensor = self.project(self.layers(x).mean(dim=(2, 3)))
        return out

    def folded(self) -> nn.Sequential:
        """Return the network as it would ship: seven convolutions and a projection."""
        parts: list[nn.Module] = []
        for layer in self.layers:
            assert isinstance(layer, RepLayer)
            parts += [layer.fold(), nn.ReLU()]
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.project).eval()
