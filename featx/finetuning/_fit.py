"""One fit: frozen features, probe, views in memory, training; and the tuned weights as a file."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from featx._version import __version__
from featx.backbones import Network, build_network
from featx.errors import ParameterError
from featx.estimators import LinearProbeClassifier
from featx.extraction import Encoder, LoadedEncoder, RunOptions
from featx.files.outputs import files_of, write_output
from featx.finetuning._history import Depth, Epoch
from featx.finetuning._network import ALL, Cutter, Tunable, Vectors
from featx.finetuning._pool import Labelled, Stage, embed, hold_out, make_plain_pool
from featx.finetuning._sweep import Pools, Sweep
from featx.finetuning._train import Model, Schedule, UnitLinear, make_warm_head, measure
from featx.recipe import Preprocessing

if TYPE_CHECKING:
    from featx.finetuning._classifier import FineTuneClassifier

__all__ = ["Fitted", "Predictor", "fit_network", "write_weights"]

SUFFIX = ".safetensors"
TUNING_RATE = 1e-4
SCRATCH_RATE = 1e-3


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
        pool = make_plain_pool(stage, images, batch_size, workers)
        return self.head(embed(pool, progress)).double().cpu().numpy()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves.

    Parameters
    ----------
    network : nn.Module
    predictor : Predictor
    history : tuple of Epoch
        Of the depth that is kept.
    depths : tuple of Depth
        What was tried: the probe, then the depths, the shallowest first.
    kept : Depth
        The one of them that is kept.
    pools : Pools
        What was kept where, without the images.
    probe : LinearProbeClassifier or None
    validation_rows : ndarray, intp
        Positions of the held-out images.
    """

    network: nn.Module
    predictor: Predictor
    history: tuple[Epoch, ...]
    depths: tuple[Depth, ...]
    kept: Depth
    pools: Pools
    probe: LinearProbeClassifier | None
    validation_rows: NDArray[np.intp]


def fit_network(params: FineTuneClassifier, images: Labelled, seed: int) -> Fitted:
    """Fit the probe and train, from one layer or, for "auto", from several in turn.

    Parameters
    ----------
    params : FineTuneClassifier
        Its parameters, checked.
    images : Labelled
    seed : int
        What `random_state` gave.
    """
    start = time.monotonic()
    mask = hold_out(images.codes, params.validation_fraction, seed)
    loaded = _load(params)
    device = torch.device(loaded.backbone.device)
    preprocessing = loaded.recipes[0].preprocessing
    network = build_network(
        params.backbone,
        weights=params.weights,
        sizes=[px for px in (preprocessing.crop_px,) if px is not None],
    )
    is_scratch = params.weights is None
    first = ALL if params.train_from is None and is_scratch else params.train_from
    cutter = Cutter(network, loaded, device=device)
    layers = cutter.choose(first)
    stage = Stage(cutter.prepare(layers[0]), preprocessing, device)
    schedule = _make_schedule(params, seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        pools = Pools.read(params, stage, images, mask, seed)
        vectors = embed(pools.plain, params.progress).cpu().numpy()
        torch.manual_seed(seed)
        n_classes = int(images.codes.max()) + 1
        if schedule.is_head_random:
            probe, head = None, UnitLinear(vectors.shape[1], n_classes)
        else:
            probe = LinearProbeClassifier(random_state=seed)
            head = make_warm_head(probe.fit(vectors[~mask], images.codes[~mask]))
        head = head.to(device)
        figures = measure(Model(stage.tunable, head), pools.held_out)
        epoch0 = Epoch(0, math.nan, *figures, time.monotonic() - start)
        sweep = Sweep(cutter, pools, head, schedule, epoch0, params.progress)
        history, depths, kept = sweep.run(layers)
    digest = loaded.backbone.weights
    return Fitted(
        network=cutter.module,
        predictor=Predictor(
            network, cutter.whole, head.eval(), preprocessing, str(device), digest
        ),
        history=history,
        depths=depths,
        kept=depths[kept],
        pools=pools,
        probe=probe,
        validation_rows=np.flatnonzero(mask),
    )


def _make_schedule(params: FineTuneClassifier, seed: int) -> Schedule:
    is_scratch = params.weights is None
    rate = SCRATCH_RATE if is_scratch else TUNING_RATE
    return Schedule(
        epochs=params.epochs,
        learning_rate=rate if params.learning_rate is None else params.learning_rate,
        weight_decay=params.weight_decay,
        label_smoothing=params.label_smoothing,
        patience=params.patience,
        seed=seed,
        is_head_random=params.head == "random" or (params.head == "auto" and is_scratch),
        is_norm_trained=is_scratch,
    )


def _load(params: FineTuneClassifier) -> LoadedEncoder:
    encoder = Encoder(
        params.backbone,
        weights=params.weights,
        resize_px=params.resize_px,
        crop_px=params.crop_px,
        precision="float32",
    )
    # Trained with torch: the frozen part is to give it the same bits.
    loaded = encoder.load(RunOptions(params.device, "torch"))
    if loaded.recipes[0].preprocessing.crop_px is None:
        raise ParameterError(
            f"crop_px: got None for backbone {loaded.backbone.name!r}, whose images have any "
            "size, expected pixels: training takes views of one size"
        )
    return loaded


def write_weights(
    path: str | os.PathLike[str],
    module: nn.Module,
    *,
    head: str | None,
    weights: Any = None,
    metadata: dict[str, str],
) -> None:
    """Write the weights without the classifier, beside the target, and rename.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors``; replaced where it exists.
    module : nn.Module
    head : str or None
        Its classifier, which knows other classes and other features; `featx.load_backbone` does
        without it.
    weights : str, path or None
        What training started from; such a file, or one in such a folder, is not replaced.
    metadata : dict of str to str
        Goes into the file's header.

    Raises
    ------
    ParameterError
        If the name does not end in ``.safetensors``.
    StoreWriteError
        If the file cannot be written, or holds anything but older tuned weights.
    """
    suffix = Path(path).suffix
    if suffix != SUFFIX:
        raise ParameterError(
            f"weights {os.fspath(path)!r}: got the ending {suffix!r}, expected {SUFFIX!r}"
        )
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
        if head is None or not name.startswith(f"{head}.")
    }
    # the creator is how an older file of ours is known from weights of other origin
    data = save(tensors, metadata={"creator": f"featx {__version__}", **metadata})
    inputs = files_of(weights) if isinstance(weights, (str, os.PathLike)) else []
    with write_output(path, "weights", inputs=inputs) as beside:
        beside.write_bytes(data)
