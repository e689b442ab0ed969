"""Mean and maximum over positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from featx.pooling.base import Pooling

__all__ = ["AveragePooling", "MaxPooling", "positions"]


def positions(x: torch.Tensor) -> torch.Tensor:
    """View a map or tokens as (B, D, n_positions)."""
    return x.flatten(2) if x.ndim == 4 else x.transpose(1, 2)


@dataclass(frozen=True)
class AveragePooling(Pooling):
    """Mean over all positions, or over all tokens (a class token included).

    Examples
    --------
    >>> AveragePooling()(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[2.]])
    """

    accepts: ClassVar[tuple[int, ...]] = (4, 3)

    @property
    def name(self) -> str:
        """``"avg"``."""
        return "avg"

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return positions(x).mean(dim=2)


@dataclass(frozen=True)
class MaxPooling(Pooling):
    """Maximum over all positions.

    Notes
    -----
    Retrieval calls it MAC, maximum activations of convolutions (Tolias et al. 2016,
    arXiv 1511.05879, eq. 1). "mac" is accepted; "max" is the name that recipes keep.

    Examples
    --------
    >>> MaxPooling()(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[3.]])
    """

    accepts: ClassVar[tuple[int, ...]] = (4, 3)

    @property
    def name(self) -> str:
        """``"max"``."""
        return "max"

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return positions(x).amax(dim=2)
