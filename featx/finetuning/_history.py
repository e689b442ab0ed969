"""What became of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Depth", "Epoch", "find_best", "find_best_depth"]


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


@dataclass(frozen=True)
class Depth:
    """What became of training from one layer on; without a layer it is the probe.

    Parameters
    ----------
    train_from : str or None
        First layer that was trained; None: only the classifier on top, which is the probe.
    n_trained_parameters : int
        Of the network.
    epochs, best_epoch : int
        Epochs trained, and the one kept.
    val_accuracy, val_loss : float
        Of the epoch kept, on the held-out images.
    seconds : float
    """

    train_from: str | None
    n_trained_parameters: int
    epochs: int
    best_epoch: int
    val_accuracy: float
    val_loss: float
    seconds: float


def find_best_depth(depths: Sequence[Depth]) -> int:
    """Return the place of the depth that is kept, of which the first is the probe.

    The one of highest held-out accuracy, of equal ones the probe, else that of lowest loss, else
    the shallowest. Loss does not decide against the probe: training lowers it where no answer
    changes.

    Examples
    --------
    >>> probe = Depth(None, 0, 0, 0, 0.8, 0.5, 1.0)
    >>> find_best_depth([probe, Depth("layer4", 9, 2, 0, 0.8, 0.4, 2.0)])
    0
    """
    return max(
        range(len(depths)),
        key=lambda i: (depths[i].val_accuracy, i == 0, -depths[i].val_loss, -i),
    )
