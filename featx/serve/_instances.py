"""What stands in the place of a network where an index compares local features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featx.retrieval import InstanceIndex, RetrievalIndex
from featx.retrieval.descriptors import LocalDescriber, LocalFeatures

if TYPE_CHECKING:
    from featx.extraction import LoadedEncoder

__all__ = ["LocalNetwork", "fits"]


class LocalNetwork:
    """Asks an index of instances as `LoadedEncoder` asks one of vectors.

    Parameters
    ----------
    index : InstanceIndex
        Which is asked.
    max_pixels : int
        Largest image that is decoded.

    Attributes
    ----------
    recipes : tuple
        None: there are no vectors.
    n_images : int
        Images that were described so far.
    """

    recipes: tuple[Any, ...] = ()

    def __init__(self, index: InstanceIndex, max_pixels: int) -> None:
        self.n_images = 0
        self._describer = dataclasses.replace(index.describer(), max_pixels=max_pixels)

    def preprocessor(self) -> LocalDescriber:
        """Return what describes decoded images, in the reader processes."""
        return self._describer

    def embed_views(self, images: Sequence[Sequence[Any]]) -> list[LocalFeatures]:
        """Return what `preprocessor` made, as the index takes it."""
        self.n_images += len(images)
        return [LocalFeatures(*views) for views in images]


def fits(index: RetrievalIndex | InstanceIndex, network: LoadedEncoder | LocalNetwork) -> bool:
    """Say whether a network makes of an image what an index can be asked with."""
    if isinstance(index, InstanceIndex) or isinstance(network, LocalNetwork):
        return isinstance(index, InstanceIndex) and isinstance(network, LocalNetwork)
    recipe = index.recipe_
    return recipe is not None and recipe.fingerprint == network.recipes[0].fingerprint
