"""Torch as the engine: the module itself, with what can be folded folded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from featx._forks import fork_lock
from featx.engines._batch_norm import fold_batch_norms, has_batch_norms
from featx.engines._rounding import round_between_modules, rounded
from featx.engines.device import must_round
from featx.engines.engine import Normalise, Use, padded, trial_views
from featx.engines.layers import LayerOutput, read_layers, trace_layers
from featx.errors import BackboneError, FeatxError

__all__ = ["TorchEngine"]

# A processor is fastest with so many images in a pass: of more, what one step hands to the next
# leaves its caches, and is larger than what the C library gives out without asking the system.
LEAST_AT_ONCE, AT_ONCE_PER_THREAD = 8, 4


class TorchEngine:
    """The module itself, eagerly.

    A GPU is given the next batch before the last one is back: it is copied there from pinned
    memory, on a stream of its own, while the last one is computed.

    Parameters
    ----------
    module : nn.Module
        In float32. Taken over: moved, converted and put in eval mode.
    head : str or None
        Module whose input is the penultimate feature.
    normalise : Normalise
        Moved to the device.
    device, dtype
        Where, and in what arithmetic. Batch-norm statistics stay float32.
    thing : str
        The network, for messages.

    Attributes
    ----------
    module : nn.Module
        As it is run, but for folding.
    dtype : torch.dtype
        As given; a processor without bfloat16 computes in float32 and rounds.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        head: str | None,
        normalise: Normalise,
        device: torch.device,
        dtype: torch.dtype,
        thing: str,
    ) -> None:
        self._normalise, self._device = normalise, device
        self.dtype = dtype
        self._must_round = must_round(dtype, device)
        self._dtype = torch.float32 if self._must_round else dtype
        self._head, self._thing = head, thing
        self._is_cuda = device.type == "cuda"
        self.n_at_once = 2 if self._is_cuda else 1  # one takes all cores of a processor
        self._copies: Any = None  # the stream of copies to a GPU
        self._lock = fork_lock()
        self._folded: nn.Module | None = None
        self._changed: frozenset[str] = frozenset()
        self.module = module.eval().requires_grad_(False)
        self._is_placed = False
        # cuDNN adds a bias in a pass of its own, so that folding gains nothing on a GPU
        if self._is_cuda or not has_batch_norms(module):
            self._place()

    @torch.inference_mode(False)  # the weights made here must have versions, as kernels ask
    def trace(self, blank: NDArray[Any]) -> dict[str, LayerOutput]:
        """Describe the layers for a blank view (1, ...), and fold what can be folded on a CPU.

        Before it the network cannot be read.
        """
        if not self._is_placed:
            self._fold(blank)
            self._place()
        return trace_layers(self.module, self.input(blank), head=self._head, thing=self._thing)

    def _fold(self, blank: NDArray[Any]) -> None:
        self.module = self.module.to("cpu").to(memory_format=torch.channels_last)
        trial = self._float32(trial_views(blank.shape, blank.dtype))
        try:
            folded = fold_batch_norms(self.module, trial)
        except Exception:  # noqa: BLE001 - it may need its device: whether it runs, the trace says
            return
        if folded is not None:
            self._folded, self._changed = folded.module, folded.changed

    def _place(self) -> None:
        """Move and convert the network, and the folded one, which shares with it on a CPU."""
        self._normalise = self._normalise.to(self._device)
        self.module = _converted(self.module.to(self._device), self._dtype)
        self.module = self.module.to(memory_format=torch.channels_last)
        if self._folded is not None:
            self._folded = _converted(self._folded.to(self._device), self._dtype)
            self._folded = self._folded.to(memory_format=torch.channels_last)
        if self._must_round:
            for module in (self.module, self._folded):
                if module is not None:
                    round_between_modules(module, keep=_BatchNorm)
        self._is_placed = True

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return memory that is pinned where a GPU takes it from there."""
        if not self._is_cuda:
            return np.empty(shape, dtype)
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty(shape, dtype=kind, pin_memory=True).numpy()

    def input(self, view: NDArray[Any]) -> torch.Tensor:
        """Return a view as the module takes it."""
        x = self._float32(view).to(self._dtype)
        return rounded(x) if self._must_round else x

    def _float32(self, view: NDArray[Any]) -> torch.Tensor:
        # uint8 travels to the device, a quarter of the bytes; the rest happens there.
        x = torch.from_numpy(np.ascontiguousarray(view))
        device = self._normalise.scale.device
        x = self._on_gpu(x) if device.type == "cuda" else x.to(device)
        normalised: torch.Tensor = self._normalise(x)
        return normalised.contiguous(memory_format=torch.channels_last)

    def _on_gpu(self, x: torch.Tensor) -> torch.Tensor:
        """Copy there beside what is being computed."""
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
        """Run as far as the deepest layer; a GPU may not have got there yet."""
        module = self.module
        if self._folded is not None and self._changed.isdisjoint(layers):
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
            x = self.input(padded(part, size) if start else part)
            # the hooks of one pass would take the other's outputs too
            with self._lock, self.arithmetic(), self._explained(part):
                read_layers(module.eval(), x, layers, use_part, head=self._head)

    @contextlib.contextmanager
    def _explained(self, part: NDArray[Any]) -> Iterator[None]:
        """Say of whatever a network raises which images it was given."""
        try:
            yield
        except (torch.OutOfMemoryError, FeatxError):
            raise
        except Exception as err:
            raise BackboneError(
                f"{self._thing}: cannot process images of shape {part.shape[1:]} "
                f"({type(err).__name__}: {' '.join(str(err).split())[:200]}); expected images of "
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


def _converted(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    # 8 bits of a variance would scale a whole channel wrongly, for every image.
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    exact = [{name: x.clone() for name, x in part.state_dict().items()} for part in norms]
    module = module.to(dtype)
    for part, state in zip(norms, exact, strict=True):
        part.float().load_state_dict(state)
    return module
