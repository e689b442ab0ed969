"""What runs a network: torch, torch.compile, or OpenVINO on a CPU. The same features from each.

A further engine is a class with the method of `Engine`, a name in `ENGINES`, and what it needs in
`require_engine`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx.backbones._int8 import is_int8
from featx.backbones._layers import LayerOutput
from featx.errors import ParameterError, nearest
from featx.recipe import Preprocessing

__all__ = [
    "ENGINES",
    "MIN_PASSES",
    "Engine",
    "EngineChoice",
    "Normalise",
    "Use",
    "may_convert",
    "require_engine",
    "trial_views",
    "why_torch",
]

ENGINES = ("auto", "torch", "compile", "openvino")
# Converting a network takes as long as OpenVINO saves on some hundred images (docs/decisions).
MIN_PASSES = 128
OPENVINO_PRECISIONS = ("float32", "bfloat16")
SEED = 0

Use = Callable[[str, torch.Tensor], None]
"""What takes a layer's name and its output, which it must copy."""


@dataclass(frozen=True)
class EngineChoice:
    """What runs the network, and why.

    Parameters
    ----------
    name : {"torch", "compile", "openvino"}
        The engine.
    reason : str
        For people, for example "as asked for".
    """

    name: str
    reason: str

    @property
    def version(self) -> str:
        """Version of the engine's package."""
        return importlib.metadata.version("torch" if self.name == "compile" else self.name)


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

    def read(self, view: NDArray[Any], layers: Mapping[str, LayerOutput], use: Use) -> None:
        """Run a batch once, handing each layer's output (B, ...) to `use`, channels first."""


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


def trial_views(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Make pictures with something at every scale: noise, and blocks of 16 px."""
    rng = np.random.default_rng(SEED)
    if np.dtype(dtype) != np.uint8:
        return rng.standard_normal(shape).astype(dtype)
    n, height, width, channels = shape
    blocks = rng.integers(0, 192, (n, -(-height // 16), -(-width // 16), channels))
    large = blocks.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return (large + rng.integers(0, 64, shape)).astype(np.uint8)


def require_engine(engine: str, device: torch.device, precision: str) -> None:
    """Refuse an engine that is not there, or cannot do what is asked of it.

    Raises
    ------
    ParameterError
        With what it can do.
    """
    if engine not in ENGINES:
        raise ParameterError(
            f"engine: got {engine!r}, expected one of {', '.join(ENGINES)}."
            f"{nearest(str(engine), ENGINES)}"
        )
    if is_int8(precision) and (engine in ("torch", "compile") or device.type != "cpu"):
        raise ParameterError(
            f"precision: got 'int8' with engine {engine!r} on device {str(device)!r}, expected "
            "engine 'openvino' on device 'cpu', the only one that computes in it"
        )
    if engine != "openvino":
        return
    if device.type != "cpu":
        raise ParameterError(
            f"engine: got 'openvino' with device {str(device)!r}, expected device 'cpu', the only "
            "one it runs on here; use engine 'torch' for another"
        )
    if precision not in OPENVINO_PRECISIONS and not is_int8(precision):
        raise ParameterError(
            f"engine: got 'openvino' with precision {precision!r}, expected one of "
            f"{', '.join(OPENVINO_PRECISIONS)}, int8; use engine 'torch' for another"
        )


def may_convert(engine: str, device: torch.device, precision: str) -> bool:
    """Tell whether OpenVINO may come to run a network; imports nothing."""
    return engine == "openvino" or (engine == "auto" and _why_never(device, precision) is None)


def why_torch(
    device: torch.device, precision: str, *, n_images: int, n_views: int | None
) -> str | None:
    """Return the reason for which "auto" is torch before a conversion is tried, or None.

    Parameters
    ----------
    device, precision
        What the network runs on and in.
    n_images : int
        How many are to come.
    n_views : int or None
        Of each image; None where the size of its views is not known before it is read.
    """
    never = _why_never(device, precision)
    if never is not None:
        return never
    if n_views is None:
        return "sizes of images are not known beforehand, and openvino converts for each"
    if n_images * n_views < MIN_PASSES:
        return (
            f"{n_images * n_views} passes do not pay for openvino's conversion, {MIN_PASSES} would"
        )
    return None


def _why_never(device: torch.device, precision: str) -> str | None:
    if device.type != "cpu":
        return f"runs on {device}"
    if precision not in OPENVINO_PRECISIONS and not is_int8(precision):
        return f"computes in {precision}"
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed (pip install 'featx[openvino]')"
    return None
