"""Which network, which layer, which pooling: accuracy on your own images against speed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx import evaluation
from featx._repr import OneLine, as_table, show_count
from featx._values import require_known
from featx.errors import ParameterError
from featx.estimators import Preset
from featx.estimators.presets import get_preset
from featx.extraction import Encoder, RunOptions, extract
from featx.extraction.embed import embed_images
from featx.extraction.encoder import DEFAULT_BACKBONE
from featx.recipe import Recipe
from featx.store import open_store
from featx.tasks._rows import find_rows
from featx.tasks._verdict import answer, find_unbeaten, is_more_accurate
from featx.tasks.layers import spread_layers

__all__ = ["Comparison", "ComparisonRow", "Figure", "compare"]

STAR = "no other network here beats it in accuracy or speed without losing in the other"
N_TIMED, N_ROUNDS = 64, 3  # images, and how often they are read


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
        What was read. Of a network in a folder, and of one of several with one name, the backbone
        has the last part of where its weights are.
    n_features : int
        Length of a vector.
    accuracy : Figure
        Cross-validated, with Wilson's interval.
    images_per_second : float
        From files to vectors of up to 64 of the images, read as far as this layer; median of
        three rounds.
    speed_range : tuple of float
        Slowest and fastest round.
    depth : float
        Share of the network's layers that are computed up to this one, in (0, 1].
    fingerprint : str
        Of the recipe, as in the store.
    is_as_accurate : bool
        Whether the images do not tell it from the most accurate one: McNemar's exact test on the
        images that only one of them got right, at 5 %.
    is_on_frontier : bool
        Whether nothing else here beats it beyond noise in accuracy or in speed without being worse
        beyond noise in the other. Speeds less than a tenth apart, or of overlapping ranges, count
        as equal.
    """

    backbone: str
    layer: str
    pooling: str
    n_features: int
    accuracy: Figure
    images_per_second: float
    speed_range: tuple[float, float]
    depth: float
    fingerprint: str
    is_as_accurate: bool = False
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
    answer : str
        Which is the most accurate, which are as good within noise, and which of these costs least.
    """

    rows: tuple[ComparisonRow, ...]
    n_images: int
    n_classes: int
    n_folds: int
    n_failed: int
    answer: str

    def __str__(self) -> str:
        lines = [
            f"{'':2}{'accuracy':24}{'images/s':>9}{'length':>8}  network",
        ]
        for row in self.rows:
            mark = "*" if row.is_on_frontier else ""
            rate = f"{row.images_per_second:.0f}"
            lines.append(f"{mark:2}{row.accuracy!s:24}{rate:>9}{row.n_features:>8}  {row.name}")
        lines.append(f"* {STAR}")
        lines.append(self.answer)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show what `str` shows as a table in a notebook."""
        rows = [
            (
                row.name,
                row.accuracy,
                f"{row.images_per_second:.0f}",
                row.n_features,
                "*" if row.is_on_frontier else "",
            )
            for row in self.rows
        ]
        head = ("network", "accuracy", "images/s", "length", "")
        caption = f"Comparison on {show_count(self.n_images, 'image')}"
        return as_table(caption, rows, head=head, note=f"* {STAR}. {self.answer}")

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
    over_layers: int | None = None,
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
    encoders : sequence of str or Encoder, default ("featx_base",)
        Backbones' names, or encoders, also of a network of your own. All layers and poolings of
        one encoder come from one pass.
    run : RunOptions, optional
        Device, engine, batch size, workers and progress.
    preset : str or Preset, default "plain"
        Must keep one vector per image. Where it has several views, they take the place of an
        encoder's own.
    over_layers : int, optional
        Take so many layers of each encoder, evenly over its depth, in place of its own: ends of
        blocks, and the penultimate one. At least 2; time and space grow with it.
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
    rights: list[NDArray[np.bool_]] = []
    folds_used, kept = 0, np.arange(len(paths))
    names = _name_networks(encoders)
    for name, encoder in zip(names, encoders, strict=True):
        encoder = _prepare(encoder, chosen, over_layers, run)
        with extract(list(paths), store, encoder, **vars(run)) as extracted:
            fingerprints = extracted.summary.fingerprints
        rates: dict[str, tuple[float, ...]] = {}
        for fingerprint in fingerprints:
            with open_store(store, table=fingerprint) as table:
                found, kept = find_rows(table, paths)
                X, recipe = table[found], table.recipe
            assert recipe is not None
            _require_pairs(y[kept], " that can be read")
            if recipe.layer not in rates:
                rates[recipe.layer] = _rate(
                    encoder, recipe, [paths[i] for i in kept.tolist()], len(paths), run
                )
            right, folds_used = _find_right(X, y[kept], chosen, n_folds, random_state)
            rights.append(right)
            slowest, median, fastest, depth = rates[recipe.layer]
            rows.append(
                ComparisonRow(
                    backbone=name or recipe.backbone,
                    layer=recipe.layer,
                    pooling=recipe.pooling,
                    n_features=recipe.n_features,
                    accuracy=Figure(float(right.mean()), *evaluation.wilson_interval(right)),
                    images_per_second=median,
                    speed_range=(slowest, fastest),
                    depth=depth,
                    fingerprint=fingerprint,
                )
            )
    judged = _judge(rows, rights)
    return Comparison(
        rows=judged,
        n_images=len(kept),
        n_classes=len(np.unique(y[kept])),
        n_folds=folds_used,
        n_failed=len(paths) - len(kept),
        answer=answer(judged, len(kept)),
    )


def _name_networks(encoders: Sequence[str | Encoder]) -> list[str]:
    """Return what tells the networks apart: backbones, and where needed where their weights are.

    "" stands for a module of the user's own, whose recipe has a name for it.
    """
    made = [Encoder(encoder) if isinstance(encoder, str) else encoder for encoder in encoders]
    bases = [e.backbone if isinstance(e.backbone, str) else "" for e in made]
    names = []
    for base, encoder in zip(bases, made, strict=True):
        place = Path(encoder.weights or "random")
        if base.endswith((":", "/")):  # its folder is its name
            same = [Path(e.weights or "") for b, e in zip(bases, made, strict=True) if b == base]
            base += _tell_apart(place, same)
        elif base and len({e.weights for b, e in zip(bases, made, strict=True) if b == base}) > 1:
            base += f"={place.name}"
        names.append(base)
    return names


def _tell_apart(place: Path, others: Sequence[Path]) -> str:
    """Return as many last parts of a path as no other of the paths ends in.

    Examples
    --------
    >>> _tell_apart(Path("/a/x/net"), [Path("/a/x/net"), Path("/b/net")])
    'x/net'
    """
    n = 1
    while n < len(place.parts) and any(
        other != place and other.parts[-n:] == place.parts[-n:] for other in others
    ):
        n += 1
    return "/".join(part.strip("/") for part in place.parts[-n:])


def _prepare(
    encoder: str | Encoder, preset: Preset, over_layers: int | None, run: RunOptions
) -> Encoder:
    """Return the encoder with the preset's views, and with the layers that are to be read."""
    encoder = Encoder(encoder) if isinstance(encoder, str) else encoder
    if preset.augment != "none":
        encoder = replace(encoder, augment=preset.augment)
    if over_layers is None:
        return encoder
    shapes = replace(encoder, layers=(), poolings=()).load(run).backbone.layers
    return replace(encoder, layers=spread_layers(shapes, over_layers))


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


def _find_right(
    X: NDArray[Any], y: NDArray[Any], preset: Preset, n_folds: int, random_state: int
) -> tuple[NDArray[np.bool_], int]:
    """Return which images are told right when their fold is left out, and how many folds."""
    n = min(n_folds, int(np.unique(y, return_counts=True)[1].min()))
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(n, shuffle=True, random_state=random_state)
    return cross_val_predict(preset.classifier(), X, y, cv=folds) == y, n


def _rate(
    encoder: Encoder, recipe: Recipe, paths: Sequence[str], n_images: int, run: RunOptions
) -> tuple[float, ...]:
    """Return images per second of the slowest, median and fastest round, and the layer's depth.

    Timed anew: what the store already held was not timed, and a deep layer costs more.
    """
    of_layer = replace(
        encoder, layers=recipe.layer, poolings=recipe.pooling, precision=recipe.precision
    )
    loaded = of_layer.load(replace(run, progress=False))
    engine = loaded.choose_engine(n_images).name  # as the extraction did, for all of them
    timed = paths[:N_TIMED]
    embed_images(loaded, timed[: loaded.batch_size], engine=engine)
    rates = []
    for _ in range(N_ROUNDS):
        start = time.perf_counter()
        embed_images(loaded, timed, engine=engine)
        rates.append(len(timed) / (time.perf_counter() - start))
    order, deepest = list(loaded.backbone.layers), loaded.backbone.layer(recipe.layer).modules[-1]
    return (*sorted(rates), (order.index(deepest) + 1) / len(order))


def _judge(
    rows: Sequence[ComparisonRow], rights: Sequence[NDArray[np.bool_]]
) -> tuple[ComparisonRow, ...]:
    """Sort by accuracy, and mark what noise does not tell from the best, and what is unbeaten."""
    if not rows:
        return ()
    order = sorted(range(len(rows)), key=lambda i: -rows[i].accuracy.value)
    rows, rights = [rows[i] for i in order], [rights[i] for i in order]
    marks = zip(rows, rights, find_unbeaten(rows, rights), strict=True)
    return tuple(
        replace(
            row, is_as_accurate=not is_more_accurate(rights[0], right), is_on_frontier=is_unbeaten
        )
        for row, right, is_unbeaten in marks
    )
