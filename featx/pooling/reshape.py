"""Poolings that take values as they are: the class token, all of them, a vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from featx.pooling.base import Pooling

__all__ = ["ClassTokenPooling", "FlattenPooling", "NoPooling"]


@dataclass(frozen=True)
class ClassTokenPooling(Pooling):
    """First token, which a vision transformer trains as the image's summary.

    Examples
    --------
    >>> ClassTokenPooling()(torch.arange(6.0).reshape(1, 3, 2))
    tensor([[0., 1.]])
    """

    accepts: ClassVar[tuple[int, ...]] = (3,)

    @property
    def name(self) -> str:
        """``"cls"``."""
        return "cls"

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

    accepts: ClassVar[tuple[int, ...]] = (4, 3, 2)

    @property
    def name(self) -> str:
        """``"flatten"``."""
        return "flatten"

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

    accepts: ClassVar[tuple[int, ...]] = (2,)

    @property
    def name(self) -> str:
        """``"none"``."""
        return "none"

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return x
