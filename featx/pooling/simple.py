"""Mean, maximum and generalised mean over positions, and values taken as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from featx.errors import ParameterError
from featx.pooling.base import Pooling, positions

__all__ = [
    "AveragePooling",
    "ClassTokenPooling",
    "FlattenPooling",
    "GeMPooling",
    "MaxPooling",
    "NoPooling",
]

# Floor of the activations, as in the authors' code (cirtorch): negative ones count as nothing.
EPSILON = 1e-6


@dataclass(frozen=True)
class AveragePooling(Pooling):
    """Mean over all positions, or over all tokens (a class token included).

    Examples
    --------
    >>> AveragePooling()(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[2.]])
    """

    word = "avg"
    accepts: ClassVar[tuple[int, ...]] = (4, 3)

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

    word = "max"
    accepts: ClassVar[tuple[int, ...]] = (4, 3)

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return positions(x).amax(dim=2)


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

    word = "gem"

    p: float = 3.0
    accepts: ClassVar[tuple[int, ...]] = (4, 3)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.p) and self.p > 0):
            raise ParameterError(
                f"pooling 'gem': got p = {self.p!r}, expected a finite number above 0, "
                "for example gem(3)"
            )

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        x = positions(x).clamp(min=EPSILON)
        top = x.amax(dim=2, keepdim=True)
        mean = (x / top).pow(self.p).mean(dim=2)
        return top.squeeze(2) * mean.pow(1.0 / self.p)


@dataclass(frozen=True)
class ClassTokenPooling(Pooling):
    """First token, which a vision transformer trains as the image's summary.

    Examples
    --------
    >>> ClassTokenPooling()(torch.arange(6.0).reshape(1, 3, 2))
    tensor([[0., 1.]])
    """

    word = "cls"
    accepts: ClassVar[tuple[int, ...]] = (3,)

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0].contiguous()


@dataclass(frozen=True)
class FlattenPooling(Pooling):
    """All values in C order: long vectors, whose length depends on the image's size.

    Examples
    --------
    >>> FlattenPooling()(torch.zeros(1, 2, 3, 3)).shape
    torch.Size([1, 18])
    """

    word = "flatten"
    accepts: ClassVar[tuple[int, ...]] = (4, 3, 2)

    def _width(self, shape: Sequence[int]) -> int:
        return math.prod(int(n) for n in shape[1:])

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


@dataclass(frozen=True)
class NoPooling(Pooling):
    """The layer's output as it is: it is a vector already.

    Examples
    --------
    >>> NoPooling()(torch.ones(1, 2))
    tensor([[1., 1.]])
    """

    word = "none"
    accepts: ClassVar[tuple[int, ...]] = (2,)

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return x
