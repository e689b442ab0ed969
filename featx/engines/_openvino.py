"""OpenVINO as the engine on a CPU: one converted graph for each set of layers and input size.

The module is traced with its normalisation and the layers that are read, so that several layers
come from one pass; poolings stay with torch, in float32. Every graph is compared with torch before
it is used. Nothing is kept on disk: docs/benchmarks/engines.md has the times.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx.engines._int8 import Loss, load_quantised, quantise
from featx.engines.conversion import to_openvino
from featx.engines.engine import (
    Engine,
    Finish,
    Network,
    Normalise,
    Samples,
    Use,
    collect_outputs,
    cosines,
    make_trial_views,
)
from featx.engines.graphs import Streams, import_openvino
from featx.engines.layers import LayerOutput, Reads
from featx.engines.placement import Precision
from featx.errors import BackboneError, MissingDependencyError, one_line

__all__ = ["TOLERANCE", "OpenVINOEngine"]

# Largest difference to torch in float32, as a share of the output's largest element.
TOLERANCE = 1e-5
# In bfloat16, 1 - cosine to float32 may be this many times torch's own, and this much more.
TIMES_TORCH, MORE_THAN_TORCH = 2.0, 1e-3
# The sizes of a multi-scale extraction and some more; each holds the network's weights.
MAX_GRAPHS = 8
# Traced with another number of images than it is compared with: a batch size that the module has
# turned into a number would show.
N_TRACED, N_COMPARED = 2, 3

Layers = Mapping[str, LayerOutput]


@dataclass(frozen=True)
class Ready:
    """The graph that gives some layers for views of one size.

    Parameters
    ----------
    streams : Streams
        Agrees with torch.
    loss : Loss or None
        What int8 loses.
    """

    streams: Streams
    loss: Loss | None = None


class OpenVINOEngine:
    """A module converted and compiled for the CPU.

    Parameters
    ----------
    network : Network
        Its module is put in eval mode and not changed otherwise.
    precision : Precision
        What it computes in: float32, bfloat16 or int8.
    weights : str
        Digest of the module's weights, by which a quantised graph is kept.
    torch_engine : Engine
        The same network in the same precision, to compare with.
    """

    def __init__(
        self, network: Network, precision: Precision, weights: str, torch_engine: Engine
    ) -> None:
        self._network, self._precision, self._weights = network, precision, weights
        self._module = network.module.eval().requires_grad_(False)
        self._normalise = Normalise(network.preprocessing)
        self._torch = torch_engine
        self._ready: OrderedDict[tuple[Any, ...], Ready] = OrderedDict()
        self.n_at_once = 2  # so that no core waits for the last part of a batch

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return ordinary memory."""
        return np.empty(shape, dtype)

    def read(self, view: NDArray[Any], layers: Layers, use: Use) -> Finish:
        """Begin one batch; converts the network where this is the first of its size."""

        def hand_over(outputs: list[NDArray[Any]]) -> None:
            for name, output in zip(layers, outputs, strict=True):
                use(name, torch.from_numpy(output))

        ready = self.prepare(layers, view.shape[1:], view.dtype, n_images=len(view))
        return ready.streams.begin(view, hand_over)

    def prepare(
        self,
        layers: Layers,
        shape: Sequence[int],
        dtype: Any = np.uint8,
        *,
        n_images: int,
        samples: Samples | None = None,
    ) -> Ready:
        """Convert the network for reading these layers of views (n, *shape), and compare.

        Parameters
        ----------
        layers, shape, dtype
            What is read, and of which views.
        n_images : int
            How many come at a time: fewer than there are cores go through all of them together.
        samples : callable, optional
            Given the shape, returns views to calibrate int8 with, which has no graph without.

        Returns
        -------
        Ready
            Kept for the next call, as are the last ones of other sizes.

        Raises
        ------
        MissingDependencyError
            If OpenVINO is not installed.
        BackboneError
            If it cannot convert the network, or gives other features than torch.
        """
        key = (tuple(layers), tuple(shape), np.dtype(dtype).str)
        try:
            if key not in self._ready:
                if self._precision.is_int8:
                    self._ready[key] = self._quantise(layers, shape, dtype, samples)
                else:
                    self._ready[key] = Ready(self._convert(layers, shape, dtype, n_images))
            ready = self._ready[key]
            ready.streams.compile(n_images)
        except (BackboneError, MissingDependencyError):
            raise
        except Exception as err:
            raise BackboneError(
                f"{self._network}: OpenVINO cannot run it ({type(err).__name__}: {one_line(err)}),"
                " expected a network that torch.jit.trace and OpenVINO's converter take; use "
                "engine 'torch'"
            ) from err
        self._ready.move_to_end(key)
        while len(self._ready) > MAX_GRAPHS:
            self._ready.popitem(last=False)
        return ready

    def _convert(self, layers: Layers, shape: Sequence[int], dtype: Any, n_images: int) -> Streams:
        """Return the network converted, compiled in its precision and compared with torch."""
        probe = make_trial_views((N_COMPARED, *shape), dtype)
        graph, exact, expected = self._make_graph(layers, probe, n_images)
        if self._precision.rest == "float32":
            return exact
        streams = Streams(graph, self._precision.rest)
        found = streams.compile(n_images).infer(probe)
        by_torch = collect_outputs(self._torch, probe, layers)
        for name, a, b in zip(layers, expected, found, strict=True):
            self._require_as_near(name, a, torch.from_numpy(b), by_torch[name].float())
        return streams

    def _quantise(
        self, layers: Layers, shape: Sequence[int], dtype: Any, samples: Samples | None
    ) -> Ready:
        """Return the network in eight bits, and what that loses."""
        if samples is None:
            raise BackboneError(
                f"{self._network}: precision int8 was not calibrated for views of shape "
                f"{tuple(shape)}, expected images of the size given to choose_engine; "
                "extract with a crop (crop_px), or use another precision"
            )
        views, names = samples(shape), list(layers)

        def make() -> tuple[Any, Loss]:
            graph, *_ = self._make_graph(layers, make_trial_views((N_COMPARED, *shape), dtype), 1)
            # Bfloat16 is faster than float32 where the processor has it, and nothing beside the
            # loss of int8.
            rest = self._precision.rest
            return quantise(graph, views, rest=rest, layers=names, network=str(self._network))

        key = {
            "weights": self._weights,
            "network": str(self._network),
            "layers": names,
            "views": [list(shape), np.dtype(dtype).str],
            "mean": self._normalise.shift.flatten().tolist(),
            "std": self._normalise.scale.flatten().tolist(),
            "samples": hashlib.sha256(views.tobytes()).hexdigest(),
            "precision": str(self._precision),
            "openvino": import_openvino().__version__,
        }
        graph, loss = load_quantised(key, make)
        return Ready(Streams(graph, self._precision.rest), loss)

    def _make_graph(
        self, layers: Layers, probe: NDArray[Any], n_images: int
    ) -> tuple[Any, Streams, tuple[torch.Tensor, ...]]:
        """Convert in float32 and require what torch gives for trial views, which is returned."""
        reads = Reads(self._module.eval(), layers, self._network.head)
        whole = nn.Sequential(self._normalise, reads)
        x = torch.from_numpy(probe)
        with torch.inference_mode():
            expected = whole(x)
        graph = to_openvino(whole, x[:N_TRACED], thing=str(self._network))
        streams = Streams(graph, "float32")
        outputs = streams.compile(n_images).infer(probe)
        for name, a, found in zip(layers, expected, outputs, strict=True):
            b = torch.from_numpy(found)
            scale = float(a.abs().max())
            if a.shape != b.shape or not float((a - b).abs().max()) <= TOLERANCE * scale:
                raise BackboneError(
                    f"{self._network}: OpenVINO gives another output of layer {name!r} than torch:"
                    f" shapes {tuple(b.shape)} and {tuple(a.shape)}, largest elements "
                    f"{float(b.abs().max()):.6g} and {scale:.6g}, expected them to agree to "
                    f"{TOLERANCE:g} of the largest; use engine 'torch'"
                )
        return graph, streams, expected

    def _require_as_near(
        self, layer: str, exact: torch.Tensor, found: torch.Tensor, by_torch: torch.Tensor
    ) -> None:
        """Let OpenVINO lose what torch loses in this precision, and little more."""
        loss = 1 - float(cosines(exact, found).min())
        allowed = TIMES_TORCH * (1 - float(cosines(exact, by_torch).min())) + MORE_THAN_TORCH
        if not loss <= allowed:
            raise BackboneError(
                f"{self._network}: OpenVINO in {self._precision} gives an output of layer "
                f"{layer!r} with a cosine of {1 - loss:.4f} to float32, expected at least "
                f"{1 - allowed:.4f}; use engine 'torch', or precision 'float32'"
            )
