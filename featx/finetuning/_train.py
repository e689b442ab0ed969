"""The classifier on top and the training loop.

Each step is a function of the seed, the epoch and the step's number.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from featx._progress import Progress
from featx.errors import ParameterError
from featx.finetuning._history import Epoch, find_best
from featx.finetuning._network import Tunable
from featx.finetuning._pool import Pool

__all__ = ["Model", "Schedule", "UnitLinear", "make_warm_head", "measure", "train"]

CLIP_NORM = 1.0
WARM_UP = 0.05
LAST_RATE = 0.01
# A random head has everything to learn, what comes before it little.
RANDOM_HEAD_FACTOR = 10.0


class UnitLinear(nn.Module):
    """Scores that are linear in the direction of a vector, whatever its length.

    Rows are scaled to the length sqrt(n_features), so that an element is about 1 and weights are
    of the usual size; a row of zeros stays one, as in `featx.LinearProbeClassifier`.

    Parameters
    ----------
    n_features, n_classes : int

    Examples
    --------
    >>> head = UnitLinear(4, 3)
    >>> x = torch.rand(2, 4)
    >>> bool(torch.allclose(head(x), head(5 * x), atol=1e-6))
    True
    """

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_classes)
        self.length = math.sqrt(n_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, n_classes) scores of (B, n_features) vectors."""
        scores: torch.Tensor = self.linear(functional.normalize(x.float()) * self.length)
        return scores


def make_warm_head(probe: Any) -> UnitLinear:
    """Return the head that gives a probe's probabilities.

    Parameters
    ----------
    probe : LinearProbeClassifier
        Fitted on normalised rows, method "logistic".

    Notes
    -----
    Start of the second step of LP-FT, linear probing then fine-tuning (Kumar et al. 2022,
    arXiv 2202.10054): a random head would first distort the features that it is given.
    """
    coef, intercept = probe.coef_, probe.intercept_
    if len(coef) == 1:
        # sigmoid(z) is the softmax of (-z / 2, z / 2).
        coef, intercept = (np.concatenate([-row / 2, row / 2]) for row in (coef, intercept))
    head = UnitLinear(coef.shape[1], len(coef))
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(coef / head.length))
        head.linear.bias.copy_(torch.from_numpy(intercept))
    return head


@dataclass(frozen=True)
class Schedule:
    """How to train; fields are the parameters of `FineTuneClassifier`."""

    epochs: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    patience: int
    seed: int
    is_head_random: bool
    is_norm_trained: bool


@dataclass(frozen=True)
class Model:
    """A network that is tuned and the classifier on top of it.

    Parameters
    ----------
    tunable : Tunable
    head : nn.Module
        Vectors to scores.
    """

    tunable: Tunable
    head: nn.Module

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, n_classes) scores of what the trained part is given."""
        scores: torch.Tensor = self.head(self.tunable.tail(x))
        return scores

    def copy_state(self) -> list[torch.Tensor]:
        """Copy everything that training changes."""
        return [tensor.detach().clone() for tensor in self._list_changing()]

    @torch.no_grad()
    def restore(self, state: list[torch.Tensor]) -> None:
        """Put back what `copy_state` gave."""
        for tensor, copy in zip(self._list_changing(), state, strict=True):
            tensor.copy_(copy)

    def _list_changing(self) -> list[torch.Tensor]:
        tunable = self.tunable
        buffers = [b for module in tunable.modules for b in module.buffers(recurse=False)]
        head = self.head.state_dict(keep_vars=True).values()
        return [*tunable.trained.values(), *buffers, *head]


def train(
    model: Model,
    pool: Pool,
    val_pool: Pool | None,
    schedule: Schedule,
    *,
    first: Epoch,
    label: str,
    progress: bool | None,
) -> tuple[Epoch, ...]:
    """Train in place, and leave the best epoch's weights.

    Parameters
    ----------
    model : Model
    pool, val_pool : Pool
        Images to train on, and those held out (None where there are none).
    schedule : Schedule
    first : Epoch
        The figures before training.
    label : str
        What the progress bar is called.
    progress : bool or None

    Raises
    ------
    ParameterError
        If the loss is no longer a number.
    """
    optimiser = _make_optimiser(model, schedule)
    history, best = [first], model.copy_state()
    n_views = schedule.epochs * pool.n_views * len(pool)
    with Progress(n_views, label, unit="view", enabled=progress) as bar:
        for epoch in range(1, schedule.epochs + 1):
            start = time.monotonic()
            loss = _run_epoch(model, pool, schedule, optimiser, epoch, bar)
            val = measure(model, val_pool)
            history.append(Epoch(epoch, loss, *val, time.monotonic() - start))
            if find_best(history) == epoch:
                best = model.copy_state()
            elif epoch - find_best(history) >= schedule.patience:
                break
    model.restore(best)
    model.tunable.eval()
    return tuple(history)


@torch.no_grad()
def measure(model: Model, pool: Pool | None) -> tuple[float, float]:
    """Return log loss and accuracy on held-out images; NaN where there are none."""
    if pool is None:
        return math.nan, math.nan
    model.tunable.eval()
    batches = pool.batches(np.arange(len(pool)), 0)
    found = torch.cat([model.scores(x).double().cpu() for x, _ in batches])
    wanted = torch.from_numpy(pool.images.codes)
    loss = float(functional.cross_entropy(found, wanted))
    return loss, float((found.argmax(1) == wanted).double().mean())


def _run_epoch(
    model: Model,
    pool: Pool,
    schedule: Schedule,
    optimiser: torch.optim.Optimizer,
    epoch: int,
    bar: Progress,
) -> float:
    """Go once through every view of every image; no batch has an image twice."""
    model.tunable.train(is_norm_trained=schedule.is_norm_trained)
    losses: list[float] = []
    n_steps = pool.n_views * pool.n_batches
    for view in range(pool.n_views):
        order = np.random.default_rng((schedule.seed, epoch, view)).permutation(len(pool))
        for x, rows in pool.batches(order, view):
            _set_rate(optimiser, (epoch - 1 + len(losses) / n_steps) / schedule.epochs)
            target = torch.from_numpy(pool.images.codes[rows]).to(x.device)
            losses.append(_take_step(model, optimiser, x, target, schedule))
            bar.advance(len(rows))
        if not math.isfinite(losses[-1]):
            raise ParameterError(
                f"learning_rate: got {schedule.learning_rate:g}, with which the loss became "
                f"{losses[-1]} in epoch {epoch}, expected a smaller one: try a tenth"
            )
    return float(np.mean(losses))


def _take_step(
    model: Model,
    optimiser: torch.optim.Optimizer,
    x: torch.Tensor,
    target: torch.Tensor,
    schedule: Schedule,
) -> float:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda"):
        scores = model.scores(x)
    loss = functional.cross_entropy(
        scores.float(), target, label_smoothing=schedule.label_smoothing
    )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    changed = [*model.tunable.trained.values(), *model.head.parameters()]
    nn.utils.clip_grad_norm_(changed, CLIP_NORM)
    optimiser.step()
    return float(loss.detach())


def _make_optimiser(model: Model, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), which decays matrices and kernels, not offsets."""
    factor = RANDOM_HEAD_FACTOR if schedule.is_head_random else 1.0
    groups = []
    tuned, head = list(model.tunable.trained.values()), list(model.head.parameters())
    for values, times in ((tuned, 1.0), (head, factor)):
        rate = schedule.learning_rate * times
        for is_matrix in (True, False):
            decay = schedule.weight_decay if is_matrix else 0.0
            params = [p for p in values if (p.ndim > 1) == is_matrix]
            groups.append({"params": params, "lr": rate, "peak": rate, "weight_decay": decay})
    return torch.optim.AdamW([group for group in groups if group["params"]])


def _set_rate(optimiser: torch.optim.Optimizer, done: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * _scale_rate(done)


def _scale_rate(done: float) -> float:
    """Warm up over 5 % of the run, then a half cosine down to 1 % of the peak."""
    if done < WARM_UP:
        return (done + LAST_RATE) / (WARM_UP + LAST_RATE)
    past = (done - WARM_UP) / (1 - WARM_UP)
    return LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * past)) / 2
