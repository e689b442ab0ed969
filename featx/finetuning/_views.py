"""Training views of an image: where to crop is a function of seed, image and view alone.

Knows no torch: the reader processes import it.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from featx.images import ImagePreprocessor
from featx.images.decode import DEFAULT_MAX_PIXELS
from featx.recipe import Preprocessing

__all__ = ["AUGMENTS", "TrainingViews"]

AUGMENTS = ("crop-hflip", "hflip", "none")
# Smallest share of the image's area. Inception's 0.08 (Szegedy et al. 2015, section 6) suits a
# million images; of a few, a twelfth of the picture often misses the object.
MIN_SCALE = 0.35
ASPECTS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class TrainingViews:
    """Make some of the training views of an image.

    Parameters
    ----------
    preprocessing : Preprocessing
        Sizes, filter and decoding as for extraction; with a crop.
    augment : {"crop-hflip", "hflip", "none"}
        A random rectangle, mirrored or not, resized to the crop's size; the extraction's view,
        every second time mirrored; the extraction's view.
    views : tuple of int
        Numbers of the views to make.
    seed : int
        The same seed gives the same views of an image, whatever is read beside it.

    Examples
    --------
    >>> views = TrainingViews(Preprocessing(resize_px=40, crop_px=32), "crop-hflip", (0, 1), 7)
    >>> [view.shape for view in views(Image.new("RGB", (64, 48)))]
    [(32, 32, 3), (32, 32, 3)]
    """

    preprocessing: Preprocessing
    augment: str
    views: tuple[int, ...]
    seed: int

    @property
    def min_px(self) -> int | None:
        """Shorter side that decoding must keep: as for extraction, so that pixels are the same."""
        return ImagePreprocessor(self.preprocessing).min_px

    @property
    def max_pixels(self) -> int:
        """Largest image that is decoded."""
        return DEFAULT_MAX_PIXELS

    def __call__(self, image: Image.Image) -> tuple[NDArray[np.uint8], ...]:
        """Return the views of an RGB image, (crop_px, crop_px, 3) uint8 each."""
        if self.augment == "crop-hflip":
            key = zlib.crc32(image.tobytes())
            return tuple(self._crop(image, (self.seed, key, view)) for view in self.views)
        (plain,) = ImagePreprocessor(self.preprocessing)(image)
        if self.augment == "none":
            return (plain,) * len(self.views)
        return tuple(plain if v % 2 == 0 else _mirror(plain) for v in self.views)

    def _crop(self, image: Image.Image, key: tuple[int, int, int]) -> NDArray[np.uint8]:
        rng = np.random.default_rng(key)
        area = image.width * image.height * rng.uniform(MIN_SCALE, 1.0)
        aspect = math.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        w = max(1, min(image.width, round(math.sqrt(area * aspect))))
        h = max(1, min(image.height, round(math.sqrt(area / aspect))))
        left, top = rng.integers(0, image.width - w + 1), rng.integers(0, image.height - h + 1)
        p = self.preprocessing
        assert p.crop_px is not None
        view = image.resize(
            (p.crop_px, p.crop_px),
            Image.Resampling[p.interpolation.upper()],
            box=(int(left), int(top), int(left + w), int(top + h)),
        )
        return _to_pixels(ImageOps.mirror(view) if rng.random() < 0.5 else view)


def _mirror(view: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(view[:, ::-1])


def _to_pixels(image: Any) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8))
