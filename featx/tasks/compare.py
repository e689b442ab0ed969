"""Choose a backbone: accuracy on your own labelled images against images a second."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from featx._repr import OneLine
from featx._values import require_known
from featx.errors import ParameterError
from featx.evaluation import bootstrap_interval
from featx.extraction import Encoder, RunOptions, embed_images, extract
from featx.images import absolute_path
from featx.store import open_store
from featx.tasks.figure import Figure
from featx.tasks.presets import Preset, get_preset

__all__ = ["Comparison", "ComparisonRow", "compare"]

N_TIMED = 128


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
    *,
    backbones: Sequence[str] = ("featx_small",),
    weights: Mapping[str, str | os.PathLike[str] | None] | None = None,
    layers: Sequence[str] | None = None,
    poolings: Sequence[str] | None = None,
    preset: str | Preset = "plain",
    n_folds: int = 5,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    random_state: int = 0,
    progress: bool | None = None,
) -> Comparison:
    """Probe every backbone, layer and pooling on the same folds, and time each.

    Parameters
    ----------
    paths : sequence of str
        Images.
    labels : array-like of shape (n_images,)
        One label each; every class needs two images or more.
    store : path
        HDF5 file that keeps all features: the chosen network's need not be extracted again.
    backbones : sequence of str
        Names from `featx.list_backbones`.
    weights : mapping of str to str or path, optional
        Weights of some of them, as for `featx.extract`.
    layers, poolings : sequence of str, optional
        As for `featx.extract`; all pairs of one backbone come from one pass.
    preset : str or Preset, default "plain"
        Must keep one vector an image.
    n_folds : int, default 5
        At least 2. Cost grows linearly. Fewer where a class has fewer images.
    device, batch_size, workers, progress
        As for `featx.extract`.
    random_state : int, default 0
        Deals the folds.

    Returns
    -------
    Comparison

    Raises
    ------
    ParameterError
        If labels do not fit, a class has a single image that can be read, the preset keeps
        several vectors, or there is no backbone or a single fold.
    """
    chosen = get_preset(preset)
    if chosen.views != "average":
        raise ParameterError(
            f"preset: got {chosen.name!r}, which keeps several vectors an image, expected one "
            "that averages them, such as 'plain' or 'best'"
        )
    if isinstance(backbones, str) or not len(backbones):
        raise ParameterError(f"backbones: got {backbones!r}, expected a list of one name or more")
    if n_folds < 2:
        raise ParameterError(f"n_folds: got {n_folds!r}, expected 2 or more")
    y = require_known(labels, "labels").astype(str)
    if y.shape != (len(paths),):
        raise ParameterError(
            f"labels: got shape {y.shape} for {len(paths)} images, expected one label an image"
        )
    _require_pairs(y, "")
    found: list[ComparisonRow] = []
    folds_used, kept = 0, np.arange(len(paths))
    for backbone in backbones:
        file = (weights or {}).get(backbone, "default")
        with extract(
            list(paths),
            store,
            Encoder(
                backbone, weights=file, layers=layers, poolings=poolings, augment=chosen.augment
            ),
            device=device,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
        ) as first:
            summary = first.summary
        rates: dict[str, float] = {}
        for fingerprint in summary.fingerprints:
            with open_store(store, table=fingerprint) as table:
                X, kept = _rows_of(table, paths)
                recipe = table.recipe
            assert recipe is not None
            _require_pairs(y[kept], " that can be read")
            if recipe.layer not in rates:
                rates[recipe.layer] = _rate(recipe, file, paths, kept, device, batch_size, workers)
            accuracy, folds_used = _accuracy(X, y[kept], chosen, n_folds, random_state)
            found.append(
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
    ranked = sorted(found, key=lambda row: -row.accuracy.value)
    return Comparison(
        rows=tuple(_marked(ranked)),
        n_images=len(kept),
        n_classes=len(np.unique(y[kept])),
        n_folds=folds_used,
        n_failed=len(paths) - len(kept),
    )


def _require_pairs(y: NDArray[Any], which: str) -> None:
    names, counts = np.unique(y, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        least = int(counts.argmin()) if len(counts) else None
        smallest = (
            ""
            if least is None
            else f", of which {str(names[least])!r} has {counts[least]} image(s){which}"
        )
        raise ParameterError(
            f"labels: got {len(names)} classes{smallest}; "
            f"expected two classes or more, with two images or more{which} each"
        )


def _rows_of(table: Any, paths: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    row_of = {path: i for i, path in enumerate(table.paths.tolist())}
    bad = {failure.path for failure in table.failures}
    absolute = [absolute_path(path) for path in paths]
    kept = [i for i, path in enumerate(absolute) if path in row_of and path not in bad]
    return table[[row_of[absolute[i]] for i in kept]], np.array(kept, dtype=np.intp)


def _accuracy(
    X: NDArray[Any], y: NDArray[Any], preset: Preset, n_folds: int, random_state: int
) -> tuple[Figure, int]:
    n = min(n_folds, int(np.unique(y, return_counts=True)[1].min()))
    is_right = np.zeros(len(y), dtype=float)
    for train, test in StratifiedKFold(n, shuffle=True, random_state=random_state).split(X, y):
        predicted = preset.classifier().fit(X[train], y[train]).predict(X[test])
        is_right[test] = predicted == y[test]
    low, high = bootstrap_interval(lambda r: float(np.mean(r)), is_right)
    return Figure(float(is_right.mean()), low, high), n


def _rate(
    recipe: Any,
    weights: Any,
    paths: Sequence[str],
    kept: NDArray[np.intp],
    device: str,
    batch_size: int | None,
    workers: int | None,
) -> float:
    """Time it anew: what the store already held was not timed, and a deep layer costs more."""
    run = RunOptions(device, batch_size=batch_size, workers=workers, progress=False)
    loaded = Encoder.from_recipe(recipe, weights=weights).load(run)
    timed = [paths[i] for i in kept[:N_TIMED]]
    engine = loaded.choose_engine(len(paths)).name  # as the extraction did, for all of them
    embed_images(loaded, timed[: loaded.batch_size], engine=engine)
    start = time.perf_counter()
    embed_images(loaded, timed, engine=engine)
    return len(timed) / (time.perf_counter() - start)


def _marked(rows: list[ComparisonRow]) -> list[ComparisonRow]:
    """Mark those that no other equals or beats in both measures and beats in one."""
    points = [(row.accuracy.value, row.images_per_second) for row in rows]
    return [
        replace(row, is_on_frontier=not any(a >= p and b >= q and (a, b) != (p, q)
                                            for a, b in points))
        for row, (p, q) in zip(rows, points, strict=True)
    ]  # fmt: skip
