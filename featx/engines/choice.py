"""Which engine runs a network: torch, torch.compile, or OpenVINO on a CPU, the same from each.

A further engine is a class with the methods of `Engine`, a name in `ENGINES`, what it needs in
`require_engine`, and its making in `Engines`.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from featx.engines._compile import CompiledEngine
from featx.engines._forks import has_lost_threads, require_threads
from featx.engines._int8 import Loss, Samples, is_int8
from featx.engines._openvino import OpenVINOEngine
from featx.engines._torch import TorchEngine
from featx.engines.device import torch_dtype
from featx.engines.engine import Engine, Normalise
from featx.engines.layers import LayerOutput
from featx.errors import BackboneError, MissingDependencyError, ParameterError, nearest
from featx.recipe import Preprocessing

__all__ = ["ENGINES", "MIN_PASSES", "EngineChoice", "Engines", "require_engine", "why_torch"]

ENGINES = ("auto", "torch", "compile", "openvino")
# Converting a network takes as long as OpenVINO saves on some hundred images (docs/decisions).
MIN_PASSES = 128
OPENVINO_PRECISIONS = ("float32", "bfloat16")
log = logging.getLogger(__name__)


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


class Engines:
    """Torch, and beside it what the network was loaded for.

    Parameters
    ----------
    module : nn.Module
        In float32. Taken over.
    thing : str
        The network, for messages.
    asked : {"auto", "torch", "compile", "openvino"}
        What it was loaded for.
    head, preprocessing, device, precision, weights
        As for `Backbone`.

    Attributes
    ----------
    torch : TorchEngine
    compiled : CompiledEngine or None
    openvino : OpenVINOEngine or None
        Keeps the float32 weights in memory, beside those in `precision`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        thing: str,
        asked: str,
        head: str | None,
        preprocessing: Preprocessing,
        device: torch.device,
        precision: str,
        weights: str,
    ) -> None:
        self._thing, self._asked = thing, asked
        self._device, self._precision = device, precision
        dtype = torch_dtype(precision)
        may_be_openvino = _may_convert(asked, device, precision)
        is_copied = may_be_openvino and dtype is not torch.float32
        source = copy.deepcopy(module) if is_copied else module  # torch rounds the other
        self.torch = TorchEngine(
            module,
            head=head,
            normalise=Normalise(preprocessing),
            device=device,
            dtype=dtype,
            thing=thing,
        )
        self.compiled: CompiledEngine | None = None
        if asked == "compile":
            self.compiled = CompiledEngine(self.torch, head=head, thing=thing)
        self.openvino: OpenVINOEngine | None = None
        if may_be_openvino:
            self.openvino = OpenVINOEngine(
                source.eval().requires_grad_(False),
                head=head,
                normalise=Normalise(preprocessing),
                precision=precision,
                weights=weights,
                torch_engine=self.torch,
                thing=thing,
            )

    def named(self, name: str | None) -> Engine:
        """Return an engine by name, by default the one that was asked for.

        Raises
        ------
        ParameterError
            If the network was not loaded for it.
        BackboneError
            If its threads are in a process that this one was forked from.
        """
        name = name or self._asked
        require_threads(name)
        found = {"compile": self.compiled, "openvino": self.openvino}.get(name, self.torch)
        if found is None:
            raise ParameterError(
                f"engine: got {name!r} for {self._thing}, which was loaded for engine "
                f"{self._asked!r}, expected 'torch'; load it with engine={name!r}"
            )
        return found

    def choose(
        self,
        layers: Callable[[], Mapping[str, LayerOutput]],
        shapes: Sequence[tuple[int, ...]] | None,
        dtype: Any,
        *,
        n_images: int,
        samples: Samples | None,
    ) -> EngineChoice:
        """Say what is to run the network, as `Backbone.choose_engine` does.

        Parameters
        ----------
        layers : callable
            Describes what will be read; called where a conversion is tried.
        shapes, dtype
            Of the views of an image.
        """
        require_threads(self._asked)
        if self._asked in ("torch", "compile"):
            return EngineChoice(self._asked, "as asked for")
        if self._asked == "openvino":
            loss = self._converted(layers(), shapes, dtype, n_images, samples)
            return EngineChoice("openvino", "as asked for" if loss is None else f"int8: {loss}")
        n_views = None if shapes is None else len(shapes)
        reason = why_torch(self._device, self._precision, n_images=n_images, n_views=n_views)
        if reason is not None:
            return EngineChoice("torch", reason)
        try:
            self._converted(layers(), shapes, dtype, n_images, None)
        except (BackboneError, MissingDependencyError) as err:
            log.warning("engine torch: %s", err)
            return EngineChoice("torch", str(err))
        return EngineChoice("openvino", "on a CPU, and agrees with torch on trial images")

    def _converted(
        self,
        layers: Mapping[str, LayerOutput],
        shapes: Sequence[tuple[int, ...]] | None,
        dtype: Any,
        n_images: int,
        samples: Samples | None,
    ) -> Loss | None:
        """Convert the network where need be; return what int8 loses, at the worst view."""
        assert self.openvino is not None
        losses = [
            self.openvino.prepare(layers, shape, dtype, n_images=n_images, samples=samples).loss
            for shape in shapes or ()
        ]
        return min((x for x in losses if x), key=lambda loss: loss.mean_cosine, default=None)


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


def _may_convert(engine: str, device: torch.device, precision: str) -> bool:
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
    if has_lost_threads("openvino"):
        return "openvino has run in the process that this one was forked from"
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed (pip install 'featx[openvino]')"
    return None
