"""Train from one layer, or from several in turn, over activations that are computed once."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx._progress import Progress
from featx.finetuning._cache import NOWHERE, Room
from featx.finetuning._history import Depth, Epoch, find_best, find_best_depth
from featx.finetuning._network import Cutter, Tunable
from featx.finetuning._pool import Labelled, Pool, Stage, make_plain_pool
from featx.finetuning._train import Model, Schedule, train
from featx.finetuning._views import TrainingViews

if TYPE_CHECKING:
    from featx.finetuning._classifier import FineTuneClassifier

__all__ = ["Pools", "Sweep"]


@dataclass
class Pools:
    """The images of a fit, and where their activations lie.

    Parameters
    ----------
    stage : Stage
    plain : Pool
        All images, in the extraction's view.
    training : Pool
        The views to train on.
    held_out : Pool or None
    room : Room
    progress : bool or None
    strategy, cache : str
        As attributes of `FineTuneClassifier`.
    """

    stage: Stage
    plain: Pool
    training: Pool
    held_out: Pool | None
    room: Room
    progress: bool | None
    strategy: str = "recomputed"
    cache: str = NOWHERE

    @classmethod
    def read(
        cls,
        params: FineTuneClassifier,
        stage: Stage,
        images: Labelled,
        mask: NDArray[np.bool_],
        seed: int,
    ) -> Pools:
        """Read every image, so that bad ones are named, and run what is frozen once a view."""
        size, workers = params.batch_size, params.workers

        def views(numbers: tuple[int, ...]) -> TrainingViews:
            return TrainingViews(stage.preprocessing, params.augment, numbers, seed)

        n_views = {"crop-hflip": params.n_views, "hflip": 2, "none": 1}[params.augment]
        plain = make_plain_pool(stage, images, size, workers)
        rest = images.subset(np.flatnonzero(~mask))
        training = Pool(rest, views, n_views, stage, size, workers)
        room = Room(params.max_cache_bytes, params.max_disk_bytes)
        pools = cls(stage, plain, training, None, room, params.progress)
        plain.kept, training.kept = pools._allocate()
        if stage.tunable.uncut is not None:
            _warn(
                f"backbone {stage.tunable.name!r}: cannot be cut in two at "
                f"{stage.tunable.train_from!r} ({stage.tunable.uncut}), so that every step runs "
                "all of it; the result is the same, later"
            )
        with Progress(pools.n_kept, "frozen part", unit="view", enabled=params.progress) as bar:
            plain.keep(bar)
            training.keep(bar)
        held = np.flatnonzero(mask)
        pools.held_out = plain.subset(held) if len(held) else None
        return pools

    @property
    def n_kept(self) -> int:
        """Number of views."""
        return len(self.plain) + self.training.n_views * len(self.training)

    def advance(self, cutter: Cutter, layer: str) -> Tunable:
        """Go on to a later layer, over what is kept, so that nothing before it is run again."""
        before, tunable = self.stage.tunable, cutter.prepare(layer)
        if before.frozen is None:  # pixels are kept
            tunable = replace(tunable, frozen=None, tail=tunable.whole)
            self.stage.move(tunable)
            return tunable
        self.stage.move(tunable)
        tensors = self._allocate()
        if self.cache == NOWHERE or self.plain.kept is None or tunable.frozen is None:
            self.plain.kept = self.training.kept = None
        else:
            part = cutter.between(before.train_from, layer)
            with Progress(
                self.n_kept, f"frozen part up to {layer}", unit="view", enabled=self.progress
            ) as bar:
                for pool, kept in zip((self.plain, self.training), tensors, strict=True):
                    assert kept is not None
                    pool.advance(part, kept, bar)
        if self.held_out is not None:
            self.held_out.kept = self.plain.kept
        return tunable

    def _allocate(self) -> list[torch.Tensor | None]:
        sample = self.stage.sample()
        pools = (self.plain, self.training)
        shapes = [(len(p), p.n_views, *sample.shape[1:]) for p in pools]
        self.cache, tensors = self.room.allocate(shapes, sample.dtype)
        if self.cache == NOWHERE:
            n_bytes = self.n_kept * sample.numel() * sample.element_size()
            _warn(
                f"max_cache_bytes: {self.n_kept} views need {n_bytes} bytes, got "
                f"{self.room.memory_bytes} in memory and {self.room.disk_bytes} on disk (where "
                "that much has to be free), so that images are read and the frozen part is "
                "computed again in every epoch; raise max_cache_bytes or max_disk_bytes, or take "
                "fewer n_views or a later train_from"
            )
            self.strategy = "recomputed"
        else:
            self.strategy = "pixels" if self.stage.tunable.frozen is None else "activations"
        return tensors


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=6)


@dataclass
class Sweep:
    """Train from each layer, all from the same start, and leave the best in the network.

    Parameters
    ----------
    cutter : Cutter
    pools : Pools
    head : nn.Module
        The classifier on top, which is trained too.
    schedule : Schedule
    first : Epoch
        The figures before training.
    progress : bool or None
    """

    cutter: Cutter
    pools: Pools
    head: nn.Module
    schedule: Schedule
    first: Epoch
    progress: bool | None

    def run(self, layers: list[str]) -> tuple[tuple[Epoch, ...], tuple[Depth, ...], int]:
        """Train from each layer and leave the best one's weights.

        Parameters
        ----------
        layers : list of str
            The earliest first, so that what comes before it is run once for all. A single one is
            kept whatever becomes of it: its own epoch 0 is the probe.

        Returns
        -------
        history : tuple of Epoch
            Of the depth that is kept.
        depths : tuple of Depth
            The probe, then the depths, the shallowest first.
        kept : int
            Which of them is kept.
        """
        everything = Model(self.pools.stage.tunable, self.head)
        start = best = everything.copy_state()
        probe = Depth(None, 0, 0, 0, self.first.val_accuracy, self.first.val_loss, 0.0)
        depths = [probe]
        histories: list[tuple[Epoch, ...]] = [(self.first,)]
        for i, layer in enumerate(layers):
            if i:
                everything.restore(start)
                self.pools.advance(self.cutter, layer)
            number = f" ({i + 1} of {len(layers)})" if len(layers) > 1 else ""
            depth, history = self._train(f"finetune from {layer}{number}")
            depths.insert(1, depth)
            histories.insert(1, history)
            if len(layers) == 1 or find_best_depth(depths) == 1:
                best = everything.copy_state()
        everything.restore(best)
        kept = 1 if len(layers) == 1 else find_best_depth(depths)
        return histories[kept], tuple(depths), kept

    def _train(self, label: str) -> tuple[Depth, tuple[Epoch, ...]]:
        begin = time.monotonic()
        torch.manual_seed(self.schedule.seed)
        tunable = self.pools.stage.tunable
        history = train(
            Model(tunable, self.head),
            self.pools.training,
            self.pools.held_out,
            self.schedule,
            first=self.first,
            label=label,
            progress=self.progress,
        )
        best = history[find_best(history)]
        n_trained = sum(p.numel() for p in tunable.trained.values())
        depth = Depth(
            train_from=tunable.train_from,
            n_trained_parameters=n_trained,
            epochs=len(history) - 1,
            best_epoch=best.epoch,
            val_accuracy=best.val_accuracy,
            val_loss=best.val_loss,
            seconds=time.monotonic() - begin,
        )
        return depth, history
