"""Measure pictures: how dark, how blurred, how empty, of what size and shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.images.decode import DEFAULT_MAX_PIXELS

__all__ = ["MEASURES", "PictureMeasurer"]

MEASURES = ("width_px", "height_px", "brightness", "contrast", "blur")
SIDE_PX = 256  # longer side at which pictures are measured; smaller ones stay as they are
WINDOW_PX = 11  # of the second blur (Crete et al. 2007 and scikit-image take 9 and 11)


@dataclass(frozen=True)
class PictureMeasurer:
    """A preprocessor whose view is five numbers.

    Parameters
    ----------
    min_px : int, default 256
        A JPEG is decoded at 1/2, 1/4 or 1/8 as long as its shorter side stays at least this, and
        its width and height are those of what was decoded.
    max_pixels : int, default 178,956,970
        Largest image that is decoded.

    Examples
    --------
    >>> from PIL import Image
    >>> PictureMeasurer()(Image.new("RGB", (300, 200), (255, 255, 255)))[0].tolist()
    [300.0, 200.0, 1.0, 0.0, 1.0]
    """

    min_px: int = SIDE_PX
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __call__(self, image: Image.Image, /) -> tuple[NDArray[np.float32], ...]:
        """Return `MEASURES` of an RGB image, shape (5,).

        Brightness is the 99th percentile of the luminance, contrast its standard deviation, both
        of 1; blur is `blur_of`.
        """
        width, height = image.size
        small = image.convert("L")
        small.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX, reducing_gap=2.0)
        grey = np.asarray(small, np.float32) / np.float32(255)
        bright, contrast = float(np.percentile(grey, 99)), float(grey.std())
        return (np.array([width, height, bright, contrast, blur_of(grey)], np.float32),)


def blur_of(grey: NDArray[np.float32]) -> float:
    """Return how little a picture changes when it is blurred, 0 for sharp to 1 for blurred.

    Crete et al. 2007, "The blur effect", equations 1 to 6, with a box of 11 pixels: the share of
    the differences between neighbouring pixels that another blur leaves, in the worse direction.

    Parameters
    ----------
    grey : ndarray of shape (height, width), float32
    """
    shares = []
    for image in (grey, grey.T):
        if image.shape[1] < 3:
            continue
        before = np.abs(np.diff(image, axis=1))
        after = np.abs(np.diff(_box_mean(image), axis=1))
        total = float(before.sum())
        lost = float(np.maximum(before - after, 0).sum())
        shares.append(1.0 if total <= 1e-6 else 1 - lost / total)
    return max(shares, default=1.0)


def _box_mean(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average along rows over the window, the edges repeated."""
    half = WINDOW_PX // 2
    padded = np.pad(image, ((0, 0), (half + 1, half)), mode="edge").astype(np.float64)
    sums = padded.cumsum(axis=1)
    means: NDArray[np.float32] = (sums[:, WINDOW_PX:] - sums[:, :-WINDOW_PX]).astype(np.float32)
    return means / np.float32(WINDOW_PX)
