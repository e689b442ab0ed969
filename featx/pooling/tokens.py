"""Tokens of a vision transformer: its class token beside the mean of its patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from featx.errors import ParameterError
from featx.pooling.base import Pooling

__all__ = ["ClassAndPatchPooling", "PatchPooling", "TokenPooling"]


@dataclass(frozen=True)
class TokenPooling(Pooling):
    """A pooling that must know which tokens are patches.

    Parameters
    ----------
    n_prefix : int, default 1
        Tokens before those of the patches: class token and registers. It follows from the network
        and is no part of the name, as `n_blocks`; `featx.extraction` sets both.
    n_blocks : int, default 1
        Blocks whose tokens lie side by side in what is pooled, as the layer "last4" gives them.
    """

    n_prefix: int = 1
    n_blocks: int = 1
    accepts: ClassVar[tuple[int, ...]] = (3,)

    @property
    def name(self) -> str:
        """The word alone."""
        return self.word

    def _check(self, shape: Sequence[int]) -> None:
        super()._check(shape)
        if shape[1] <= self.n_prefix:
            raise ParameterError(
                f"pooling {self.name!r}: got {shape[1]} tokens, expected more than the "
                f"{self.n_prefix} that stand before those of the patches; read another layer"
            )


@dataclass(frozen=True)
class PatchPooling(TokenPooling):
    """Mean over the tokens of patches, without class token and registers.

    Examples
    --------
    >>> PatchPooling()(torch.tensor([[[9.0], [1.0], [3.0]]]))
    tensor([[2.]])
    """

    word = "patch"

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.n_prefix :].mean(dim=1)


@dataclass(frozen=True)
class ClassAndPatchPooling(TokenPooling):
    """Class token, then the mean over the tokens of patches: vectors of twice the width.

    Of several blocks it is the class token of each, then the mean over the patches of the last.

    Notes
    -----
    What the linear probes of DINOv2 (Oquab et al. 2024, arXiv 2304.07193) read of the last layer
    or of the last four; registers count as nothing.

    Examples
    --------
    >>> ClassAndPatchPooling()(torch.tensor([[[9.0], [1.0], [3.0]]]))
    tensor([[9., 2.]])
    >>> ClassAndPatchPooling(n_blocks=2)(torch.tensor([[[8.0, 9.0], [0.0, 1.0], [0.0, 3.0]]]))
    tensor([[8., 9., 2.]])
    """

    word = "cls+avg"

    def _width(self, shape: Sequence[int]) -> int:
        return int(shape[-1]) + int(shape[-1]) // self.n_blocks

    def _check(self, shape: Sequence[int]) -> None:
        super()._check(shape)
        if self.n_prefix == 0:
            raise ParameterError(
                "pooling 'cls+avg': got tokens without a class token, expected one before those "
                "of the patches; use 'patch'"
            )

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        last = x[:, self.n_prefix :, -(x.shape[2] // self.n_blocks) :]
        return torch.cat([x[:, 0], last.mean(dim=1)], dim=1)
