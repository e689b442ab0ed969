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

import torch
from numpy.typing import NDArray

from featx.engines._forks import note_use
from featx.engines._torch import TorchEngine
from featx.engines.engine import Use, collect_outputs, cosines, make_trial_views, pad_batch
from featx.engines.layers import LayerOutput, Reads
from featx.errors import BackboneError, one_line

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
    """

    def __init__(self, torch_engine: TorchEngine) -> None:
        self._torch = torch_engine
        self._ready: OrderedDict[tuple[Any, ...], Compiled] = OrderedDict()
        self._lock = threading.Lock()
        self.n_at_once = torch_engine.n_at_once
        self.empty = torch_engine.empty

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
        view = pad_batch(view, 1 << (n - 1).bit_length())
        key = (tuple(layers), view.shape, view.dtype.str)
        with self._lock:
            if key not in self._ready:
                self._ready[key] = self._compile(layers, view.shape, view.dtype)
                while len(self._ready) > MAX_COMPILED:
                    self._ready.popitem(last=False)
            self._ready.move_to_end(key)
            run = self._ready[key]
        x = self._torch.input(view)
        with self._torch.arithmetic():
            outputs = run(x)
        for name, output in zip(layers, outputs, strict=True):
            use(name, output[:n])

    def _compile(
        self, layers: Mapping[str, LayerOutput], shape: tuple[int, ...], dtype: Any
    ) -> Compiled:
        """Compile the network, and require of trial images what torch gives for them."""
        from torch.fx.experimental.proxy_tensor import make_fx

        note_use("compile")
        network, views = self._torch.network, make_trial_views(shape, dtype)
        x = self._torch.input(views)
        whole = Reads(self._torch.module.eval(), layers, network.head)
        try:
            with warnings.catch_warnings(), self._torch.arithmetic():
                warnings.simplefilter("ignore")  # about settings of the user's whole process
                # Hooks read the layers, which only a trace of single operations sees through.
                graph = make_fx(whole)(x)
                run: Compiled = torch.compile(graph, dynamic=False)
                found = run(x)
        except Exception as err:
            raise BackboneError(
                f"{network}: torch.compile cannot compile it ({type(err).__name__}: "
                f"{one_line(err)}), expected a network of plain operations, "
                "and a C compiler on this machine; use engine 'torch'"
            ) from err
        expected = collect_outputs(self._torch, views, layers)
        least = 1 - TOLERANCES[self._torch.dtype]
        for name, output in zip(layers, found, strict=True):
            worst = float(cosines(expected[name], output).min())
            if not worst >= least:
                raise BackboneError(
                    f"{network}: torch.compile gives an output of layer {name!r} with a "
                    f"cosine of {worst:.6f} to that of torch as it is, expected at least "
                    f"{least:g}; use engine 'torch'"
                )
        return run
