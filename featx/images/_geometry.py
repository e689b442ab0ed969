"""Sizes and crops on PIL images, bit for bit as torchvision.transforms takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image, ImageOps

from featx.errors import ImageDecodeError
from featx.images.decode import DEFAULT_MAX_PIXELS
from featx.recipe import Preprocessing

__all__ = ["SCALES", "Scale", "centre_crop", "resize", "scaled", "ten_crop"]

# The scales of Radenovic, Tolias & Chum, Fine-tuning CNN Image Retrieval (2018), in their code:
# cirtorch --multiscale '[1, 2**(1/2), 1/2**(1/2)]'.
SCALES = (1.0, 1 / math.sqrt(2), math.sqrt(2))
# Total stride of nearly every classification network: crops of whole multiples waste no border.
STRIDE_PX = 32


@dataclass(frozen=True)
class Scale:
    """One size of view: the shorter side in pixels (None: `factor` times its own) and the crop."""

    factor: float
    resize_px: int | None
    crop_px: int | None


def scaled(p: Preprocessing, factor: float) -> Scale:
    """Return the sizes times a factor, the crop rounded to a multiple of 32 px."""
    if factor == 1.0:
        return Scale(1.0, p.resize_px, p.crop_px)
    if p.crop_px is None:
        return Scale(factor, p.resize_px and round(p.resize_px * factor), None)
    crop_px = max(STRIDE_PX, STRIDE_PX * round(p.crop_px * factor / STRIDE_PX))
    factor = crop_px / p.crop_px  # so that the crop keeps its share of the picture
    return Scale(factor, p.resize_px and round(p.resize_px * factor), crop_px)


def resize(image: Image.Image, scale: Scale, interpolation: str) -> Image.Image:
    """Resize the shorter side as torchvision's Resize does: the longer one is truncated."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    new_short = scale.resize_px
    if new_short is None:
        new_short = max(1, round(short * scale.factor))
    new_long = int(new_short * long / short)
    if new_short == short:
        return image
    if new_short * new_long > DEFAULT_MAX_PIXELS:
        raise ImageDecodeError(
            f"too elongated: {width} x {height} px would become {new_short} x {new_long} px"
        )
    size = (new_short, new_long) if width <= height else (new_long, new_short)
    return image.resize(size, Image.Resampling[interpolation.upper()])


def _padded(image: Image.Image, crop_px: int) -> Image.Image:
    """Pad with black to at least the crop; where the sum is odd, right and bottom get one more."""
    extra_w, extra_h = max(crop_px - image.width, 0), max(crop_px - image.height, 0)
    if not extra_w and not extra_h:
        return image
    padding = (extra_w // 2, extra_h // 2, (extra_w + 1) // 2, (extra_h + 1) // 2)
    return ImageOps.expand(image, padding, fill=0)


def centre_crop(image: Image.Image, crop_px: int) -> Image.Image:
    """Crop the centre, after padding where the image is smaller."""
    image = _padded(image, crop_px)
    # Python's round, halves to even, as in torchvision.
    left = round((image.width - crop_px) / 2.0)
    top = round((image.height - crop_px) / 2.0)
    return image.crop((left, top, left + crop_px, top + crop_px))


def ten_crop(image: Image.Image, crop_px: int) -> list[Image.Image]:
    """Crop corners and centre, then those of the mirror image, in torchvision's order."""
    image = _padded(image, crop_px)
    return _five_crop(image, crop_px) + _five_crop(ImageOps.mirror(image), crop_px)


def _five_crop(image: Image.Image, crop_px: int) -> list[Image.Image]:
    right, bottom = image.width - crop_px, image.height - crop_px
    corners = ((0, 0), (right, 0), (0, bottom), (right, bottom))
    crops = [image.crop((x, y, x + crop_px, y + crop_px)) for x, y in corners]
    return [*crops, centre_crop(image, crop_px)]
