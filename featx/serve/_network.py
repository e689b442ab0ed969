"""The network of an index, for the views of uploaded images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx.serve._decoding import Views

if TYPE_CHECKING:
    from featx.extraction import LoadedEncoder

__all__ = ["ImageNetwork"]


class ImageNetwork:
    """The network of a recipe, for images in memory.

    Parameters
    ----------
    loaded : LoadedEncoder
        A loaded encoder.

    Attributes
    ----------
    preprocessor : Preprocessor
        What makes views of an image, exactly as extraction does.
    """

    def __init__(self, loaded: LoadedEncoder) -> None:
        self._loaded = loaded
        self.preprocessor = loaded.preprocessor()
        loaded.choose_engine(1)  # int8 is calibrated before it can be asked
        self._reads = [(spec.layer, spec.pooling) for spec in loaded.specs[:1]]
        self._keeps_views = loaded.recipes[0].augment.endswith(":keep")
        self.n_features = loaded.recipes[0].n_features

    @property
    def n_images(self) -> int:
        """Images that have gone through the network."""
        return self._loaded.backbone.n_images

    def features(self, images: Sequence[Views]) -> NDArray[np.float32]:
        """Run the network once for images of one size, (n_images, n_features)."""
        vectors = np.empty((len(images), self.n_features), np.float32)
        by_shape: dict[tuple[Any, ...], list[int]] = {}
        for i, views in enumerate(images):
            by_shape.setdefault(tuple(view.shape for view in views), []).append(i)
        for rows in by_shape.values():
            stacked = [np.stack(view) for view in zip(*(images[i] for i in rows), strict=True)]
            found = self._loaded.backbone.features(
                stacked, self._reads, keep_views=self._keeps_views
            )
            vectors[rows] = found[0]
        return vectors
