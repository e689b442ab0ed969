"""Generalised mean: between the mean (p = 1) and the maximum (p to infinity)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from featx.errors import ParameterError
from featx.pooling.base import Pooling
from featx.pooling.simple import positions

__all__ = ["GeMPooling"]

# Floor of the activations, as in the authors' code (cirtorch): negative ones count as nothing.
EPSILON = 1e-6


@dataclass(frozen=True)
class GeMPooling(Pooling):
    """Generalised mean over positions.

    Parameters
    ----------
    p : float, default 3.0
        Exponent, above 0. 1 is the mean of the positive part; more weighs the strongest
        activations more.

    Raises
    ------
    ParameterError
        If `p` is not a finite number above 0.

    Notes
    -----
    (mean of max(x, 1e-6)^p)^(1/p): Radenović, Tolias and Chum 2018, arXiv 1711.02512, eq. 3, whose
    learned p lies near 3. The power is taken relative to each channel's maximum, so that no value
    of p overflows float32.

    Examples
    --------
    >>> GeMPooling(2.0)(torch.tensor([[[[1.0, 7.0]]]]))
    tensor([[5.]])
    """

    p: float = 3.0
    accepts: ClassVar[tuple[int, ...]] = (4, 3)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.p) and self.p > 0):
            raise ParameterError(
                f"pooling 'gem': got p = {self.p!r}, expected a finite number above 0, "
                "for example gem(3)"
            )

    @property
    def name(self) -> str:
        """``"gem(p)"``, p without trailing zeros."""
        return f"gem({repr(float(self.p)).removesuffix('.0')})"

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        x = positions(x).clamp(min=EPSILON)
        top = x.amax(dim=2, keepdim=True)
        mean = (x / top).pow(self.p).mean(dim=2)
        return top.squeeze(2) * mean.pow(1.0 / self.p)
