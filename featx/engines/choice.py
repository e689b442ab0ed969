"""Which engine runs a network: torch, torch.compile, or OpenVINO on a CPU, the same from each.

A further engine is a class with the methods of `Engine`, a name in `placement.ENGINES` with what
it is able to do, and a line in `Engines`.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from featx.engines._compile import CompiledEngine
from featx.engines._forks import require_threads
from featx.engines._int8 import Loss
from featx.engines._openvino import OpenVINOEngine
from featx.engines._torch import TorchEngine
from featx.engines.chosen import MIN_PASSES, EngineChoice
from featx.engines.engine import Engine, Network, Samples
from featx.engines.layers import LayerOutput
from featx.engines.placement import Placement, why_not_openvino
from featx.errors import BackboneError, MissingDependencyError, ParameterError

__all__ = ["EngineChoice", "Engines", "why_torch"]

log = logging.getLogger(__name__)


class Engines:
    """Torch, and beside it what the network was loaded for.

    Parameters
    ----------
    network : Network
        Its module is taken over.
    placement : Placement
        Where it runs. Another engine than torch keeps the float32 weights in memory, beside
        those in the placement's precision.
    weights : str
        Digest of the network's weights.

    Attributes
    ----------
    torch : TorchEngine
    openvino : OpenVINOEngine or None
    """

    def __init__(self, network: Network, placement: Placement, weights: str) -> None:
        self._network, self._placement = network, placement
        asked, precision = placement.engine, placement.precision
        may_be_openvino = asked == "openvino" or (
            asked == "auto" and why_not_openvino(placement) is None
        )
        exact = network
        if may_be_openvino and precision.dtype is not torch.float32:  # torch rounds its own
            exact = dataclasses.replace(network, module=copy.deepcopy(network.module))
        self.torch = TorchEngine(network, placement)
        self.openvino: OpenVINOEngine | None = None
        self._by_name: dict[str, Engine] = {"auto": self.torch, "torch": self.torch}
        if asked == "compile":
            self._by_name["compile"] = CompiledEngine(self.torch)
        if may_be_openvino:
            self.openvino = OpenVINOEngine(exact, precision, weights, self.torch)
            self._by_name["openvino"] = self.openvino

    def get(self, name: str | None = None) -> Engine:
        """Return an engine by name, by default the one that was asked for.

        Raises
        ------
        ParameterError
            If the network was not loaded for it.
        BackboneError
            If its threads are in a process that this one was forked from.
        """
        asked = self._placement.engine
        name = name or asked
        require_threads(name)
        if name not in self._by_name:
            raise ParameterError(
                f"engine: got {name!r} for {self._network}, which was loaded for engine "
                f"{asked!r}, expected 'torch'; load it with engine={name!r}"
            )
        return self._by_name[name]

    def choose(
        self,
        layers: Mapping[str, LayerOutput],
        shapes: Sequence[tuple[int, ...]] | None,
        dtype: Any,
        *,
        n_images: int,
        samples: Samples | None,
    ) -> EngineChoice:
        """Say what is to run the network, as `Backbone.choose_engine` does.

        Parameters
        ----------
        layers : mapping
            What will be read.
        shapes, dtype
            Of the views of an image.
        n_images, samples
            As for `Backbone.choose_engine`.
        """
        asked = self._placement.engine
        require_threads(asked)
        if asked in ("torch", "compile"):
            return EngineChoice(asked, "as asked for")
        reason = None
        if asked == "auto":
            n_views = None if shapes is None else len(shapes)
            reason = why_torch(self._placement, n_images=n_images, n_views=n_views)
        if reason is not None:
            return EngineChoice("torch", reason)
        try:
            loss = self._prepare_openvino(layers, shapes, dtype, n_images, samples)
        except (BackboneError, MissingDependencyError) as err:
            if asked == "openvino":
                raise
            log.warning("engine torch: %s", err)
            return EngineChoice("torch", str(err))
        if asked == "openvino":
            return EngineChoice("openvino", "as asked for" if loss is None else f"int8: {loss}")
        return EngineChoice("openvino", "on a CPU, and agrees with torch on trial images")

    def _prepare_openvino(
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


def why_torch(placement: Placement, *, n_images: int, n_views: int | None) -> str | None:
    """Return the reason for which "auto" is torch before a conversion is tried, or None.

    Parameters
    ----------
    placement : Placement
        What the network runs on and in.
    n_images : int
        How many are to come.
    n_views : int or None
        Of each image; None where the size of its views is not known before it is read.
    """
    never = why_not_openvino(placement)
    if never is not None:
        return never
    if n_views is None:
        return "sizes of images are not known beforehand, and openvino converts for each"
    if n_images * n_views < MIN_PASSES:
        n = n_images * n_views
        return f"openvino's conversion pays off from {MIN_PASSES} passes on, and this run has {n}"
    return None
