"""`torch.compile` as the engine: the network's small steps fused into few kernels.

On a GPU batch norms, activations and additions each read and write all of a map; fused, they cost
one pass. Compiling takes 15 to 20 s for each size of batch, so it is for whoever asks.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx.engines._forks import note_use
from featx.engines._int8 import cosines
from featx.engines._torch import TorchEngine
from featx.engines.engine import Use, outputs_of, padded, trial_views
from featx.engines.layers import LayerOutput, Reads
from featx.errors import BackboneError

__all__ = ["CompiledEngine"]

# Largest 1 - cosine to torch's own output for a trial image. Fused steps round less often, so in
# bfloat16 they differ by about as much as each from float32.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 2e-2}
MAX_COMPILED = 8

Compiled = Callable[[torch.Tensor], Sequence[torch.Tensor]]


class CompiledEngine:
    """A module compiled by torch for its device, once for each size of batch and set of layers.

    Parameters
    ----------
    torch_engine : TorchEngine
        The same network, whose module and device it takes, and which it must agree with.
    head : str or None
        Module whose input is the penultimate feature.
    thing : str
        The network, for messages.
    """

    def __init__(self, torch_engine: TorchEngine, *, head: str | None, thing: str) -> None:
        self._torch, self._head, self._thing = torch_engine, head, thing
        self._ready: OrderedDict[tuple[Any, ...], Compiled] = OrderedDict()
        self._lock = threading.Lock()
        self.n_at_once = torch_engine.n_at_once

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return memory as torch reads it best."""
        return self._torch.empty(shape, dtype)

    @torch.inference_mode()
    def read(self, view: NDArray[Any], layers: Mapping[str, LayerOutput], use: Use) -> None:
        """Run one batch; compiles the network where this is the first of its size.

        Batches are filled up to a power of two, so that there are few sizes.

        Raises
        ------
        BackboneError
            If torch cannot compile it, or the result gives other features.
        """
        n = len(view)
        size = 1 << (n - 1).bit_length()
        view = padded(view, size)
        key = (tuple(layers), view.shape, view.dtype.str)
        with self._lock:
            if key not in self._ready:
                self._ready[key] = self._compiled(layers, view.shape, view.dtype)
                while len(self._ready) > MAX_COMPILED:
                    self._ready.popitem(last=False)
            self._ready.move_to_end(key)
            run = self._ready[key]
        x = self._torch.input(view)
        with self._torch.arithmetic():
            outputs = run(x)
        for name, output in zip(layers, outputs, strict=True):
            use(name, output[:n])

    def _compiled(
        self, layers: Mapping[str, LayerOutput], shape: Sequence[int], dtype: Any
    ) -> Compiled:
        from torch.fx.experimental.proxy_tensor import make_fx

        note_use("compile")
        views = trial_views(tuple(shape), dtype)
        x = self._torch.input(views)
        whole = Reads(self._torch.module.eval(), layers, self._head)
        try:
            with warnings.catch_warnings(), self._torch.arithmetic():
                warnings.simplefilter("ignore")  # about settings of the user's whole process
                # Hooks read the layers, which only a trace of single operations sees through.
                graph = make_fx(whole)(x)
                run: Compiled = torch.compile(graph, dynamic=False)
                found = run(x)
        except Exception as err:
            raise BackboneError(
                f"{self._thing}: torch.compile cannot compile it ({type(err).__name__}: "
                f"{' '.join(str(err).split())[:200]}), expected a network of plain operations, "
                "and a C compiler on this machine; use engine 'torch'"
            ) from err
        self._require_same(layers, views, found)
        return run

    def _require_same(
        self,
        layers: Mapping[str, LayerOutput],
        views: NDArray[Any],
        found: Sequence[torch.Tensor],
    ) -> None:
        expected = outputs_of(self._torch, views, layers)
        allowed = TOLERANCES[self._torch.dtype]
        for name, output in zip(layers, found, strict=True):
            a, b = (x.flatten(1).double().cpu().numpy() for x in (expected[name], output))
            loss = float(np.max(1 - cosines(a, b)))
            if not loss <= allowed:
                raise BackboneError(
                    f"{self._thing}: torch.compile gives an output of layer {name!r} with a "
                    f"cosine of {1 - loss:.6f} to that of torch as it is, expected at least "
                    f"{1 - allowed:g}; use engine 'torch'"
                )
