"""Torch as the engine: the module itself, with what can be folded folded.

On an x86 processor that has no bfloat16 it is computed in float32 and rounded where a layer would
have rounded: torch computes it there one multiplication at a time, 7 to 25 times slower. A
convolution in bfloat16 sums in float32 and rounds the sum, so rounding what goes in and what comes
out is the same arithmetic, but for operations between modules.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from featx._forks import fork_lock
from featx.engines._batch_norm import fold_batch_norms, has_batch_norms
from featx.engines._forks import note_use
from featx.engines._memory import keep_freed_memory
from featx.engines.engine import Network, Normalise, Use, make_trial_views, pad_batch
from featx.engines.layers import LayerOutput, read_layers, trace_layers
from featx.engines.placement import Placement, has_bfloat16
from featx.errors import BackboneError, FeatxError, one_line

__all__ = ["TorchEngine", "must_round"]

# A processor is fastest with so many images in a pass: of more, what one step hands to the next
# leaves its caches.
LEAST_AT_ONCE, AT_ONCE_PER_THREAD = 8, 4


class TorchEngine:
    """The module itself, eagerly.

    A GPU is given the next batch before the last one is back: it is copied there from pinned
    memory, on a stream of its own, while the last one is computed.

    Parameters
    ----------
    network : Network
        Its module is taken over: moved, converted and put in eval mode.
    placement : Placement
        Where, and in what arithmetic. Batch-norm statistics stay float32.

    Attributes
    ----------
    network : Network
    module : nn.Module
        As it is run, but for folding.
    dtype : torch.dtype
        As given; a processor without bfloat16 computes in float32 and rounds.
    """

    def __init__(self, network: Network, placement: Placement) -> None:
        note_use("torch")
        self.network = network
        self._device, self.dtype = placement.device, placement.precision.dtype
        self._must_round = must_round(self.dtype, self._device)
        self._dtype = torch.float32 if self._must_round else self.dtype
        self._is_cuda = self._device.type == "cuda"
        if self._device.type == "cpu":
            keep_freed_memory()
        self.n_at_once = 2 if self._is_cuda else 1  # one takes all cores of a processor
        self._copies: Any = None  # the stream of copies to a GPU
        self._lock = fork_lock()
        self._normalise = Normalise(network.preprocessing)
        self._folded: nn.Module | None = None
        self._changed: frozenset[str] = frozenset()
        self.module = network.module.eval().requires_grad_(False)
        self._is_placed = False
        # cuDNN adds a bias in a pass of its own, so that folding gains nothing on a GPU
        if self._is_cuda or not has_batch_norms(self.module):
            self._place()

    @torch.inference_mode(False)  # the weights made here must have versions, as kernels ask
    def trace(self, blank: NDArray[Any]) -> dict[str, LayerOutput]:
        """Describe the layers for a blank view (1, ...), and fold what can be folded on a CPU.

        Before it the network cannot be read.
        """
        if not self._is_placed:
            self._fold(blank)
            self._place()
        x, network = self.input(blank), self.network
        return trace_layers(self.module, x, head=network.head, network=str(network))

    def _fold(self, blank: NDArray[Any]) -> None:
        self.module = self.module.to("cpu").to(memory_format=torch.channels_last)
        trial = self._float32(make_trial_views(blank.shape, blank.dtype))
        try:
            folded = fold_batch_norms(self.module, trial)
        except Exception:  # noqa: BLE001 - it may need its device: whether it runs, the trace says
            return
        if folded is not None:
            self._folded, self._changed = folded.module, folded.changed

    def _place(self) -> None:
        """Move and convert the network, and the folded one, which shares with it on a CPU."""
        self._normalise = self._normalise.to(self._device)
        self.module = self._convert(self.module)
        if self._folded is not None:
            self._folded = self._convert(self._folded)
        if self._must_round:
            for module in (self.module, self._folded):
                if module is not None:
                    _round_between_modules(module, keep=_BatchNorm)
        self._is_placed = True

    def _convert(self, module: nn.Module) -> nn.Module:
        module = module.to(self._device)
        # 8 bits of a variance would scale a whole channel wrongly, for every image.
        norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
        exact = [{name: x.clone() for name, x in part.state_dict().items()} for part in norms]
        module = module.to(self._dtype)
        for part, state in zip(norms, exact, strict=True):
            part.float().load_state_dict(state)
        return module.to(memory_format=torch.channels_last)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array to collect a batch in, pinned in memory where a GPU copies from it."""
        if not self._is_cuda:
            return np.empty(shape, dtype)
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty(shape, dtype=kind, pin_memory=True).numpy()

    def input(self, view: NDArray[Any]) -> torch.Tensor:
        """Return a view as the module takes it."""
        x = self._float32(view).to(self._dtype)
        return _round_to_bfloat16(x) if self._must_round else x

    def _float32(self, view: NDArray[Any]) -> torch.Tensor:
        # uint8 travels to the device, a quarter of the bytes; the rest happens there.
        x = torch.from_numpy(np.ascontiguousarray(view))
        device = self._normalise.scale.device
        x = self._on_gpu(x) if device.type == "cuda" else x.to(device)
        normalised: torch.Tensor = self._normalise(x)
        return normalised.contiguous(memory_format=torch.channels_last)

    def _on_gpu(self, x: torch.Tensor) -> torch.Tensor:
        """Copy to the GPU while it computes."""
        if self._copies is None:
            self._copies = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            there = x.pin_memory().to(self._device, non_blocking=True)  # as it is, if pinned
        computing.wait_stream(self._copies)
        there.record_stream(computing)
        return there

    @torch.inference_mode()
    def read(self, view: NDArray[Any], layers: Mapping[str, LayerOutput], use: Use) -> None:
        """Run as far as the deepest layer; a GPU may still be computing when this returns."""
        module = self.module
        read = {name for layer in layers.values() for name in (*layer.modules, layer.norm)}
        if self._folded is not None and self._changed.isdisjoint(read):
            module = self._folded
        size = max(len(view), 1)
        if self._device.type == "cpu":
            size = max(LEAST_AT_ONCE, AT_ONCE_PER_THREAD * torch.get_num_threads())
        for start in range(0, max(len(view), 1), size):
            part = view[start : start + size]
            n = len(part)

            def use_part(name: str, output: torch.Tensor, n: int = n) -> None:
                use(name, output[:n] if len(output) == size else output)

            # all of a batch in passes of one size: the bits of a vector depend on it
            x = self.input(pad_batch(part, size) if start else part)
            # the hooks of one pass would take the other's outputs too
            with self._lock, self.arithmetic(), self._explain(part):
                read_layers(module.eval(), x, layers, use_part, head=self.network.head)

    @contextlib.contextmanager
    def _explain(self, part: NDArray[Any]) -> Iterator[None]:
        """Add to whatever a network raises which images it was given."""
        try:
            yield
        except (torch.OutOfMemoryError, FeatxError):
            raise
        except Exception as err:
            raise BackboneError(
                f"{self.network}: cannot process images of shape {part.shape[1:]} "
                f"({type(err).__name__}: {one_line(err)}); expected images of "
                "the size that it is built for"
            ) from err

    def arithmetic(self) -> contextlib.AbstractContextManager[None]:
        """Have float32 convolutions computed in it on a GPU too, which torch leaves to TF32."""
        if not self._is_cuda or self._dtype is not torch.float32:
            return contextlib.nullcontext()
        now = torch.backends.cudnn
        return now.flags(
            enabled=now.enabled,
            benchmark=now.benchmark,
            deterministic=now.deterministic,
            allow_tf32=False,
        )


def must_round(dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether bfloat16 is best done by rounding float32: on x86 that does not compute it."""
    is_x86 = device.type == "cpu" and platform.machine().lower() in ("x86_64", "amd64")
    return dtype is torch.bfloat16 and is_x86 and not has_bfloat16(device)


@torch.no_grad()
def _round_between_modules(module: nn.Module, keep: type[nn.Module]) -> None:
    """Round a module's weights, and from now on what each of its parts gives.

    Parameters
    ----------
    module : nn.Module
        In float32, on a processor; changed.
    keep : type
        Parts whose weights stay as they are.

    Examples
    --------
    >>> layer = nn.Linear(1, 1)
    >>> _ = nn.init.constant_(layer.weight, 1.001), nn.init.zeros_(layer.bias)
    >>> _round_between_modules(layer, nn.BatchNorm2d)
    >>> layer.weight.item(), layer(torch.tensor([1.0078125])).item()
    (1.0, 1.0078125)
    """
    for part in module.modules():
        if not isinstance(part, keep):
            for parameter in part.parameters(recurse=False):
                parameter.data = _round_to_bfloat16(parameter.data)
        if not isinstance(part, nn.Sequential):  # gives what its last part gave
            part.register_forward_hook(_round_output)


def _round_output(_: nn.Module, __: Any, output: Any) -> torch.Tensor | None:
    is_float = isinstance(output, torch.Tensor) and output.dtype is torch.float32
    return _round_to_bfloat16(output) if is_float else None


def _round_to_bfloat16(x: torch.Tensor) -> torch.Tensor:
    """Return the nearest float32 numbers that bfloat16 has."""
    return x.bfloat16().float()
