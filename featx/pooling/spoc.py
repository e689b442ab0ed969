"""SPoC: the sum over positions with a Gaussian centre prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from featx.pooling.base import Pooling

__all__ = ["SPoCPooling"]


@dataclass(frozen=True)
class SPoCPooling(Pooling):
    """Sum over positions, each weighted by its nearness to the centre.

    Notes
    -----
    Babenko and Lempitsky 2015, arXiv 1510.07493, eq. 2 and 4: the weight of position (x, y) is
    exp(-((y - H/2)² + (x - W/2)²) / (2 sigma²)), sigma a third of the distance from the centre to
    the closest boundary. Coordinates are those of the positions' centres (0.5, 1.5, …), which
    makes the prior symmetric. The paper's L2, PCA, whitening and L2 are `featx.PCAWhitening`.

    Examples
    --------
    >>> SPoCPooling()(torch.ones(1, 1, 3, 3)).item() < 9
    True
    """

    @property
    def name(self) -> str:
        """``"spoc"``."""
        return "spoc"

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        sigma = min(height, width) / 2 / 3
        rows = torch.arange(height, device=x.device, dtype=torch.float32) + 0.5 - height / 2
        columns = torch.arange(width, device=x.device, dtype=torch.float32) + 0.5 - width / 2
        weights = torch.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * sigma**2))
        return (x * weights).sum(dim=(2, 3))
