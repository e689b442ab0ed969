"""The training loop: every step is a function of the seed and the step's number alone.

So a checkpoint is the weights, the optimiser's moments and a count, and a run that was killed and
resumed goes through the same numbers as one that was not.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
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


def train(
    student: nn.Module,
    features: NDArray[np.float16],
    photographs: Photographs,
    config: DistillConfig,
    *,
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
    features : ndarray of float16, (n_photographs, n_views, D)
        The teacher's.
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
    student.to(device).to(memory_format=torch.channels_last)
    student.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(
        student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    key = f"{config.digest()[:16]}-{photographs.digest[:16]}"
    step = restore(checkpoint, key, student, optimiser)
    n_steps = config.epochs * steps_an_epoch(features, config)
    scale = FeatureScale.of(features, device)
    started = saved = time.monotonic()
    losses: list[float] = []
    with Progress(n_steps, "distil", unit="step", enabled=progress) as bar:
        bar.advance(step)
        for views, rows in batches(photographs, features, config, range(step, n_steps), n_readers):
            if time.monotonic() - started >= stop_after_s:
                break
            target = torch.from_numpy(features.reshape(-1, features.shape[-1])[rows]).to(device)
            losses.append(
                _step(student, optimiser, views, target.float(), scale, config, step, n_steps)
            )
            step += 1
            bar.advance()
            if time.monotonic() - saved >= CHECKPOINT_EVERY_S:
                save(checkpoint, key, step, student, optimiser)
                saved = time.monotonic()
    save(checkpoint, key, step, student, optimiser)
    means = [float(np.mean(losses[i : i + 20])) for i in range(0, len(losses), 20)]
    student.eval().requires_grad_(False)
    return TrainResult(step, n_steps, tuple(means))


def _step(
    student: nn.Module,
    optimiser: torch.optim.Optimizer,
    views: NDArray[np.uint8],
    target: torch.Tensor,
    scale: FeatureScale,
    config: DistillConfig,
    step: int,
    n_steps: int,
) -> float:
    rng = np.random.default_rng((config.seed, step, 2))
    x = standardise(colour_jitter(to_unit(views, target.device), config.colour, rng))
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * _course(step / max(1, n_steps))
    is_cuda = target.device.type == "cuda"
    with torch.autocast(target.device.type, torch.bfloat16, enabled=is_cuda):
        found = student(x)
    loss = feature_loss(found.float(), target, scale, relational=config.relational_weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(student.parameters(), CLIP_NORM)
    optimiser.step()
    return float(loss.detach())


def _course(done: float) -> float:
    """Warm up over 5 % of the run, then a half cosine down to 1 % of the peak."""
    if done < 0.05:
        return (done + 0.002) / 0.052
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - 0.05) / 0.95))
