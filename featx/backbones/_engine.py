"""What runs a network: torch, or OpenVINO on a CPU. The same features from each.

A further engine is a class with the method of `Engine`, a name in `ENGINES`, and what it needs in
`require_engine`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx.backbones._int8 import is_int8
from featx.backbones._layers import LayerOutput, read_layers
from featx.errors import ParameterError, nearest
from featx.recipe import Preprocessing

__all__ = [
    "ENGINES",
    "MIN_PASSES",
    "Engine",
    "EngineChoice",
    "Normalise",
    "TorchEngine",
    "Use",
    "may_convert",
    "require_engine",
    "why_torch",
]

ENGINES = ("auto", "torch", "openvino")
# Converting a network takes as long as OpenVINO saves on some hundred images (docs/decisions).
MIN_PASSES = 128
OPENVINO_PRECISIONS = ("float32", "bfloat16")

Use = Callable[[str, torch.Tensor], None]
"""What takes a layer's name and its output, which it must copy."""


@dataclass(frozen=True)
class EngineChoice:
    """What runs the network, and why.

    Parameters
    ----------
    name : {"torch", "openvino"}
        The engine.
    reason : str
        For people, for example "as asked for".
    """

    name: str
    reason: str

    @property
    def version(self) -> str:
        """Version of the engine's package."""
        return importlib.metadata.version(self.name)


class Engine(Protocol):
    """Something that runs a network.

    Attributes
    ----------
    n_at_once : int
        Batches that it takes side by side, each from a thread of its own.
    """

    n_at_once: int

    def enter_thread(self) -> None:
        """Make such a thread ready, once."""

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


class TorchEngine:
    """The module itself, eagerly.

    A GPU is given two batches, each on a stream of its own: while one is computed, the other is
    copied there from pinned memory, or its vectors come back.

    Parameters
    ----------
    module : nn.Module
        On its device, in its precision.
    head : str or None
        Module whose input is the penultimate feature.
    normalise : Normalise
        Moved to the device.
    device, dtype
        Where, and in what arithmetic.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        head: str | None,
        normalise: Normalise,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._module, self._head = module, head
        self._normalise, self._device, self._dtype = normalise.to(device), device, dtype
        self._is_cuda = device.type == "cuda"
        self.n_at_once = 2 if self._is_cuda else 1  # one takes all cores of a processor
        self._lock = threading.Lock()

    def enter_thread(self) -> None:
        """Give the thread a stream of its own on a GPU, behind the loading of the weights."""
        if self._is_cuda:
            stream: Any = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.default_stream(self._device))
            torch.cuda.set_stream(stream)

    def input(self, view: NDArray[Any]) -> torch.Tensor:
        """Return a view as the module takes it."""
        # uint8 travels to the device, a quarter of the bytes; the rest happens there.
        x = torch.from_numpy(np.ascontiguousarray(view))
        if self._is_cuda:
            x = x.pin_memory().to(self._device, non_blocking=True)
        normalised: torch.Tensor = self._normalise(x.to(self._device))
        return normalised.to(self._dtype).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def read(self, view: NDArray[Any], layers: Mapping[str, LayerOutput], use: Use) -> None:
        """Run as far as the deepest layer."""
        x = self.input(view)
        with self._lock:  # the hooks of one pass would take the other's outputs too
            read_layers(self._module.eval(), x, layers, use, head=self._head)


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
    if is_int8(precision) and (engine == "torch" or device.type != "cpu"):
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
