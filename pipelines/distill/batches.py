"""Which views each step sees, and threads that prepare them ahead of the network."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.distill.config import DistillConfig
from pipelines.distill.photographs import Photographs
from pipelines.distill.views import make_view

__all__ = ["batches", "steps_an_epoch"]


def steps_an_epoch(n_photographs: int, config: DistillConfig) -> int:
    """Count full batches in a pass over all views; the rest comes up in another order."""
    return max(1, n_photographs * config.n_views // config.batch_size)


def batches(
    photographs: Photographs,
    config: DistillConfig,
    steps: range,
    n_readers: int,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.intp]]]:
    """Yield (views, rows) for each step, read two steps ahead.

    Threads suffice: Pillow frees the interpreter lock while it decodes and resizes. Holds three
    batches of uint8 views.

    Parameters
    ----------
    steps : range
        Steps of the whole run, so that a resumed one starts in the middle.
    n_readers : int
        Threads.
    """

    def one(row: int, px: int) -> NDArray[np.uint8]:
        return make_view(photographs, config, *divmod(row, config.n_views), px)

    with ThreadPoolExecutor(n_readers) as pool:
        ahead: list[tuple[list[Any], NDArray[np.intp]]] = []
        for step in steps:
            rows, px = _plan(step, len(photographs), config)
            ahead.append(([pool.submit(one, int(r), px) for r in rows], rows))
            if len(ahead) > 2:
                futures, due = ahead.pop(0)
                yield np.stack([f.result() for f in futures]), due
        for futures, due in ahead:
            yield np.stack([f.result() for f in futures]), due


def _plan(step: int, n_photographs: int, config: DistillConfig) -> tuple[NDArray[np.intp], int]:
    """Rows and side of one step: a fresh order each epoch, one of the sides each step."""
    epoch, at = divmod(step, steps_an_epoch(n_photographs, config))
    n = n_photographs * config.n_views
    order = np.random.default_rng((config.seed, epoch, 0)).permutation(n)
    side = np.random.default_rng((config.seed, step, 1)).choice(config.student_px)
    return order[at * config.batch_size : (at + 1) * config.batch_size], int(side)
