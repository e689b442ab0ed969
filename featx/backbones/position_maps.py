"""Find the map whose mean over positions is a feature vector.

What a network averages inside itself, as every one with global average pooling does before its
classifier, has no name there that says so. It is found by what it gives: the map is the one whose
mean is the vector, for the very images that are asked about.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx.errors import BackboneError

if TYPE_CHECKING:
    from featx.backbones.backbone import Backbone

__all__ = ["PositionMap", "find_position_map", "tolerance"]

# What networks compute as a function, so that no module's output shows it.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda x: x,
    "relu": torch.relu,
    "relu6": lambda x: x.clamp(0, 6),
}
TOLERANCES = {"float32": 1e-4}  # of a vector's length; sums in another order
HALF_TOLERANCE = 0.02  # the network rounds its own mean to 8 bits


@dataclass(frozen=True)
class PositionMap:
    """How the map behind a vector is read: a callable for `Backbone.features`.

    Parameters
    ----------
    layer : str
        Module that gives the map or the tokens.
    activation : {"identity", "relu", "relu6"}
        What the network does to it before it averages.
    n_prefix : int
        Tokens before those of the patches, which are left out.

    Examples
    --------
    >>> PositionMap("norm", n_prefix=1)(torch.zeros(2, 10, 7)).shape
    torch.Size([2, 7, 3, 3])
    """

    layer: str
    activation: str = "identity"
    n_prefix: int = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return a layer's output as maps (B, C, H, W), float32; tokens as a square of patches."""
        if x.ndim == 3:
            x = x[:, self.n_prefix :]
            side = math.isqrt(x.shape[1])
            if side**2 != x.shape[1]:
                raise BackboneError(
                    f"layer {self.layer!r}: got tokens of {x.shape[1]} patches, expected a square "
                    "of them"
                )
            x = x.transpose(1, 2).reshape(len(x), -1, side, side)
        return ACTIVATIONS[self.activation](x.detach().to(torch.float32, copy=True))


def find_position_map(
    backbone: Backbone, layer: str, pooling: Any, view: NDArray[Any]
) -> PositionMap:
    """Return the map whose mean over positions is the vector that a pooling makes of a layer.

    Parameters
    ----------
    backbone : Backbone
    layer : str
    pooling : Pooling
        As for `Backbone.features`.
    view : ndarray of shape (n, H, W, 3), uint8
        Images to tell by; costs a pass of them.

    Raises
    ------
    BackboneError
        If the vector is no such mean, and why.

    Examples
    --------
    >>> from featx import load_backbone
    >>> from featx.pooling import get_pooling
    >>> net = load_backbone("resnet18", weights=None, precision="float32")
    >>> image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    >>> find_position_map(net, "penultimate", get_pooling("none"), image)
    PositionMap(layer='layer4', activation='identity', n_prefix=0)
    """
    shape, word = backbone.layer(layer).shape, pooling.word
    n_prefix = backbone.n_prefix_tokens if len(shape) == 3 else 0
    if word == "patch" or (word == "avg" and n_prefix == 0):
        return PositionMap(layer, n_prefix=n_prefix)
    if word != "none":
        raise BackboneError(
            f"pooling {pooling.name!r} of layer {layer!r} is no mean over places in the picture"
        )
    layers = backbone.layers
    names = list(layers)
    candidates = [
        PositionMap(name, activation, backbone.n_prefix_tokens if len(layers[name]) == 3 else 0)
        for name in reversed(names[: names.index(layer)])
        if _may_be(layers[name], shape[1])
        for activation in ACTIVATIONS
    ]
    reads = [(layer, pooling), *((found.layer, _Mean(found)) for found in candidates)]
    vectors, *means = backbone.features([view], reads, engine="torch")
    errors = [float(np.linalg.norm(mean - vectors)) for mean in means]
    best = int(np.argmin(errors)) if errors else 0
    if not errors or errors[best] > tolerance(backbone) * float(np.linalg.norm(vectors)):
        raise BackboneError(
            f"layer {layer!r} of backbone {backbone.name!r} is no mean of a map over places in "
            "the picture: the network computes something else from the map, or more after it"
        )
    return candidates[best]


def tolerance(backbone: Backbone) -> float:
    """Return how far a mean may be from the vector that it is, as a share of its length."""
    return TOLERANCES.get(backbone.precision, HALF_TOLERANCE)


def _may_be(shape: tuple[int, ...], width: int) -> bool:
    """Tell whether an output has several places of vectors of a width."""
    if len(shape) == 4:
        return shape[1] == width and shape[2] * shape[3] > 1
    return len(shape) == 3 and shape[2] == width and shape[1] > 1


@dataclass(frozen=True)
class _Mean:
    """The mean of a map over its positions, or infinity where the output is none."""

    place: PositionMap

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        try:
            return self.place(x).mean(dim=(2, 3))
        except BackboneError:  # tokens of no square: they may be others than patches
            return torch.full((len(x), x.shape[2]), torch.inf)
