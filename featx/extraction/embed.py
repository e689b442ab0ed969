"""Vectors of a few images, kept nowhere: for a query, or for a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx._repr import OneLine
from featx.extraction._finite import drop_infinite
from featx.extraction.loaded import LoadedEncoder

__all__ = ["Embedded", "embed_images"]


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


def embed_images(
    loaded: LoadedEncoder, sources: Sequence[Any], *, engine: str | None = None
) -> Embedded:
    """Run a loaded encoder over images and return the vectors.

    Parameters
    ----------
    loaded : LoadedEncoder
        From `Encoder.load`.
    sources : sequence
        As `featx.images.as_sources` gives them.
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
