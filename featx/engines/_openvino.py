"""OpenVINO as the engine on a CPU: one converted graph for each set of layers and input size.

The module is traced with its normalisation and the layers that are read, so that several layers
come from one pass; poolings stay with torch, in float32. Every graph is compared with torch before
it is used. Nothing is kept on disk: docs/decisions/engines.md has the times.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx.engines._int8 import (
    Loss,
    Samples,
    cosines,
    is_int8,
    load_quantised,
    quantise,
    rest_of,
)
from featx.engines._streams import (
    Compiled,
    compile_graph,
    images_at_once,
    import_openvino,
    streams_for,
)
from featx.engines.engine import Engine, Finish, Normalise, Use, outputs_of, trial_views
from featx.engines.layers import LayerOutput, Reads
from featx.errors import BackboneError, MissingDependencyError

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


@dataclass(frozen=True)
class Ready:
    """What is there for some layers of views of one size.

    Parameters
    ----------
    graph : openvino.Model
        Agrees with torch.
    loss : Loss or None
        What int8 loses.
    compiled : dict of int to Compiled
        By number of streams, as far as they were asked for.
    """

    graph: Any
    loss: Loss | None
    compiled: dict[int, Compiled] = field(default_factory=dict)


class OpenVINOEngine:
    """A module converted and compiled for the CPU.

    Parameters
    ----------
    module : nn.Module
        Float32, on the CPU; not changed.
    head : str or None
        Module whose input is the penultimate feature.
    normalise : Normalise
        On the CPU.
    precision : {"float32", "bfloat16", "int8(bfloat16, nncf VERSION)"}
        What it computes in.
    weights : str
        Digest of the module's weights, by which a quantised graph is kept.
    torch_engine : Engine
        The same network in the same precision, to compare with.
    thing : str
        The network, for messages.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        head: str | None,
        normalise: Normalise,
        precision: str,
        weights: str,
        torch_engine: Engine,
        thing: str,
    ) -> None:
        self._module, self._head, self._normalise = module, head, normalise
        self._precision, self._torch, self._thing = precision, torch_engine, thing
        self._weights = weights
        self._ready: OrderedDict[tuple[Any, ...], Ready] = OrderedDict()
        self.n_at_once = 2  # so that no core waits for the last part of a batch

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return memory as any other."""
        return np.empty(shape, dtype)

    def read(self, view: NDArray[Any], layers: Mapping[str, LayerOutput], use: Use) -> Finish:
        """Begin one batch; converts the network where this is the first of its size."""
        n = len(view)
        n_streams = streams_for(n)
        ready = self.prepare(layers, view.shape[1:], view.dtype, n_images=n)
        compiled = ready.compiled[n_streams]
        size = images_at_once(n, n_streams, view.shape[1:], self._precision)
        begun = [compiled.start(view[at : at + size]) for at in range(0, max(n, 1), size)]

        def hand_over(outputs: list[torch.Tensor]) -> None:
            for name, output in zip(layers, outputs, strict=True):
                use(name, output)

        def finish() -> None:
            for request in begun:
                compiled.finish(request, hand_over)

        return finish

    def prepare(
        self,
        layers: Mapping[str, LayerOutput],
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
        n_streams = streams_for(n_images)
        try:
            if key not in self._ready:
                if is_int8(self._precision):
                    graph, loss = self._quantised(layers, shape, dtype, samples)
                    self._ready[key] = Ready(graph, loss)
                else:
                    self._ready[key] = self._converted(layers, shape, dtype, n_streams)
            ready = self._ready[key]
            if n_streams not in ready.compiled:
                ready.compiled[n_streams] = compile_graph(ready.graph, self._precision, n_streams)
        except (BackboneError, MissingDependencyError):
            raise
        except Exception as err:
            raise BackboneError(
                f"{self._thing}: OpenVINO cannot run it ({type(err).__name__}: "
                f"{' '.join(str(err).split())[:200]}), expected a network that torch.jit.trace "
                "and OpenVINO's converter take; use engine 'torch'"
            ) from err
        self._ready.move_to_end(key)
        while len(self._ready) > MAX_GRAPHS:
            self._ready.popitem(last=False)
        return ready

    def _converted(
        self, layers: Mapping[str, LayerOutput], shape: Sequence[int], dtype: Any, n_streams: int
    ) -> Ready:
        """Return the network converted, compiled in its precision and compared with torch."""
        graph, expected, probe = self._graph(layers, shape, dtype)
        compiled = compile_graph(graph, "float32", n_streams)
        self._require_same(layers, expected, compiled.infer(probe))
        if self._precision != "float32":
            compiled = compile_graph(graph, self._precision, n_streams)
            self._require_as_near(layers, expected, compiled.infer(probe), probe)
        return Ready(graph, None, {n_streams: compiled})

    def _quantised(
        self,
        layers: Mapping[str, LayerOutput],
        shape: Sequence[int],
        dtype: Any,
        samples: Samples | None,
    ) -> tuple[Any, Loss]:
        """Return the network in eight bits, and what that loses."""
        openvino = import_openvino()
        if samples is None:
            raise BackboneError(
                f"{self._thing}: precision int8 was not calibrated for views of shape "
                f"{tuple(shape)}, expected images of one size that choose_engine was told of; "
                "extract with a crop (crop_px), or use another precision"
            )
        views = samples(shape)
        # Faster than float32 where the processor has it, and nothing beside the loss of int8.
        rest = rest_of(self._precision)

        def vectors(graph: Any, some: NDArray[Any], precision: str) -> list[NDArray[np.float64]]:
            compiled = compile_graph(graph, precision, 1)
            parts = [
                [x.flatten(1).double().numpy() for x in compiled.infer(some[i : i + 1])]
                for i in range(len(some))
            ]
            return [np.concatenate(of_layer) for of_layer in zip(*parts, strict=True)]

        def make() -> tuple[Any, Loss]:
            graph, expected, probe = self._graph(layers, shape, dtype)
            self._require_same(layers, expected, compile_graph(graph, "float32", 1).infer(probe))
            return quantise(
                graph, views, vectors, rest=rest, layers=list(layers), thing=self._thing
            )

        key = {
            "weights": self._weights,
            "network": self._thing,
            "layers": list(layers),
            "views": [list(shape), np.dtype(dtype).str],
            "mean": self._normalise.shift.flatten().tolist(),
            "std": self._normalise.scale.flatten().tolist(),
            "samples": hashlib.sha256(views.tobytes()).hexdigest(),
            "precision": self._precision,
            "openvino": openvino.__version__,
        }
        return load_quantised(openvino, key, make)

    def _graph(
        self, layers: Mapping[str, LayerOutput], shape: Sequence[int], dtype: Any
    ) -> tuple[Any, tuple[torch.Tensor, ...], NDArray[Any]]:
        """Convert; also return trial views and torch's outputs for them."""
        whole = nn.Sequential(self._normalise, Reads(self._module.eval(), layers, self._head))
        probe = trial_views((N_COMPARED, *shape), dtype)
        with torch.inference_mode(), _one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated; its successor cannot do hooks
            x = torch.from_numpy(probe)
            expected = whole(x)
            trace: Any = torch.jit.trace
            traced = trace(whole, x[:N_TRACED], check_trace=False, strict=False)
            graph = _graph_of(traced, x[:N_TRACED])
        graph.reshape([-1, *shape])
        return graph, expected, probe

    def _require_same(
        self,
        layers: Mapping[str, LayerOutput],
        expected: Sequence[torch.Tensor],
        found: Sequence[torch.Tensor],
    ) -> None:
        for name, a, b in zip(layers, expected, found, strict=True):
            scale = float(a.abs().max())
            if a.shape != b.shape or not float((a - b).abs().max()) <= TOLERANCE * scale:
                raise BackboneError(
                    f"{self._thing}: OpenVINO gives another output of layer {name!r} than torch: "
                    f"shapes {tuple(b.shape)} and {tuple(a.shape)}, largest elements "
                    f"{float(b.abs().max()):.6g} and {scale:.6g}, expected them to agree to "
                    f"{TOLERANCE:g} of the largest; use engine 'torch'"
                )

    def _require_as_near(
        self,
        layers: Mapping[str, LayerOutput],
        expected: Sequence[torch.Tensor],
        found: Sequence[torch.Tensor],
        probe: NDArray[Any],
    ) -> None:
        """Let OpenVINO lose what torch loses in this precision, and little more."""
        theirs = outputs_of(self._torch, probe, layers)
        for name, a, b in zip(layers, expected, found, strict=True):
            loss = _loss(a, b)
            allowed = TIMES_TORCH * _loss(a, theirs[name].float()) + MORE_THAN_TORCH
            if not loss <= allowed:
                raise BackboneError(
                    f"{self._thing}: OpenVINO in {self._precision} gives an output of layer "
                    f"{name!r} with a cosine of {1 - loss:.4f} to float32, expected at least "
                    f"{1 - allowed:.4f}; use engine 'torch', or precision 'float32'"
                )


def _graph_of(traced: Any, x: torch.Tensor) -> Any:
    """Convert as ``openvino.convert_model`` does, which besides sets up the root logger."""
    import_openvino()  # first of all, without its telemetry
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=x)  # must outlive the conversion
    return front_end.convert(front_end.load(decoder))


def _loss(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return 1 - cosine of the image that is worst, 0 where both are zeros."""
    return float((1 - cosines(*(x.flatten(1).double().numpy() for x in (a, b)))).max())


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Trace on one thread: its many small steps wait for one another where cores are busy."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n)
