"""From a decoded RGB image to the network's views, as torchvision.transforms makes them.

Pixels stay uint8: normalisation happens on the device, where it is cheap, and a quarter of the
bytes travel. What a preprocessor returns tells the two cases apart: uint8 arrays (H, W, 3) still
have to be normalised; float32 arrays (C, H, W), from a user's own transform, are the network's
input as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from featx.errors import ImageDecodeError, ParameterError, choose
from featx.images._views import (
    CROP_SHARE,
    SCALES,
    Scale,
    patches,
    resize,
    scaled,
    sixteen_views,
    ten_crop,
    view,
    view_box,
)
from featx.images.augmentation import Augmentation
from featx.images.decode import DEFAULT_MAX_PIXELS
from featx.recipe import Preprocessing

__all__ = ["ImagePreprocessor", "TransformPreprocessor"]

INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest", "box", "hamming")


@dataclass(frozen=True)
class ImagePreprocessor:
    """Resize, crop and take the views that test-time augmentation asks for.

    Parameters
    ----------
    preprocessing : Preprocessing
        Sizes, filter and whether JPEGs may be decoded at reduced scale. `mean` and `std` are left
        to the device.
    augment : str, default "none"
        "none" is 1 view; "hflip" 2: the view and its mirror image; "ten-crop" 10: four corners,
        centre, then the mirrored image's five; "multi-scale" 3: both sizes times 1, 1/√2 and √2,
        crops rounded to multiples of 32 px, with "multi-scale(14)" of 14; "sixteen-view" 16: the
        view, close-ups of the corners and the centre, two rotations by 15 degrees, and their
        mirror images;
        "patches(L)" 1, 5, 14, 30, 55 or 91 for L of 1 to 6: i x i overlapping patches for each i
        up to L, each stretched to the crop. Time in the network grows with the number of views.
        A suffix ":keep" says what becomes of the views' features and changes nothing here.
    max_pixels : int, default 178,956,970
        Largest image that is decoded; see `featx.images.decode_image`.

    Raises
    ------
    ParameterError
        If `augment` or the filter is unknown, or one that needs a crop is asked for without.

    Notes
    -----
    Bit-identical to torchvision's ``Resize`` + ``CenterCrop`` (and ``TenCrop``) on PIL images. An
    image smaller than the crop is padded with black on both sides, as ``CenterCrop`` does;
    ten-crop does the same first, where torchvision's ``TenCrop`` raises.

    Examples
    --------
    >>> preprocessor = ImagePreprocessor(Preprocessing(resize_px=256, crop_px=224), "hflip")
    >>> [view.shape for view in preprocessor(Image.new("RGB", (640, 480)))]
    [(224, 224, 3), (224, 224, 3)]
    """

    preprocessing: Preprocessing
    augment: str = "none"
    max_pixels: int = DEFAULT_MAX_PIXELS
    views: Augmentation = field(init=False, repr=False, compare=False)
    scales: tuple[Scale, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        views, p = Augmentation.parse(self.augment), self.preprocessing
        choose("interpolation", p.interpolation, INTERPOLATIONS)
        if views.needs_crop and p.crop_px is None:
            raise ParameterError(
                f"augment: got {views.kind!r} with crop_px None, expected a crop size; "
                "use 'hflip', or a preprocessing that crops"
            )
        object.__setattr__(self, "views", views)
        scales = SCALES if views.kind == "multi-scale" else (1.0,)
        object.__setattr__(
            self, "scales", tuple(scaled(p, factor, views.step_px) for factor in scales)
        )

    @property
    def n_views(self) -> int:
        """Number of views of an image."""
        return self.views.n_views

    @property
    def min_px(self) -> int | None:
        """Shorter side that decoding must keep, in pixels; None asks for every pixel."""
        sizes = [s.resize_px for s in self.scales if s.resize_px is not None]
        if self.preprocessing.decode == "full" or len(sizes) < len(self.scales):
            return None
        crop_px = self.preprocessing.crop_px or 0
        if self.views.kind == "sixteen-view":
            sizes.append(math.ceil(crop_px / CROP_SHARE))
        if self.views.kind == "patches":
            sizes = [math.ceil(crop_px * (self.views.levels + 1) / 2)]
        return max(sizes)

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return what of a picture its first view shows: left, top, right, bottom, as shares.

        Parameters
        ----------
        width, height : int
            Of the picture, upright.

        Examples
        --------
        >>> ImagePreprocessor(Preprocessing(resize_px=256, crop_px=128)).box(200, 100)
        (0.375, 0.25, 0.625, 0.75)
        """
        return view_box(width, height, self.scales[0])

    def __call__(self, image: Image.Image) -> tuple[NDArray[np.uint8], ...]:
        """Return the views of an RGB image.

        Parameters
        ----------
        image : PIL.Image.Image
            Mode RGB.

        Returns
        -------
        tuple of ndarray of shape (H, W, 3), uint8
            `n_views` of them, C-contiguous.

        Raises
        ------
        ImageDecodeError
            If the image is so elongated that resizing its shorter side would make a picture of
            more than 178,956,970 pixels.
        """
        return tuple(np.ascontiguousarray(np.asarray(v, np.uint8)) for v in self._views(image))

    def _views(self, image: Image.Image) -> list[Image.Image]:
        scale, interpolation = self.scales[0], self.preprocessing.interpolation
        kind = self.views.kind
        if not self.views.needs_crop:
            views = [view(image, each, interpolation) for each in self.scales]
            return [*views, ImageOps.mirror(views[0])] if kind == "hflip" else views
        crop_px = scale.crop_px
        assert crop_px is not None
        if kind == "ten-crop":
            return ten_crop(resize(image, scale, interpolation), crop_px)
        if kind == "sixteen-view":
            return sixteen_views(image, scale, interpolation)
        return patches(image, crop_px, self.views.levels, interpolation)


@dataclass(frozen=True)
class TransformPreprocessor:
    """Hand the image to a user's own transform.

    Parameters
    ----------
    transform : callable
        Takes a PIL image of mode RGB, returns a float torch tensor or ndarray of shape (C, H, W):
        the network's input, normalised and all. For reader processes it must be picklable, by
        value if it is defined in a script or notebook.
    max_pixels : int, default 178,956,970
        Largest image that is decoded; see `featx.images.decode_image`.

    Examples
    --------
    >>> preprocessor = TransformPreprocessor(
    ...     lambda image: np.asarray(image, np.float32).transpose(2, 0, 1) / 255)
    >>> preprocessor(Image.new("RGB", (4, 2)))[0].shape
    (3, 2, 4)
    """

    transform: Callable[[Image.Image], Any]
    max_pixels: int = DEFAULT_MAX_PIXELS

    @property
    def n_views(self) -> int:
        """One: a transform makes one input of an image."""
        return 1

    @property
    def min_px(self) -> int | None:
        """None: what the transform needs is not known, so every pixel is decoded."""
        return None

    def __call__(self, image: Image.Image) -> tuple[NDArray[np.float32], ...]:
        """Return the transform's result as one float32 array (C, H, W).

        Raises
        ------
        ImageDecodeError
            If the transform raises on this image, with what it raised.
        ParameterError
            If the transform returns something else than a float array of three dimensions.
        """
        try:
            result = self.transform(image)
        except Exception as err:
            raise ImageDecodeError(f"the transform raised {type(err).__name__}: {err}") from err
        array = np.asarray(result.detach().cpu() if hasattr(result, "detach") else result)
        if array.ndim != 3 or array.dtype.kind != "f":
            raise ParameterError(
                f"transform: returned {type(result).__name__} of dtype {array.dtype} and shape "
                f"{array.shape}, expected floats of shape (C, H, W); "
                "end it with torchvision.transforms.ToTensor() or the like"
            )
        return (np.ascontiguousarray(array, dtype=np.float32),)
