"""From any Pillow mode to the RGB that a person sees.

Colour profiles are not applied: the networks were trained on pixels as they are stored, and so are
torchvision's numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from PIL import ExifTags, Image

from featx.images._deep import MODES_BEYOND_8_BIT, convert_strips, to_grey

__all__ = ["orientation_of", "to_rgb", "turn"]

MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
BLACK, WHITE = 0, 255
# In levels of 255: with less than this between the picture and its ground nothing is to be seen.
MIN_CONTRAST = 16
N_PROBED = 16

# EXIF 2.32, tag 0x0112: how the stored rows and columns lie, and what puts them right.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image the way up that its EXIF orientation says."""
    method = UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where there is none."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block says nothing about the pixels
        return 1
    return value if isinstance(value, int) else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to mode RGB: transparency over a ground that shows the picture, 8 bits a sample.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode, loaded.

    Returns
    -------
    PIL.Image.Image
        Mode RGB; the very same object where nothing had to change. Beside it and the image a
        strip of some rows is held, so that a pixel takes at most 8 bytes.
    """
    if image.mode in MODES_BEYOND_8_BIT:
        grey = to_grey(image)
        if not isinstance(image.info.get("transparency"), int):
            return convert_strips(image, lambda strip: grey(strip).convert("RGB"))
        return _put_on_ground(image, lambda strip: grey(strip).convert("RGBA"))
    if image.mode in MODES_WITH_ALPHA or "transparency" in image.info:
        return _put_on_ground(image, _to_rgba)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_rgba(strip: Image.Image) -> Image.Image:
    return (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")


def _put_on_ground(
    image: Image.Image, to_rgba: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Lay a picture over white; over black where white would hide all of it."""
    for ground in (WHITE, BLACK):
        rgb = convert_strips(image, functools.partial(_lay_over, to_rgba, ground))
        if _is_visible(rgb, ground):
            return rgb
        del rgb  # before the next is made
    return convert_strips(image, functools.partial(_lay_over, to_rgba, WHITE))


def _is_visible(rgb: Image.Image, ground: int) -> bool:
    # A few pixels show it nearly always, and all of them need to be asked only where they do not.
    few = rgb.resize((N_PROBED, N_PROBED), Image.Resampling.NEAREST)
    return any(_contrast(part, ground) >= MIN_CONTRAST for part in (few, rgb))


def _contrast(rgb: Any, ground: int) -> int:
    levels: list[int] = [level for band in rgb.getextrema() for level in band]
    return max(abs(ground - level) for level in levels)


def _lay_over(
    to_rgba: Callable[[Image.Image], Image.Image], grey: int, strip: Image.Image
) -> Image.Image:
    rgba = to_rgba(strip)
    ground = Image.new("RGBA", rgba.size, (grey, grey, grey, 255))
    return Image.alpha_composite(ground, rgba).convert("RGB")
