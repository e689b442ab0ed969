"""The training loop: every step is a function of the seed and the step's number alone.

So a checkpoint is the weights, the optimiser's moments and a count, and a run that was killed and
resumed goes through the same numbers as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import nn

from featx._progress import Progress
from pipelines.distill.batches import batches, steps_an_epoch
from pipelines.distill.checkpoint import restore, save
from pipelines.distill.config import DistillConfig
from pipelines.distill.losses import FeatureScale, feature_loss
from pipelines.distill.photographs import Photographs
from pipelines.distill.views import colour_jitter, standardise, to_unit

__all__ = ["TrainResult", "train"]

CHECKPOINT_EVERY_S = 60.0
CLIP_NORM = 1.0


@dataclass(frozen=True)
class TrainResult:
    """How far a run came.

    Parameters
    ----------
    step, n_steps : int
        Steps done and steps that the settings ask for.
    losses : tuple of float
        Mean loss of each stretch of up to 20 steps in this call.
    """

    step: int
    n_steps: int
    losses: tuple[float, ...]

    @property
    def is_finished(self) -> bool:
        """True where no step is left."""
        return self.step >= self.n_steps


class WithHeads(nn.Module):
    """A student, and a linear map from its vector to that of each further teacher.

    Parameters
    ----------
    student : Module
        (B, 3, H, W) to (B, D).
    features : sequence of ndarray of float16, (n_photographs, n_views, D_i)
        Every teacher's. The maps start as those from the first one's to the others' with the
        least squares.
    """

    def __init__(self, student: nn.Module, features: Sequence[NDArray[np.float16]]) -> None:
        super().__init__()
        self.student = student
        self.heads = nn.ModuleList(_fit_head(features[0], other) for other in features[1:])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what is to be each teacher's vector, (B, D_i)."""
        found = self.student(x)
        return [found, *(head(found) for head in self.heads)]


def _fit_head(of: NDArray[np.float16], to: NDArray[np.float16]) -> nn.Linear:
    """Regress on up to 20,000 rows, evenly spaced; Ridge's default penalty suits as a start."""
    every = max(1, of.shape[0] * of.shape[1] // 20_000)
    x, y = (a.reshape(-1, a.shape[-1])[::every].astype(np.float32) for a in (of, to))
    fitted = Ridge(alpha=10.0).fit(x, y)
    head = nn.Linear(x.shape[1], y.shape[1])
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fitted.coef_))
        head.bias.copy_(torch.from_numpy(fitted.intercept_))
    return head


def train(
    student: nn.Module,
    features: Sequence[NDArray[np.float16]],
    photographs: Photographs,
    config: DistillConfig,
    *,
    standard: tuple[tuple[float, ...], tuple[float, ...]],
    checkpoint: Path,
    device: torch.device,
    stop_after_s: float = math.inf,
    n_readers: int = 2,
    progress: bool | None = None,
) -> TrainResult:
    """Train `student` in place, going on from `checkpoint` where it exists.

    Parameters
    ----------
    student : Module
        (B, 3, H, W) to (B, D).
    features : sequence of ndarray of float16, (n_photographs, n_views, D_i)
        Every teacher's.
    standard : tuple
        Mean and deviation of the student's input.
    checkpoint : Path
        Replaced atomically about once a minute and when the call ends.
    stop_after_s : float, default inf
        Seconds after which to stop; the learning rate's course does not depend on it.
    n_readers : int, default 2
        Threads that decode and crop ahead of the network.

    Raises
    ------
    FingerprintMismatchError
        If the checkpoint belongs to other settings or photographs.
    """
    network = WithHeads(student, features).to(device).to(memory_format=torch.channels_last)
    network.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    key = f"{config.digest()[:16]}-{photographs.digest[:16]}"
    step = restore(checkpoint, key, network, optimiser)
    n_steps = config.epochs * steps_an_epoch(len(photographs), config)
    scales = [FeatureScale.of(each, device) for each in features]
    started = saved = time.monotonic()
    losses: list[float] = []
    with Progress(n_steps, "distil", unit="step", enabled=progress) as bar:
        bar.advance(step)
        for views, rows in batches(photographs, config, range(step, n_steps), n_readers):
            if time.monotonic() - started >= stop_after_s:
                break
            x = standardise(_recolour(views, step, config, device), *standard)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * _course(step / max(1, n_steps))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                found = network(x)
            loss = torch.zeros((), device=device)
            for vectors, each, scale in zip(found, features, scales, strict=True):
                target = torch.from_numpy(each.reshape(-1, each.shape[-1])[rows]).to(device)
                loss = loss + feature_loss(
                    vectors.float(), target.float(), scale, relational=config.relational_weight
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimiser.step()
            losses.append(float(loss.detach()))
            step += 1
            bar.advance()
            if time.monotonic() - saved >= CHECKPOINT_EVERY_S:
                save(checkpoint, key, step, network, optimiser)
                saved = time.monotonic()
    save(checkpoint, key, step, network, optimiser)
    means = [float(np.mean(losses[i : i + 20])) for i in range(0, len(losses), 20)]
    student.eval().requires_grad_(False)
    return TrainResult(step, n_steps, tuple(means))


def _recolour(
    views: NDArray[np.uint8], step: int, config: DistillConfig, device: torch.device
) -> torch.Tensor:
    rng = np.random.default_rng((config.seed, step, 2))
    return colour_jitter(to_unit(views, device), config.colour, rng)


def _course(done: float) -> float:
    """Warm up over 5 % of the run, then a half cosine down to 1 % of the peak."""
    if done < 0.05:
        return (done + 0.002) / 0.052
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - 0.05) / 0.95))
