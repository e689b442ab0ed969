"""Images of which a network gives no number: failures like any other bad image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.images import ImageBatch
from featx.recipe import Recipe

__all__ = ["drop_infinite"]


def drop_infinite(
    batch: ImageBatch,
    features: Sequence[NDArray[Any]],
    recipes: Sequence[Recipe],
    dtypes: Sequence[Any] = (),
) -> tuple[ImageBatch, list[NDArray[Any]]]:
    """Make images whose vectors are not finite failures of a batch.

    Parameters
    ----------
    batch : ImageBatch
        What was read.
    features : sequence of ndarray of shape (n_good, n_features)
        The vectors of its good images, one array for each recipe. An image is bad in all tables
        where it is bad in one.
    recipes : sequence of Recipe
        What made them, for the reason.
    dtypes : sequence of dtype, default ()
        What each array is stored in, which may hold smaller numbers; default its own.

    Returns
    -------
    batch : ImageBatch
        The very same object where nothing had to change.
    features : list of ndarray
        Of the images that are still good.
    """
    reasons: dict[int, str] = {}
    for i, (vectors, recipe) in enumerate(zip(features, recipes, strict=True)):
        with np.errstate(over="ignore"):
            stored = vectors.astype(dtypes[i], copy=False) if dtypes else vectors
        for k in np.flatnonzero(~np.isfinite(stored).all(axis=1)).tolist():
            reasons.setdefault(k, _reason(vectors[k], stored[k], recipe))
    if not reasons:
        return batch, list(features)
    position = {int(batch.good[k]): reason for k, reason in reasons.items()}
    kept = [k for k in range(len(batch.good)) if k not in reasons]
    read = [
        dataclasses.replace(image, error=position.get(int(row), image.error))
        for row, image in zip(batch.rows, batch.read, strict=True)
    ]
    views = tuple(view[kept] for view in batch.views)
    changed = dataclasses.replace(batch, read=tuple(read), good=batch.good[kept], views=views)
    return changed, [vectors[kept] for vectors in features]


def _reason(vector: NDArray[Any], stored: NDArray[Any], recipe: Recipe) -> str:
    bad = np.flatnonzero(~np.isfinite(stored))
    what = "infinite" if not np.isnan(vector[bad]).any() else "NaN"
    hint = "; try precision float32" if recipe.precision in ("float16", "bfloat16") else ""
    return (
        f"the network's features are not finite: {len(bad)} of {len(vector)} numbers of layer "
        f"{recipe.layer!r} are {what} in {recipe.precision}{hint}"
    )
