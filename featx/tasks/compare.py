"""Choose a backbone: accuracy on your own labelled images against images per second."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from featx._repr import OneLine
from featx._values import require_known
from featx.errors import ParameterError
from featx.estimators import Preset
from featx.estimators.presets import get_preset
from featx.evaluation import bootstrap_interval
from featx.extraction import Encoder, RunOptions, extract
from featx.extraction.embed import embed_images
from featx.extraction.encoder import DEFAULT_BACKBONE
from featx.report.scatter import on_frontier
from featx.store import open_store
from featx.tasks._rows import find_rows

__all__ = ["Comparison", "ComparisonRow", "Figure", "compare"]

N_TIMED = 128


@dataclass(frozen=True)
class Figure:
    """A number and how far it could be off.

    Parameters
    ----------
    value : float
    low, high : float or None, default None
        95 % interval; None where there is none.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class ComparisonRow:
    """One network, layer and pooling.

    Parameters
    ----------
    backbone, layer, pooling : str
        What was read.
    n_features : int
        Length of a vector.
    accuracy : Figure
        Cross-validated, with a bootstrap interval over images.
    images_per_second : float
        From files to vectors of up to 128 of the images, read as far as this layer.
    fingerprint : str
        Of the recipe, as in the store.
    is_on_frontier : bool
        Nothing else here equals or beats it in both, accuracy and speed, and beats it in one.
    """

    backbone: str
    layer: str
    pooling: str
    n_features: int
    accuracy: Figure
    images_per_second: float
    fingerprint: str
    is_on_frontier: bool = False

    @property
    def name(self) -> str:
        """Backbone, and layer and pooling where they say more."""
        parts = [self.backbone, *(p for p in (self.layer, self.pooling) if p not in _USUAL)]
        return " ".join(parts)


_USUAL = ("penultimate", "none")


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(OneLine):
    """What was compared, most accurate first.

    Parameters
    ----------
    rows : tuple of ComparisonRow
    n_images, n_classes, n_folds : int
        What it was measured on.
    n_failed : int
        Images that could not be read.
    """

    rows: tuple[ComparisonRow, ...]
    n_images: int
    n_classes: int
    n_folds: int
    n_failed: int

    def __str__(self) -> str:
        lines = [
            f"{'':2}{'accuracy':24}{'images/s':>9}{'length':>8}  network",
        ]
        for row in self.rows:
            mark = "*" if row.is_on_frontier else ""
            rate = f"{row.images_per_second:.0f}"
            lines.append(f"{mark:2}{row.accuracy!s:24}{rate:>9}{row.n_features:>8}  {row.name}")
        lines.append("* nothing here is both faster and more accurate")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict."""
        rows = [{**vars(r), "name": r.name, "accuracy": vars(r.accuracy)} for r in self.rows]
        return {**vars(self), "rows": rows}


def compare(
    paths: Sequence[str],
    labels: Any,
    store: str | os.PathLike[str],
    encoders: Sequence[str | Encoder] = (DEFAULT_BACKBONE,),
    run: RunOptions | None = None,
    *,
    preset: str | Preset = "plain",
    n_folds: int = 5,
    random_state: int = 0,
) -> Comparison:
    """Probe every backbone, layer and pooling on the same folds, and time each.

    Parameters
    ----------
    paths : sequence of str
        Images.
    labels : array-like of shape (n_images,)
        One label for each; every class needs two images or more.
    store : path
        HDF5 file that keeps all features: the chosen network's need not be extracted again.
    encoders : sequence of str or Encoder, default ("featx_small",)
        Backbones' names, or encoders. All layers and poolings of one encoder come from one pass.
    run : RunOptions, optional
        Device, engine, batch size, workers and progress.
    preset : str or Preset, default "plain"
        Must keep one vector per image. Where it has several views, they take the place of an
        encoder's own.
    n_folds : int, default 5
        At least 2. Cost grows linearly. Fewer where a class has fewer images.
    random_state : int, default 0
        Deals the folds.

    Returns
    -------
    Comparison

    Raises
    ------
    ParameterError
        If labels do not fit, a class has a single image that can be read, the preset keeps
        several vectors, or there is no encoder or a single fold.
    """
    chosen = get_preset(preset)
    if chosen.views != "average":
        raise ParameterError(
            f"preset: got {chosen.name!r}, which keeps several vectors per image, expected one "
            "that averages them, such as 'plain' or 'best'"
        )
    if isinstance(encoders, str) or not len(encoders):
        raise ParameterError(f"encoders: got {encoders!r}, expected a list of one or more")
    if n_folds < 2:
        raise ParameterError(f"n_folds: got {n_folds!r}, expected 2 or more")
    y = require_known(labels, "labels").astype(str)
    if y.shape != (len(paths),):
        raise ParameterError(
            f"labels: got shape {y.shape} for {len(paths)} images, expected one label per image"
        )
    _require_pairs(y, "")
    run = run or RunOptions()
    rows: list[ComparisonRow] = []
    folds_used, kept = 0, np.arange(len(paths))
    for encoder in (_with_views(encoder, chosen) for encoder in encoders):
        with extract(list(paths), store, encoder, **vars(run)) as extracted:
            fingerprints = extracted.summary.fingerprints
        rates: dict[str, float] = {}
        for fingerprint in fingerprints:
            with open_store(store, table=fingerprint) as table:
                found, kept = find_rows(table, paths)
                X, recipe = table[found], table.recipe
            assert recipe is not None
            _require_pairs(y[kept], " that can be read")
            if recipe.layer not in rates:
                of_layer = Encoder.from_recipe(recipe, weights=encoder.weights)
                rates[recipe.layer] = _rate(
                    of_layer, [paths[i] for i in kept.tolist()], len(paths), run
                )
            accuracy, folds_used = _accuracy(X, y[kept], chosen, n_folds, random_state)
            rows.append(
                ComparisonRow(
                    backbone=recipe.backbone,
                    layer=recipe.layer,
                    pooling=recipe.pooling,
                    n_features=recipe.n_features,
                    accuracy=accuracy,
                    images_per_second=rates[recipe.layer],
                    fingerprint=fingerprint,
                )
            )
    return Comparison(
        rows=_mark_frontier(sorted(rows, key=lambda row: -row.accuracy.value)),
        n_images=len(kept),
        n_classes=len(np.unique(y[kept])),
        n_folds=folds_used,
        n_failed=len(paths) - len(kept),
    )


def _with_views(encoder: str | Encoder, preset: Preset) -> Encoder:
    encoder = Encoder(encoder) if isinstance(encoder, str) else encoder
    return encoder if preset.augment == "none" else replace(encoder, augment=preset.augment)


def _require_pairs(y: NDArray[Any], which: str) -> None:
    names, counts = np.unique(y, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        least = int(counts.argmin()) if len(counts) else None
        smallest = (
            ""
            if least is None
            else f", of which {str(names[least])!r} has "
            f"{counts[least]} {'image' if counts[least] == 1 else 'images'}{which}"
        )
        raise ParameterError(
            f"labels: got {len(names)} classes{smallest}; "
            f"expected two classes or more, with two images or more{which} each"
        )


def _accuracy(
    X: NDArray[Any], y: NDArray[Any], preset: Preset, n_folds: int, random_state: int
) -> tuple[Figure, int]:
    n = min(n_folds, int(np.unique(y, return_counts=True)[1].min()))
    folds = StratifiedKFold(n, shuffle=True, random_state=random_state)
    is_right = (cross_val_predict(preset.classifier(), X, y, cv=folds) == y).astype(float)
    low, high = bootstrap_interval(lambda r: float(np.mean(r)), is_right)
    return Figure(float(is_right.mean()), low, high), n


def _rate(encoder: Encoder, paths: Sequence[str], n_images: int, run: RunOptions) -> float:
    """Time it anew: what the store already held was not timed, and a deep layer costs more."""
    loaded = encoder.load(replace(run, progress=False))
    engine = loaded.choose_engine(n_images).name  # as the extraction did, for all of them
    timed = paths[:N_TIMED]
    embed_images(loaded, timed[: loaded.batch_size], engine=engine)
    start = time.perf_counter()
    embed_images(loaded, timed, engine=engine)
    return len(timed) / (time.perf_counter() - start)


def _mark_frontier(rows: Sequence[ComparisonRow]) -> tuple[ComparisonRow, ...]:
    """Mark those that no other equals or beats in both measures and beats in one."""
    points = np.reshape([(row.accuracy.value, row.images_per_second) for row in rows], (-1, 2))
    marks = on_frontier(points).tolist()
    return tuple(replace(row, is_on_frontier=m) for row, m in zip(rows, marks, strict=True))
