"""What became of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Epoch", "find_best"]


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch; number 0 is the network before any training.

    Parameters
    ----------
    epoch : int
        Its number.
    train_loss : float
        Mean over the epoch's batches, with label smoothing; NaN for epoch 0.
    val_loss : float
        Log loss on the held-out images, without label smoothing; NaN where none are held out.
    val_accuracy : float
        Share of the held-out images that are labelled rightly; NaN likewise.
    seconds : float
        Time that it took; for epoch 0 reading, the frozen part and the probe.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float


def find_best(history: Sequence[Epoch]) -> int:
    """Return the number of the epoch whose weights are kept.

    The highest held-out accuracy, of equal ones the lowest held-out loss, of equal ones the
    first; the last epoch where nothing was held out.

    Examples
    --------
    >>> find_best([Epoch(0, 0.0, 0.5, 0.8, 0.0), Epoch(1, 0.0, 0.4, 0.8, 0.0)])
    1
    """
    if history[0].val_loss != history[0].val_loss:  # NaN
        return history[-1].epoch
    return min(history, key=lambda e: (-e.val_accuracy, e.val_loss, e.epoch)).epoch
