"""Local features of images: where corners and blobs are, and what their surroundings look like.

SIFT, whose descriptors turn and scale with the picture, with the square root of each value
("RootSIFT"). Pictures are described in the reader processes, which know no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx._optional import require
from featx.images.decode import DEFAULT_MAX_PIXELS
from featx.retrieval._vectors import Floats

__all__ = ["N_VALUES", "LocalDescriber", "LocalFeatures"]

N_VALUES = 128  # of a descriptor
# Half of SIFT's default: dim and blurred photographs keep corners, and the strongest come first.
MIN_CONTRAST = 0.02
# A value of a descriptor of length 1 is hardly ever above 1 / 2.
SCALE = 512


@dataclass(frozen=True)
class LocalFeatures:
    """What the corners and blobs of one picture look like, the strongest first.

    Parameters
    ----------
    descriptors : ndarray of shape (n, 128), uint8
        512 times vectors of length 1.
    points : ndarray of shape (n, 2), float32
        x and y of their centres, as shares of the picture's longer side.
    size_px : ndarray of shape (2,), int32
        Width and height of the picture as it was decoded.
    """

    descriptors: NDArray[np.uint8]
    points: Floats
    size_px: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.descriptors)


@dataclass(frozen=True)
class LocalDescriber:
    """Describes decoded images; a `featx.images.reader.Preprocessor`.

    Parameters
    ----------
    n_features : int
        Features that are kept at most, the strongest.
    area_px : int
        Pixels to which a larger image is shrunk: time grows with it.
    max_pixels : int, default 178,956,970
        Largest image that is decoded.

    Notes
    -----
    Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004; Arandjelovic and
    Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.

    Examples
    --------
    >>> pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(20, 0)
    >>> describer = LocalDescriber(50, 300_000)
    >>> features = describer.describe(Image.fromarray(pixels.repeat(20, 1)))
    >>> features.descriptors.shape, features.points.max() < 1, features.size_px.tolist()
    ((50, 128), np.True_, [160, 120])
    """

    n_features: int
    area_px: int
    max_pixels: int = DEFAULT_MAX_PIXELS

    @property
    def min_px(self) -> int:
        """Shorter side that decoding must keep, whatever the image's shape."""
        return int(self.area_px**0.5)

    def __call__(self, image: Image.Image, /) -> tuple[NDArray[Any], ...]:
        """Return the arrays of `LocalFeatures`, each with a first dimension of 1."""
        found = self.describe(image)
        return found.descriptors, found.points, found.size_px

    def describe(self, image: Image.Image) -> LocalFeatures:
        """Return the local features of an image; of one colour it has none."""
        cv2 = require("cv2", extra="instances", purpose="instance retrieval")
        size = np.array(image.size, np.int32)
        grey = np.asarray(_shrink(image.convert("L"), self.area_px))
        sift = cv2.SIFT_create(nfeatures=self.n_features, contrastThreshold=MIN_CONTRAST)
        keypoints, values = sift.detectAndCompute(grey, None)
        if not keypoints:
            return LocalFeatures(np.empty((0, N_VALUES), np.uint8), np.empty((0, 2), np.float32),
                                 size)  # fmt: skip
        strength = np.array([point.response for point in keypoints])
        first = np.argsort(-strength, kind="stable")[: self.n_features]
        points = np.array([point.pt for point in keypoints], np.float32)[first]
        return LocalFeatures(quantise(values[first]), points / max(grey.shape), size)


def quantise(values: Floats) -> NDArray[np.uint8]:
    """Return RootSIFT of SIFT, (n, 128), in 8 bits."""
    sums = np.maximum(values.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    scaled: Floats = np.round(SCALE * np.sqrt(values / sums))
    return np.minimum(scaled, 255).astype(np.uint8, copy=False)


def _shrink(image: Image.Image, area_px: int) -> Image.Image:
    scale = (area_px / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    return image.resize(size, Image.Resampling.BOX)
