"""Batches through an engine: padded, in parts that a GPU's memory takes, pooled, fetched."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx.engines.engine import Engine, pad_batch
from featx.engines.layers import LayerOutput
from featx.errors import BackboneError, one_line

__all__ = ["Passes", "Pending", "Read"]

Read = tuple[str, Callable[[torch.Tensor], torch.Tensor]]
"""A layer's name, and what makes its output (B, ...) a vector (B, D), as `featx.pooling` does."""
Pending = Callable[[], list[NDArray[np.float32]]]
"""Waits for a batch, and returns what each read gave."""
log = logging.getLogger(__name__)


class Passes:
    """What runs a network's batches.

    Parameters
    ----------
    network, device : str
        The network and where it runs, for messages.
    """

    def __init__(self, network: str, device: str) -> None:
        self._network, self._device = network, device
        self._most_at_once: int | None = None  # images that the device's memory takes, once found

    def begin(
        self,
        engine: Engine,
        view: NDArray[Any],
        reads: Sequence[Read],
        layers: Mapping[str, LayerOutput],
        pad_to: int | None = None,
    ) -> Pending:
        """Begin a batch, in halves from the first time on that a GPU's memory does not take it.

        Parameters
        ----------
        engine : Engine
            What runs it.
        view : ndarray of shape (n, ...)
            As the engine takes it.
        reads : sequence of (str, callable)
            Layers and their poolings.
        layers : mapping
            Each layer that is read.
        pad_to : int, optional
            Fill the batch up with blank images to this many.

        Returns
        -------
        callable
            Returns a list of ndarray of shape (n, n_features), float32, one for each read; with
            `pad_to`, the blank images' vectors may follow.

        Raises
        ------
        BackboneError
            If not even one image fits, or a layer mixes up images.
        """
        most = max(len(view), pad_to or 0, 1)  # what one pass takes, blank images included
        while True:
            size = min(self._most_at_once or most, most)
            parts = [view[start : start + size] for start in range(0, max(len(view), 1), size)]
            if pad_to is not None:
                parts = [pad_batch(part, min(pad_to, size)) for part in parts]
            try:
                begun = [self._begin_one(engine, part, reads, layers) for part in parts]
            except torch.OutOfMemoryError as err:
                self._halve(size, err)
                continue
            return functools.partial(_join, begun, size)

    def _halve(self, size: int, err: Exception) -> None:
        if size == 1:
            raise BackboneError(
                f"{self._network}: {self._device} has no memory for one image ({one_line(err)}); "
                "free some, take smaller images (crop_px) or device 'cpu'"
            ) from err
        self._most_at_once = size // 2
        log.warning(
            "%s: %s has no memory for %d images at once, going on with %d",
            self._network, self._device, size, self._most_at_once,
        )  # fmt: skip

    def _begin_one(
        self,
        engine: Engine,
        view: NDArray[Any],
        reads: Sequence[Read],
        layers: Mapping[str, LayerOutput],
    ) -> Pending:
        parts: list[list[torch.Tensor]] = [[] for _ in reads]

        def pool(name: str, x: torch.Tensor) -> None:
            for vectors, (layer, pooling) in zip(parts, reads, strict=True):
                if layer == name:
                    vectors.append(pooling(x).float())

        def fetch_pooled() -> Pending:
            whole = [x[0] if len(x) == 1 else torch.cat(x) for x in parts]
            for x, (name, _) in zip(whole, reads, strict=True):
                if len(x) != len(view):  # else one image would get parts of another
                    raise BackboneError(
                        f"{self._network}: layer {name!r} gives {len(x)} rows for a batch of "
                        f"{len(view)} images, expected one row per image, first axis first"
                    )
            return _begin_fetch(whole)

        finish = engine.read(view, layers, pool)
        if finish is None:
            return fetch_pooled()

        def fetch() -> list[NDArray[np.float32]]:
            finish()
            return fetch_pooled()()

        return fetch


def _join(parts: Sequence[Pending], size: int) -> list[NDArray[np.float32]]:
    found = [part() for part in parts]
    if len(found) == 1:
        return found[0]
    return [np.concatenate([v[:size] for v in vectors]) for vectors in zip(*found, strict=True)]


def _begin_fetch(vectors: Sequence[torch.Tensor]) -> Pending:
    """Begin to copy vectors to the CPU; a GPU copies when it has computed them."""
    if not all(x.is_cuda for x in vectors):
        arrays = [x.cpu().numpy() for x in vectors]
        return lambda: arrays
    here = [torch.empty(x.shape, pin_memory=True).copy_(x, non_blocking=True) for x in vectors]
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(vectors[0].device))

    def fetch() -> list[NDArray[np.float32]]:
        done.synchronize()
        return [x.numpy().copy() for x in here]  # pinned memory is for what comes next

    return fetch
