"""Views of one picture.

Sizes and crops are bit for bit those of torchvision.transforms; sixteen views and patches are
those of Razavian et al.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image, ImageOps

from featx.errors import ImageDecodeError
from featx.images.decode import DEFAULT_MAX_PIXELS
from featx.recipe import Preprocessing

__all__ = [
    "CROP_SHARE",
    "SCALES",
    "Scale",
    "patch_boxes",
    "patches",
    "resize",
    "scaled",
    "sixteen_views",
    "ten_crop",
    "view",
    "view_box",
]

# The scales of Radenovic, Tolias & Chum, Fine-tuning CNN Image Retrieval (2018), in their code:
# cirtorch --multiscale '[1, 2**(1/2), 1/2**(1/2)]'.
SCALES = (1.0, 1 / math.sqrt(2), math.sqrt(2))
CROP_SHARE = 2 / 3  # of each side: 4/9 of the area
ANGLE_DEG = 15.0  # the paper says two rotations, not by how much
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scale:
    """One size of view: the shorter side in pixels (None: `factor` times its own) and the crop.

    With `squash` both sides are as long as the shorter one.
    """

    factor: float
    resize_px: int | None
    crop_px: int | None
    squash: bool = False


def scaled(p: Preprocessing, factor: float, step_px: int) -> Scale:
    """Return the sizes times a factor, the crop rounded to a multiple of `step_px`."""
    if factor == 1.0:
        return Scale(1.0, p.resize_px, p.crop_px, p.squash)
    if p.crop_px is None:
        return Scale(factor, p.resize_px and round(p.resize_px * factor), None, p.squash)
    crop_px = max(step_px, step_px * round(p.crop_px * factor / step_px))
    factor = crop_px / p.crop_px  # so that the crop keeps its share of the picture
    return Scale(factor, p.resize_px and round(p.resize_px * factor), crop_px, p.squash)


def resize(image: Image.Image, scale: Scale, interpolation: str) -> Image.Image:
    """Resize the shorter side as torchvision's Resize does: the longer one is truncated."""
    width, height = image.size
    size = _resized(width, height, scale)
    if size == image.size:
        return image
    if size[0] * size[1] > DEFAULT_MAX_PIXELS:
        raise ImageDecodeError(
            f"too elongated: {width} x {height} px would become {min(size)} x {max(size)} px"
        )
    return image.resize(size, Image.Resampling[interpolation.upper()])


def _resized(width: int, height: int, scale: Scale) -> tuple[int, int]:
    short, long = min(width, height), max(width, height)
    new_short = scale.resize_px
    if new_short is None:
        new_short = max(1, round(short * scale.factor))
    new_long = new_short if scale.squash else int(new_short * long / short)
    return (new_short, new_long) if width <= height else (new_long, new_short)


def _pad(image: Image.Image, crop_px: int) -> Image.Image:
    """Pad with black to at least the crop; where the sum is odd, right and bottom get one more."""
    extra_w, extra_h = max(crop_px - image.width, 0), max(crop_px - image.height, 0)
    if not extra_w and not extra_h:
        return image
    padding = (extra_w // 2, extra_h // 2, (extra_w + 1) // 2, (extra_h + 1) // 2)
    return ImageOps.expand(image, padding, fill=0)


def _centre_crop(image: Image.Image, crop_px: int) -> Image.Image:
    """Crop the centre, after padding where the image is smaller."""
    image = _pad(image, crop_px)
    # Python's round, halves to even, as in torchvision.
    left = round((image.width - crop_px) / 2.0)
    top = round((image.height - crop_px) / 2.0)
    return image.crop((left, top, left + crop_px, top + crop_px))


def view(image: Image.Image, scale: Scale, interpolation: str) -> Image.Image:
    """Resize, and crop the centre where a crop is asked for."""
    resized = resize(image, scale, interpolation)
    return resized if scale.crop_px is None else _centre_crop(resized, scale.crop_px)


def view_box(width: int, height: int, scale: Scale) -> Box:
    """Return what of a picture `view` shows: left, top, right, bottom as shares of its sides.

    Beyond 0 and 1 where it is padded.

    Examples
    --------
    >>> view_box(400, 200, Scale(1.0, 100, 100))
    (0.25, 0.0, 0.75, 1.0)
    """
    if scale.crop_px is None:
        return (0.0, 0.0, 1.0, 1.0)
    new_width, new_height = _resized(width, height, scale)
    left, top = (new_width - scale.crop_px) / 2, (new_height - scale.crop_px) / 2
    right, bottom = left + scale.crop_px, top + scale.crop_px
    return (left / new_width, top / new_height, right / new_width, bottom / new_height)


def ten_crop(image: Image.Image, crop_px: int) -> list[Image.Image]:
    """Crop corners and centre, then those of the mirror image, in torchvision's order."""
    image = _pad(image, crop_px)
    return _five_crop(image, crop_px) + _five_crop(ImageOps.mirror(image), crop_px)


def _five_crop(image: Image.Image, crop_px: int) -> list[Image.Image]:
    right, bottom = image.width - crop_px, image.height - crop_px
    corners = ((0, 0), (right, 0), (0, bottom), (right, bottom))
    crops = [image.crop((x, y, x + crop_px, y + crop_px)) for x, y in corners]
    return [*crops, _centre_crop(image, crop_px)]


def sixteen_views(image: Image.Image, scale: Scale, interpolation: str) -> list[Image.Image]:
    """Take the picture, five crops and two rotations, then the mirror image of each.

    Razavian et al. 2014, section 3.1: the crops show 4/9 of the area, at the corners and the
    centre. A rotated picture is cut to the largest upright part of its own shape, so that no
    corner is blank.
    """
    assert scale.crop_px is not None
    close_up = Scale(1.0, scale.crop_px, scale.crop_px)
    views = [view(image, scale, interpolation)]
    views += [view(crop, close_up, interpolation) for crop in _five_crops(image)]
    views += [view(_rotate(image, angle), scale, interpolation) for angle in (-1, 1)]
    return [*views, *map(ImageOps.mirror, views)]


def _five_crops(image: Image.Image) -> list[Image.Image]:
    width = max(1, round(image.width * CROP_SHARE))
    height = max(1, round(image.height * CROP_SHARE))
    right, bottom = image.width - width, image.height - height
    places = ((0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2))
    return [image.crop((x, y, x + width, y + height)) for x, y in places]


def _rotate(image: Image.Image, sign: int) -> Image.Image:
    turned = image.rotate(sign * ANGLE_DEG, Image.Resampling.BILINEAR)
    sine, cosine = math.sin(math.radians(ANGLE_DEG)), math.cos(math.radians(ANGLE_DEG))
    width, height = image.size
    # An upright part of the same shape, s times as large, fits where its corners, turned back,
    # lie inside: s (w cos + h sin) <= w and s (w sin + h cos) <= h.
    share = min(
        width / (width * cosine + height * sine), height / (width * sine + height * cosine)
    )
    kept_w, kept_h = max(1, int(width * share)), max(1, int(height * share))
    left, top = (width - kept_w) // 2, (height - kept_h) // 2
    return turned.crop((left, top, left + kept_w, top + kept_h))


def patch_boxes(width: int, height: int, levels: int) -> list[Box]:
    """Return (left, top, right, bottom) of i x i patches for each level i, in px.

    Those of a level cover the picture and overlap by half, as in Razavian et al. 2014, section
    3.5; each has the picture's own shape and 2 / (i + 1) of its sides.

    Examples
    --------
    >>> patch_boxes(30, 60, 2)[:2]
    [(0.0, 0.0, 30.0, 60.0), (0.0, 0.0, 20.0, 40.0)]
    """
    boxes: list[Box] = []
    for level in range(1, levels + 1):
        step_x, step_y = width / (level + 1), height / (level + 1)
        boxes += [
            (x * step_x, y * step_y, (x + 2) * step_x, (y + 2) * step_y)
            for y in range(level)
            for x in range(level)
        ]
    return boxes


def patches(
    image: Image.Image, crop_px: int, levels: int, interpolation: str
) -> list[Image.Image]:
    """Cut the patches, each stretched to a square of `crop_px`."""
    kept = Image.Resampling[interpolation.upper()]
    return [
        image.resize((crop_px, crop_px), kept, box=box) for box in patch_boxes(*image.size, levels)
    ]
