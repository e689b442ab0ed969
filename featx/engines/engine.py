"""What an engine is given and must offer, and what engines share: input, padding, comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx.engines.layers import LayerOutput
from featx.recipe import Preprocessing

__all__ = [
    "Engine",
    "Finish",
    "Network",
    "Normalise",
    "Samples",
    "Use",
    "collect_outputs",
    "cosines",
    "make_trial_views",
    "pad_batch",
]

SEED = 0

Use = Callable[[str, torch.Tensor], None]
"""What takes a layer's name and its output, which it must copy."""
Finish = Callable[[], None]
"""Waits for a batch, and hands its outputs over."""
Samples = Callable[[Sequence[int]], NDArray[Any]]
"""What gives sample views of a shape, (n, *shape)."""


@dataclass(frozen=True)
class Network:
    """A network as it was built, before anything is done to it for speed.

    Parameters
    ----------
    name : str
        As `list_backbones` has it, or ``module:Class`` of your own.
    module : nn.Module
        On the CPU, in float32; its layers and parameters are those of the weights file.
    head : str or None
        Module whose input is the penultimate feature; None where that is the output.
    preprocessing : Preprocessing
        What its images must be made into.
    preprocessing_reason : str
        Why, for people.
    weights_source : str
        Where the weights come from, for people.
    license : str or None
        Their terms, where these are stated.
    transform : callable, optional
        A user's own way from a PIL image to the network's input.
    digest : str, optional
        That of the weights as they were loaded, where they were resampled for images of another
        size: how it rounds depends on the processor, and the size is in recipes anyway.
    px : int, optional
        That size, the side of the images.
    """

    name: str
    module: nn.Module = field(repr=False)
    head: str | None
    preprocessing: Preprocessing = field(repr=False)
    preprocessing_reason: str = ""
    weights_source: str = ""
    license: str | None = None
    transform: Callable[[Any], Any] | None = None
    digest: str = ""
    px: int | None = None

    def __str__(self) -> str:
        return f"backbone {self.name!r}"


class Engine(Protocol):
    """Something that runs a network.

    Attributes
    ----------
    n_at_once : int
        Batches that are best begun before the first of them is waited for.
    """

    n_at_once: int

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array to collect a batch in, where it is best read from."""

    def read(
        self, view: NDArray[Any], layers: Mapping[str, LayerOutput], use: Use
    ) -> Finish | None:
        """Run a batch once, handing each layer's output (B, ...) to `use`, channels first.

        An output may come in parts, a few images each, in order. Where the batch has only been
        begun, the view must stay as it is until what is returned has been called.
        """


class Normalise(nn.Module):
    """Views as the loader gives them, (n, H, W, 3) uint8, to the network's (n, 3, H, W) float32.

    Floats (n, C, H, W) of a user's transform pass as they are.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        scale = torch.tensor(preprocessing.std, dtype=torch.float32) * 255
        mean = torch.tensor(preprocessing.mean, dtype=torch.float32) * 255
        self.register_buffer("scale", (1 / scale).view(1, 3, 1, 1))
        self.register_buffer("shift", (mean / scale).view(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise one batch."""
        if x.dtype == torch.uint8:
            x = x.permute(0, 3, 1, 2).float() * self.scale - self.shift
        return x


def collect_outputs(
    engine: Engine, view: NDArray[Any], layers: Mapping[str, LayerOutput]
) -> dict[str, torch.Tensor]:
    """Run a batch and return copies of its outputs."""
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    finish = engine.read(view, layers, lambda name, x: parts[name].append(x.clone()))
    if finish is not None:
        finish()
    return {name: torch.cat(of_layer) for name, of_layer in parts.items()}


def pad_batch(view: NDArray[Any], n: int) -> NDArray[Any]:
    """Fill a batch up with blank images to `n`."""
    if len(view) >= n:
        return view
    return np.concatenate([view, np.zeros((n - len(view), *view.shape[1:]), view.dtype)])


def make_trial_views(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Make pictures with something at every scale: noise, and blocks of 16 px."""
    rng = np.random.default_rng(SEED)
    if np.dtype(dtype) != np.uint8:
        return rng.standard_normal(shape).astype(dtype)
    n, height, width, channels = shape
    blocks = rng.integers(0, 192, (n, -(-height // 16), -(-width // 16), channels))
    large = blocks.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return (large + rng.integers(0, 64, shape)).astype(np.uint8)


def cosines(a: torch.Tensor, b: torch.Tensor) -> NDArray[np.float64]:
    """Return the cosine of each image's outputs, 1 where both are zeros."""
    x, y = (t.flatten(1).double().cpu().numpy() for t in (a, b))
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    both_zero = ~x.any(axis=1) & ~y.any(axis=1)
    products = np.einsum("nd,nd->n", x, y)
    found: NDArray[np.float64] = np.where(both_zero, 1.0, products / np.where(lengths, lengths, 1))
    return found
