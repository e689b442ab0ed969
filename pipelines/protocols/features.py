"""The features of a data set under a preset: extracted once, kept in a store, read in order."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._repr import OneLine
from featx.errors import ManifestError
from featx.estimators import Preset
from featx.estimators.multi_view import MirrorMean
from featx.extraction import Encoder, RunOptions, extract
from featx.images import ImagePreprocessor
from featx.images.paths import absolute_path
from featx.recipe import Recipe
from featx.store import FeatureStore, open_store

__all__ = ["Features", "prepare_features"]


@dataclass(frozen=True, eq=False, repr=False)
class Features(OneLine):
    """Vectors of those images of a list that could be read, in the list's order.

    Parameters
    ----------
    X : ndarray of shape (n_good, n_features), float32
    good : ndarray of shape (n_good,), intp
        Positions in the list.
    digests : ndarray of shape (n_good,), str
        Of the images' bytes.
    failures : tuple of (str, str)
        Path and reason of each image that could not be read.
    recipes : tuple of Recipe
        One for each layer.
    n_views : int
        Views side by side in a row.
    images_per_second : float or None
        Of the extraction; None where nothing had to be extracted.
    """

    X: NDArray[np.float32]
    good: NDArray[np.intp]
    digests: NDArray[np.str_]
    failures: tuple[tuple[str, str], ...]
    recipes: tuple[Recipe, ...]
    n_views: int
    images_per_second: float | None

    def rows(self, positions: Any) -> NDArray[np.intp]:
        """Return the rows of those positions of the list that could be read."""
        wanted = np.asarray(positions, dtype=np.intp)
        row_of = {int(p): i for i, p in enumerate(self.good)}
        return np.array([row_of[int(p)] for p in wanted if int(p) in row_of], dtype=np.intp)


def prepare_features(
    paths: Sequence[str],
    store: str | os.PathLike[str],
    preset: Preset,
    encoder: Encoder,
    run: RunOptions | None = None,
) -> Features:
    """Extract what the store lacks and read the vectors.

    Parameters
    ----------
    paths : sequence of str
        Images, each once.
    store : path
        HDF5 file; it may serve several presets and networks, each has a table of its own.
    preset : Preset
        Which views, and what becomes of them.
    encoder : Encoder
        Its augmentation is the preset's. Vectors of several layers are scaled to unit length each
        and put side by side.
    run : RunOptions, optional
        How it is run.

    Returns
    -------
    Features
        Holds n_images * n_features float32.

    Raises
    ------
    ManifestError
        If none of the images can be read.
    """
    encoder = dataclasses.replace(encoder, **preset.encoder_options)
    with extract(list(paths), store, encoder, **vars(run or RunOptions())) as first:
        summary = first.summary
        row_of = _row_of(first)
        failures = {f.path: f.reason for f in first.failures}
        digests = first.digests
    absolute = [absolute_path(path) for path in paths]
    good = [i for i, path in enumerate(absolute) if path in row_of and path not in failures]
    if not good:
        raise ManifestError(
            f"store {os.fspath(store)!r}: none of {len(paths)} images could be read (the first: "
            f"{next(iter(failures.values()), 'no such file')}), expected at least one"
        )
    rows = [row_of[absolute[i]] for i in good]
    tables, recipes = [], []
    for fingerprint in summary.fingerprints:
        with open_store(store, table=fingerprint) as table:
            assert table.recipe is not None
            recipes.append(table.recipe)
            own = _row_of(table)  # a table that was begun earlier has another order
            X = table[[own[absolute[i]] for i in good]]
            # mirror images are averaged before layers are put side by side
            tables.append(MirrorMean().fit_transform(X) if preset.views == "places" else X)
    n_views = _n_views(recipes[0]) if preset.views == "train" else 1
    return Features(
        X=_beside(tables, n_views),
        good=np.array(good, dtype=np.intp),
        digests=digests[rows],
        failures=tuple((p, failures[p]) for p in absolute if p in failures),
        recipes=tuple(recipes),
        n_views=n_views,
        images_per_second=summary.images_per_second if summary.extracted else None,
    )


def _row_of(table: FeatureStore) -> dict[str, int]:
    return {path: i for i, path in enumerate(table.paths.tolist())}


def _n_views(recipe: Recipe) -> int:
    return ImagePreprocessor(recipe.preprocessing, recipe.augment).n_views


def _beside(tables: list[NDArray[np.float32]], n_views: int) -> NDArray[np.float32]:
    """Put layers side by side, view by view, each at unit length."""
    if len(tables) == 1:
        return tables[0]
    n = len(tables[0])
    parts = [table.reshape(n * n_views, -1) for table in tables]
    units = [
        part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts
    ]
    joined: NDArray[np.float32] = np.concatenate(units, axis=1).reshape(n, -1)
    return joined
