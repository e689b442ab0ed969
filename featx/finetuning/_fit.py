"""One fit: frozen features, probe, views in memory, training."""

from __future__ import annotations

import math
import os
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx._progress import Progress
from featx._repr import OneLine
from featx.backbones import Network, build_network
from featx.errors import ParameterError
from featx.estimators import LinearProbeClassifier
from featx.extraction import Encoder, LoadedEncoder, RunOptions
from featx.finetuning._head import random_head, warm_head
from featx.finetuning._history import Epoch, best_of
from featx.finetuning._network import ALL, Tunable, Vectors, prepare
from featx.finetuning._pool import Labelled, Pool, Stage
from featx.finetuning._train import Schedule, measure, train
from featx.finetuning._views import TrainingViews
from featx.images import ImagePreprocessor
from featx.recipe import Preprocessing

__all__ = ["Fitted", "Predictor", "Settings", "fit_network"]

TUNING_RATE = 1e-4
SCRATCH_RATE = 1e-3


@dataclass(frozen=True, repr=False)
class Settings(OneLine):
    """The parameters of `FineTuneClassifier`, checked; `random_state` is a seed."""

    backbone: Any
    weights: str | os.PathLike[str] | None
    train_from: str | None
    head: str
    augment: str
    n_views: int
    epochs: int
    learning_rate: float | None
    weight_decay: float
    label_smoothing: float
    batch_size: int
    validation_fraction: float
    patience: int
    resize_px: int | None
    crop_px: int | None
    device: str
    workers: int | None
    max_cache_bytes: int
    random_state: int
    progress: bool | None

    @property
    def is_scratch(self) -> bool:
        """Whether random weights are trained."""
        return self.weights is None

    @property
    def has_warm_head(self) -> bool:
        """Whether the head starts from a probe."""
        return self.head == "probe" or (self.head == "auto" and not self.is_scratch)

    @property
    def views_an_image(self) -> int:
        """Number of training views that differ."""
        return {"crop-hflip": self.n_views, "hflip": 2, "none": 1}[self.augment]

    def schedule(self) -> Schedule:
        """Return what the training loop needs."""
        rate = SCRATCH_RATE if self.is_scratch else TUNING_RATE
        return Schedule(
            epochs=self.epochs,
            learning_rate=rate if self.learning_rate is None else self.learning_rate,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            patience=self.patience,
            seed=self.random_state,
            is_head_random=not self.has_warm_head,
            is_norm_trained=self.is_scratch,
        )


@dataclass(frozen=True)
class Predictor:
    """A tuned network with its classifier.

    Parameters
    ----------
    network : Network
        In eval mode.
    vectors : Vectors
        Its way from images to vectors.
    head : nn.Module
        Vectors to scores.
    preprocessing : Preprocessing
    device : str
    weights : str
        Digest of the weights before tuning.
    """

    network: Network
    vectors: Vectors
    head: nn.Module
    preprocessing: Preprocessing
    device: str
    weights: str

    @torch.no_grad()
    def scores(
        self,
        images: Labelled,
        *,
        batch_size: int,
        workers: int | None,
        progress: bool | None,
    ) -> NDArray[np.float64]:
        """Return (n_images, n_classes) scores."""
        whole = Tunable(self.network.name, self.vectors, None, self.vectors, ALL, {}, ())
        stage = Stage(whole, self.preprocessing, torch.device(self.device))
        pool = _plain_pool(stage, images, batch_size, workers)
        return self.head(_vectors(pool, progress)).double().cpu().numpy()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves.

    Parameters
    ----------
    tunable : Tunable
    predictor : Predictor
    history : tuple of Epoch
    best_epoch : int
    strategy : str
    probe : LinearProbeClassifier or None
    """

    tunable: Tunable
    predictor: Predictor
    history: tuple[Epoch, ...]
    best_epoch: int
    strategy: str
    probe: LinearProbeClassifier | None


def fit_network(settings: Settings, images: Labelled, mask: NDArray[np.bool_]) -> Fitted:
    """Fit the probe and train.

    Parameters
    ----------
    settings : Settings
    images : Labelled
    mask : ndarray of shape (n_images,), bool
        Which are held out.
    """
    start = time.monotonic()
    loaded = _load(settings)
    device = torch.device(loaded.backbone.device)
    network = build_network(
        settings.backbone,
        weights=settings.weights,
        any_size=loaded.recipes[0].preprocessing.crop_px != loaded.backbone.trial_px,
    )
    first = ALL if settings.train_from is None and settings.is_scratch else settings.train_from
    tunable = prepare(network, loaded, first, device=device)
    stage = Stage(tunable, loaded.recipes[0].preprocessing, device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.random_state)
        vectors = _frozen_vectors(settings, stage, images)
        n_classes = int(images.codes.max()) + 1
        probe, head = _start(settings, vectors[~mask], images.codes[~mask], n_classes)
        pool, val_pool, strategy = _pools(settings, stage, images, mask)
        head = head.to(device)
        figures = measure(tunable, head, val_pool)
        history = train(
            tunable,
            head,
            pool,
            val_pool,
            settings.schedule(),
            first=Epoch(0, math.nan, *figures, time.monotonic() - start),
            progress=settings.progress,
        )
    predictor = Predictor(
        network,
        tunable.whole,
        head.eval(),
        stage.preprocessing,
        str(device),
        loaded.backbone.weights,
    )
    return Fitted(tunable, predictor, history, best_of(history), strategy, probe)


def _load(settings: Settings) -> LoadedEncoder:
    encoder = Encoder(
        settings.backbone,
        weights=settings.weights,
        resize_px=settings.resize_px,
        crop_px=settings.crop_px,
        precision="float32",
    )
    # Trained with torch: the frozen part is to give it the same bits.
    loaded = encoder.load(RunOptions(settings.device, "torch"))
    if loaded.recipes[0].preprocessing.crop_px is None:
        raise ParameterError(
            f"crop_px: got None for backbone {loaded.backbone.name!r}, whose images have any "
            "size, expected pixels: training takes views of one size"
        )
    return loaded


def _frozen_vectors(settings: Settings, stage: Stage, images: Labelled) -> NDArray[np.float32]:
    """Run the network over all images before training; here every bad one is found."""
    pool = _plain_pool(stage, images, settings.batch_size, settings.workers)
    return _vectors(pool, settings.progress).cpu().numpy()


@torch.no_grad()
def _vectors(pool: Pool, progress: bool | None) -> torch.Tensor:
    found = []
    with Progress(len(pool), "embed", enabled=progress) as bar:
        for x, rows in pool.batches(np.arange(len(pool)), 0):
            found.append(pool.stage.tunable.tail(x))
            bar.advance(len(rows))
    return torch.cat(found)


def _start(
    settings: Settings, vectors: NDArray[np.float32], codes: NDArray[np.intp], n_classes: int
) -> tuple[LinearProbeClassifier | None, nn.Module]:
    if not settings.has_warm_head:
        return None, random_head(vectors.shape[1], n_classes)
    probe = LinearProbeClassifier(random_state=settings.random_state).fit(vectors, codes)
    return probe, warm_head(probe)


def _pools(
    settings: Settings, stage: Stage, images: Labelled, mask: NDArray[np.bool_]
) -> tuple[Pool, Pool | None, str]:
    """Return the images to train on, those held out, and how they are kept."""
    preprocessing, n_views = stage.preprocessing, settings.views_an_image

    def views(numbers: tuple[int, ...]) -> TrainingViews:
        return TrainingViews(preprocessing, settings.augment, numbers, settings.random_state)

    out = images.subset(np.flatnonzero(mask))
    size, workers = settings.batch_size, settings.workers
    pool = Pool(images.subset(np.flatnonzero(~mask)), views, n_views, stage, size, workers)
    val_pool = _plain_pool(stage, out, size, workers) if len(out) else None
    strategy = _keep(settings, stage, pool, val_pool)
    return pool, val_pool, strategy


def _keep(settings: Settings, stage: Stage, pool: Pool, val_pool: Pool | None) -> str:
    sample = stage.sample()
    n_kept = len(pool) * pool.n_views + (len(val_pool) if val_pool else 0)
    n_bytes = n_kept * sample.numel() * sample.element_size()
    if stage.tunable.uncut is not None:
        warnings.warn(
            f"backbone {stage.tunable.name!r}: cannot be cut in two at "
            f"{stage.tunable.train_from!r} ({stage.tunable.uncut}), so that every step runs all "
            "of it; the result is the same, later",
            UserWarning,
            stacklevel=5,
        )
    if n_bytes > settings.max_cache_bytes:
        warnings.warn(
            f"max_cache_bytes: {n_kept} views need {n_bytes} bytes, got {settings.max_cache_bytes}"
            ", so that images are read and the frozen part is computed anew in every epoch; "
            "raise it, or take fewer n_views or a later train_from",
            UserWarning,
            stacklevel=5,
        )
        return "recomputed"
    with Progress(n_kept, "frozen part", unit="view", enabled=settings.progress) as bar:
        pool.keep(bar)
        if val_pool is not None:
            val_pool.keep(bar)
    return "pixels" if stage.tunable.frozen is None else "activations"


def _plain_pool(stage: Stage, images: Labelled, batch_size: int, workers: int | None) -> Pool:
    """Return images with the extraction's view alone."""
    plain = ImagePreprocessor(stage.preprocessing)
    return Pool(images, lambda _: plain, 1, stage, batch_size, workers)
