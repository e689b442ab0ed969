"""From any Pillow mode to the RGB that a person sees.

Colour profiles are not applied: the networks were trained on pixels as they are stored, and so are
torchvision's numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

__all__ = ["to_rgb", "upright"]

MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
MODES_BEYOND_8_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
# Formats whose files say that 65535 is white, also where Pillow opens them as 32-bit "I".
FORMATS_OF_16_BIT = ("PNG", "PPM")
TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 262, 0

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


def upright(image: Image.Image, loaded: Image.Image) -> Image.Image:
    """Turn `loaded` (pixels of `image`, which has the metadata) the way up that EXIF says."""
    try:
        orientation = loaded_orientation(image)
    except Exception:  # noqa: BLE001 - a damaged EXIF block says nothing about the pixels
        return loaded
    method = UPRIGHT.get(orientation)
    return loaded if method is None else loaded.transpose(method)


def loaded_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where there is none."""
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to mode RGB: transparency over white, more than 8 bits scaled down.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode, loaded or not.

    Returns
    -------
    PIL.Image.Image
        Mode RGB; the very same object where nothing had to change.
    """
    if image.mode in MODES_BEYOND_8_BIT:
        return _to_8_bit(image).convert("RGB")
    if image.mode in MODES_WITH_ALPHA or "transparency" in image.info:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale to 0..255 by the format's nominal range, by the values where it has none."""
    values = np.asarray(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in FORMATS_OF_16_BIT):
        grey = _from_16_bit(values)
        if _is_white_zero(image):
            grey = 255 - grey
    else:
        grey = _from_any_range(values)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _is_white_zero(image: Image.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    return bool(tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO)


def _from_16_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    # Rounded v / 257, which takes 65535 to 255; Pillow's own convert("L") clips at 255 instead.
    wide = values.astype(np.uint32)
    return ((wide + 128) // 257).astype(np.uint8)


def _from_any_range(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale 32-bit integers and floats, for which no format says what is white.

    [0, 1] (floats only), [0, 255] and [0, 65535] are read as such; anything else is stretched from
    its smallest to its largest value. What is not finite becomes black.
    """
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(wide.min()), float(wide.max())
    if low < 0 or high > 65535:
        wide = (wide - low) * (255.0 / max(high - low, 1e-300))
    elif high > 255:
        wide /= 257.0
    elif high <= 1 and values.dtype.kind == "f":
        wide *= 255.0
    return np.rint(wide).astype(np.uint8)
