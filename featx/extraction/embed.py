"""Vectors of a few images, kept nowhere: for a query, or for a prediction."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx._progress import Progress, hide_progress
from featx._repr import OneLine
from featx.errors import BackboneError, ImageDecodeError
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.options import RunOptions
from featx.images.inputs import decode_source
from featx.images.loader import ImageBatch
from featx.recipe import Recipe

__all__ = ["Embedded", "drop_infinite", "embed_images", "embed_turned", "load_by_recipe"]

BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True, repr=False)
class Embedded(OneLine):
    """Vectors of those images that could be read.

    Parameters
    ----------
    features : ndarray of shape (n_good, n_features), float32
        Those of several layers and poolings side by side.
    good : ndarray of shape (n_good,), intp
        Positions of these images among the sources, ascending.
    failures : tuple of (int, str)
        Position and reason of each image that could not be read, or whose vector is not finite.
    """

    features: NDArray[np.float32]
    good: NDArray[np.intp]
    failures: tuple[tuple[int, str], ...]


def load_by_recipe(
    recipe: Recipe | None,
    made_with: Mapping[str, Any],
    run: RunOptions | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    thing: str,
) -> LoadedEncoder:
    """Load the network that a store, a model or an index was made with, for new images.

    Parameters
    ----------
    recipe : Recipe or None
        None where the features were made outside featx.
    made_with : dict
        Notes of the extraction: where the weights were then.
    run : RunOptions, optional
        How it is to be run.
    weights : str or path, optional
        Where the weights are now.
    thing : str
        What has the recipe, for the message, for example ``"index 'birds.index'"``.

    Raises
    ------
    BackboneError
        If the recipe is not known, or its network is one of the user's own.
    FingerprintMismatchError
        If the weights found are not those of the recipe.
    """
    if recipe is None:
        raise BackboneError(
            f"{thing}: its features were made outside featx, so that no network is known for new "
            "images; expected one made from a store of featx extract"
        )
    from featx.extraction.encoder import Encoder

    weights = weights or made_with.get("weights", "default")
    return Encoder.from_recipe(recipe, weights=weights).load(run)


def embed_turned(loaded: LoadedEncoder, sources: Sequence[Any], rotations: int) -> Embedded:
    """Run a loaded encoder over images, each turned several times.

    Parameters
    ----------
    loaded, sources
        As for `embed_images`.
    rotations : int
        Turns of each image, evenly over the circle, the first as it is.

    Returns
    -------
    Embedded
        With `rotations` rows in turn for each good image, (n_good * rotations, n_features).
    """
    if rotations == 1:
        return embed_images(loaded, sources)
    reader = loaded.preprocessor()
    features = [embed_images(loaded, []).features]
    good: list[int] = []
    failures: list[tuple[int, str]] = []
    with Progress(len(sources), "embed", enabled=loaded.run.progress) as bar, hide_progress():
        for position, source in enumerate(sources):
            try:
                image = decode_source(source, reader.min_px, reader.max_pixels)
            except ImageDecodeError as err:
                failures.append((position, str(err)))
                continue
            turned = [image.rotate(360 * i / rotations, BICUBIC) for i in range(rotations)]
            found = embed_images(loaded, turned)
            if found.failures:
                failures.append((position, found.failures[0][1]))
                continue
            good.append(position)
            features.append(found.features)
            bar.advance()
    return Embedded(np.concatenate(features), np.array(good, np.intp), tuple(failures))


def embed_images(
    loaded: LoadedEncoder, sources: Sequence[Any], *, engine: str | None = None
) -> Embedded:
    """Run a loaded encoder over images and return the vectors.

    Parameters
    ----------
    loaded : LoadedEncoder
        From `Encoder.load`.
    sources : sequence
        As `featx.images.inputs.as_sources` gives them.
    engine : {"torch", "compile", "openvino"}, optional
        Default: what the loaded encoder chooses for so many images.

    Returns
    -------
    Embedded
        Holds n_images * n_features float32.
    """
    n_features = sum(recipe.n_features for recipe in loaded.recipes)
    features = [np.empty((0, n_features), np.float32)]
    good: list[NDArray[np.intp]] = []
    failures: list[tuple[int, str]] = []
    with Progress(len(sources), "embed", enabled=loaded.run.progress) as bar:
        for batch, vectors in loaded.embed(sources, engine=engine):
            finite, kept = drop_infinite(batch, vectors, loaded.recipes)
            features.append(kept[0] if len(kept) == 1 else np.concatenate(kept, axis=1))
            good.append(finite.good)
            failures.extend(finite.failures)
            bar.advance(len(batch.rows))
    rows = np.concatenate(good) if good else np.empty(0, np.intp)
    return Embedded(np.concatenate(features), rows, tuple(failures))


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
