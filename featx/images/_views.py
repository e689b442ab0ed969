"""Views of one picture: the sixteen of Razavian et al. and the patches of their spatial search."""

from __future__ import annotations

import math

from PIL import Image, ImageOps

from featx.images._geometry import Scale, centre_crop, resize

__all__ = ["N_SIXTEEN", "n_patches", "patch_boxes", "patches", "sixteen_views"]

N_SIXTEEN = 16
CROP_SHARE = 2 / 3  # of each side: 4/9 of the area
ANGLE_DEG = 15.0  # the paper says two rotations, not by how much
Box = tuple[float, float, float, float]


def sixteen_views(image: Image.Image, scale: Scale, interpolation: str) -> list[Image.Image]:
    """Take the picture, five crops and two rotations, then the mirror image of each.

    Razavian et al. 2014, section 3.1: the crops show 4/9 of the area, at the corners and the
    centre. A rotated picture is cut to the largest upright part of its own shape, so that no
    corner is blank.
    """
    assert scale.crop_px is not None
    close_up = Scale(1.0, scale.crop_px, scale.crop_px)
    views = [_view(image, scale, interpolation)]
    views += [_view(crop, close_up, interpolation) for crop in _five_crops(image)]
    views += [_view(_rotated(image, angle), scale, interpolation) for angle in (-1, 1)]
    return [*views, *map(ImageOps.mirror, views)]


def _view(image: Image.Image, scale: Scale, interpolation: str) -> Image.Image:
    assert scale.crop_px is not None
    return centre_crop(resize(image, scale, interpolation), scale.crop_px)


def _five_crops(image: Image.Image) -> list[Image.Image]:
    width = max(1, round(image.width * CROP_SHARE))
    height = max(1, round(image.height * CROP_SHARE))
    right, bottom = image.width - width, image.height - height
    places = ((0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2))
    return [image.crop((x, y, x + width, y + height)) for x, y in places]


def _rotated(image: Image.Image, sign: int) -> Image.Image:
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


def n_patches(levels: int) -> int:
    """Return how many patches there are: 1, 5, 14, 30 for one to four levels."""
    return levels * (levels + 1) * (2 * levels + 1) // 6


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
