"""Sums over positions that are not all alike: SPoC weighs by place, CroW by activity."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from featx.pooling.base import Pooling

__all__ = ["CroWPooling", "SPoCPooling"]


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

    word = "spoc"

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        sigma = min(height, width) / 2 / 3
        rows = torch.arange(height, device=x.device, dtype=torch.float32) + 0.5 - height / 2
        columns = torch.arange(width, device=x.device, dtype=torch.float32) + 0.5 - width / 2
        weights = torch.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * sigma**2))
        return (x * weights).sum(dim=(2, 3))


@dataclass(frozen=True)
class CroWPooling(Pooling):
    """Sum over positions weighted by activity, then channels weighted by rarity.

    Notes
    -----
    Kalantidis, Mellina and Osindero 2016, arXiv 1512.04065, with their a = b = 2. Position weight
    S = (S' / |S'|_2)^(1/2) where S' sums the channels. Channel weight log(sum of Q / Q_k), Q_k the
    share of positions where channel k is above zero, and 0 for a channel that is nowhere above
    zero, as in the authors' code. Maps are taken after the ReLU, so negative activations count as
    zero. The L2, PCA, whitening and L2 that follow are `featx.PCAWhitening`.

    Examples
    --------
    >>> CroWPooling()(torch.rand(2, 8, 5, 5)).shape
    torch.Size([2, 8])
    """

    word = "crow"

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        x = x.clamp(min=0)
        activity = x.sum(dim=1)
        norm = activity.square().sum(dim=(1, 2), keepdim=True).sqrt()
        # An image that activates nothing has norm 0: its weights are 0, not 0 / 0.
        spatial = (activity / norm.clamp(min=torch.finfo(torch.float32).tiny)).sqrt()
        summed = (x * spatial[:, None]).sum(dim=(2, 3))
        share = (x > 0).to(torch.float32).mean(dim=(2, 3))
        total = share.sum(dim=1, keepdim=True)
        rarity = torch.where(share > 0, torch.log(total / share.clamp(min=1e-30)), 0.0)
        return summed * rarity
