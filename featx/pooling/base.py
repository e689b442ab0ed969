"""What every pooling has in common: its name, the layouts it takes, float32 sums.

A pooling turns a layer's output into one vector for each image. It knows tensors only: which layer
they come from and what becomes of the vectors is others' business. Sums and powers are computed in
float32 whatever the network's precision, since bfloat16 keeps 8 bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from featx.errors import ParameterError

__all__ = ["Pooling", "positions"]

_LAYOUTS = {4: "a map (B, C, H, W)", 3: "tokens (B, N, D)", 2: "a vector (B, D)"}
# What to use instead, by number of dimensions of the layer's output.
_USE_INSTEAD = {
    4: "use 'avg', 'max', 'gem(3)', 'spoc', 'crow', 'rmac' or 'flatten'",
    3: "use 'cls', 'cls+avg', 'patch', 'avg', 'max', 'gem(3)' or 'flatten'",
    2: "use 'none', or read a layer that gives a map",
}


@dataclass(frozen=True)
class Pooling(ABC):
    """Turn a layer's output into one vector for each image.

    Subclasses set `word` and `accepts`, write `_pool`, and have at most one field, a number with a
    default that is given in parentheses.
    """

    word: ClassVar[str]
    """Name without its parameter, as users write it."""
    accepts: ClassVar[tuple[int, ...]] = (4,)
    """Dimensions of the outputs that it takes: 4 of a map, 3 of tokens, 2 of a vector."""

    @property
    def name(self) -> str:
        """Canonical spec, for example ``"gem(3)"``: equal names mean equal vectors."""
        numbers = [repr(float(value)).removesuffix(".0") for value in vars(self).values()]
        return f"{self.word}({numbers[0]})" if numbers else self.word

    @abstractmethod
    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        """Pool a float32 tensor whose number of dimensions is in `accepts`."""

    def _width(self, shape: Sequence[int]) -> int:
        return int(shape[1] if len(shape) == 4 else shape[-1])

    def n_features(self, shape: Sequence[int]) -> int:
        """Return the length of the vector that an output of this shape is pooled to.

        Parameters
        ----------
        shape : sequence of int
            (B, C, H, W), (B, N, D) or (B, D).

        Raises
        ------
        ParameterError
            If the pooling does not take outputs of this shape.
        """
        self._check(shape)
        return self._width(shape)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Pool one layer's output.

        Parameters
        ----------
        x : Tensor of shape (B, C, H, W), (B, N, D) or (B, D), any floating dtype
            A layer's output.

        Returns
        -------
        Tensor of shape (B, n_features), float32
            On the device of `x`, never sharing memory with it.

        Raises
        ------
        ParameterError
            If the pooling does not take outputs of this shape.
        """
        self._check(x.shape)
        return self._pool(x.detach().to(torch.float32, copy=True))

    def _check(self, shape: Sequence[int]) -> None:
        if len(shape) in self.accepts and 0 not in tuple(shape)[1:]:
            return
        expected = " or ".join(_LAYOUTS[n] for n in self.accepts)
        remedy = _USE_INSTEAD.get(len(shape), "read another layer")
        raise ParameterError(
            f"pooling {self.name!r}: got an output of shape {tuple(shape)}, expected {expected}; "
            f"{remedy}"
        )


def positions(x: torch.Tensor) -> torch.Tensor:
    """View a map or tokens as (B, D, n_positions)."""
    return x.flatten(2) if x.ndim == 4 else x.transpose(1, 2)
