"""R-MAC: the sum of the maxima of square regions at several scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from featx.errors import ParameterError
from featx.pooling.base import Pooling

__all__ = ["RMACPooling", "rmac_regions"]

# Neighbouring regions of the coarsest scale overlap by as near to this as 1 to 6 of them allow.
OVERLAP = 0.4
EXTRA_REGIONS = range(1, 7)
EPSILON = 1e-6


def rmac_regions(height: int, width: int, n_scales: int) -> tuple[tuple[int, int, int], ...]:
    """Return the square regions of a map.

    Parameters
    ----------
    height, width : int
        Size of the map, in positions.
    n_scales : int
        Number of scales; scale l has regions of side 2 min(H, W) / (l + 1), rounded down.

    Returns
    -------
    tuple of (top, left, side)
        A square map has l² regions at scale l, 14 for 3 scales. The longer side of another has m
        more at each scale, where m brings the overlap of the first scale nearest to 40 %.

    Examples
    --------
    >>> len(rmac_regions(7, 7, 3)), len(rmac_regions(12, 16, 3))
    (14, 20)
    """
    short, long = min(height, width), max(height, width)
    extra = 0
    if long > short:
        extra = min(
            EXTRA_REGIONS, key=lambda m: abs((short - (long - short) / m) / short - OVERLAP)
        )
    regions = []
    for scale in range(1, n_scales + 1):
        side = 2 * short // (scale + 1)
        if side == 0:
            break  # the map is too small for this scale
        n_down = scale + (extra if height > width else 0)
        n_across = scale + (extra if width > height else 0)
        regions += [
            (top, left, side)
            for top in _starts(height, side, n_down)
            for left in _starts(width, side, n_across)
        ]
    return tuple(regions)


def _starts(length: int, side: int, n: int) -> list[int]:
    step = (length - side) / (n - 1) if n > 1 else 0.0
    half = math.floor(side / 2 - 1)  # the authors round the regions' centres down, not their edges
    return [math.floor(half + i * step) - half for i in range(n)]


@dataclass(frozen=True)
class RMACPooling(Pooling):
    """Regional maximum activations of convolutions.

    Parameters
    ----------
    n_scales : int, default 3
        Scales of regions, at least 1. Regions, and with them time, grow with its cube.

    Raises
    ------
    ParameterError
        If `n_scales` is below 1.

    Notes
    -----
    Tolias, Sicre and Jégou 2016, arXiv 1511.05879: the maximum over each region, L2-normalised,
    summed, L2-normalised. The paper whitens the regions' vectors before the sum, with whitening
    learned elsewhere; here whitening of the sum is `featx.PCAWhitening`. Regions as in the
    authors' code, without the vector of the whole map that cirtorch adds to them.

    Examples
    --------
    >>> torch.linalg.norm(RMACPooling()(torch.rand(1, 8, 7, 7))).round().item()
    1.0
    """

    word = "rmac"

    n_scales: int = 3

    def __post_init__(self) -> None:
        if self.n_scales < 1:
            raise ParameterError(
                f"pooling 'rmac': got {self.n_scales} scales, expected at least 1, "
                "for example rmac(3)"
            )

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(x.shape[:2], device=x.device)
        for top, left, side in rmac_regions(x.shape[2], x.shape[3], self.n_scales):
            region = x[:, :, top : top + side, left : left + side]
            total += _unit(region.amax(dim=(2, 3)))
        return _unit(total)


def _unit(x: torch.Tensor) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / (norm + EPSILON)
