"""bfloat16 on a processor that has none: float32, rounded where a layer would have rounded.

Torch computes bfloat16 there too, one multiplication at a time: 7 to 25 times as slow as this. A
convolution in bfloat16 sums in float32 and rounds the sum, so rounding what goes in and what comes
out is the same arithmetic, but for operations between modules.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["round_between_modules", "rounded"]


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Return float32 numbers that bfloat16 has."""
    return x.bfloat16().float()


@torch.no_grad()
def round_between_modules(module: nn.Module, keep: type[nn.Module]) -> None:
    """Round a module's weights, and from now on what each of its parts gives.

    Parameters
    ----------
    module : nn.Module
        In float32, on a processor; changed.
    keep : type
        Parts whose weights stay as they are.

    Examples
    --------
    >>> layer = nn.Linear(1, 1)
    >>> _ = nn.init.constant_(layer.weight, 1.001), nn.init.zeros_(layer.bias)
    >>> round_between_modules(layer, nn.BatchNorm2d)
    >>> layer.weight.item(), layer(torch.tensor([1.0078125])).item()
    (1.0, 1.0078125)
    """
    for part in module.modules():
        if not isinstance(part, keep):
            for parameter in part.parameters(recurse=False):
                parameter.data = rounded(parameter.data)
        if not isinstance(part, nn.Sequential):  # gives what its last part gave
            part.register_forward_hook(_round_output)


def _round_output(_: nn.Module, __: Any, output: Any) -> torch.Tensor | None:
    is_float = isinstance(output, torch.Tensor) and output.dtype is torch.float32
    return rounded(output) if is_float else None
