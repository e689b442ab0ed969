"""Uploaded bytes to vectors, in two steps: reading, on any thread, and the network, on one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featx.errors import ImageDecodeError
from featx.images import decode_image

if TYPE_CHECKING:
    from featx.extraction import Job

__all__ = ["ImageNetwork", "Views"]

Views: TypeAlias = tuple[NDArray[Any], ...]
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
MAX_REASON_CHARS = 200


class ImageNetwork:
    """The network of a recipe, for images in memory.

    Parameters
    ----------
    job : Job
        Of `featx.extraction.job_for_recipe`.
    max_pixels : int
        Largest width x height of an image.
    """

    def __init__(self, job: Job, *, max_pixels: int) -> None:
        self._job, self._max_pixels = job, max_pixels
        self._preprocessor = job.preprocessor()
        job.choose_engine(1)  # int8 is calibrated before it can be asked
        self._reads = [(spec.layer, spec.pooling) for spec in job.specs[:1]]
        self._keeps_views = job.recipes[0].augment.endswith(":keep")
        self.n_features = job.recipes[0].n_features

    @property
    def n_images(self) -> int:
        """Images that have gone through the network."""
        return self._job.backbone.n_images

    def read(self, data: bytes) -> Views:
        """Decode and preprocess, exactly as extraction does.

        Raises
        ------
        ImageDecodeError
            With one line that says why, whatever the bytes are.
        """
        try:
            image = decode_image(
                data, min_px=self._preprocessor.min_px, max_pixels=self._max_pixels
            )
            views: Views = self._preprocessor(image)
        except MemoryError as err:
            raise ImageDecodeError("not enough memory to read the image") from err
        except Exception as err:
            reason = ADDRESS.sub("", " ".join(str(err).split()))[:MAX_REASON_CHARS]
            raise ImageDecodeError(reason or type(err).__name__) from err
        return views

    def features(self, images: Sequence[Views]) -> NDArray[np.float32]:
        """Run the network once for images of one size, (n_images, n_features)."""
        vectors = np.empty((len(images), self.n_features), np.float32)
        by_shape: dict[tuple[Any, ...], list[int]] = {}
        for i, views in enumerate(images):
            by_shape.setdefault(tuple(view.shape for view in views), []).append(i)
        for rows in by_shape.values():
            stacked = [np.stack(view) for view in zip(*(images[i] for i in rows), strict=True)]
            found = self._job.backbone.features(stacked, self._reads, keep_views=self._keeps_views)
            vectors[rows] = found[0]
        return vectors
