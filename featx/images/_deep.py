"""Samples of more than 8 bits: where in their 16 or 32 bits the picture lies, and where white is.

Cameras of microscopes, X-ray machines and factories leave 10, 12 or 14 bits in the low end of 16,
and no field of PNG must say so. White is therefore the largest value of the smallest of 8, 10, 12,
14 and 16 bits that holds every sample, or of as many as the file declares. An image that uses its
16 bits is not changed by this.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "MODES_BEYOND_8_BIT",
    "add_low_bytes",
    "convert_strips",
    "is_deep_colour",
    "mode_of",
    "significant_bits",
    "strips",
    "to_grey",
    "with_mode",
]

# An image is taken a few rows at a time, so that what is made on the way to its RGB stays small.
STRIP_PIXELS = 2**18
MODES_BEYOND_8_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
WHITES = (255, 1023, 4095, 16383, 65535)
# Floats that are no whole numbers and stay below this are not levels of 0 to 255.
MAX_UNSCALED = 16
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_MAX_SAMPLE, TIFF_SAMPLES = 258, 262, 281, 339
WHITE_IS_ZERO, UNSIGNED = 0, (1,)
OTHER_BYTE = {";16B": ";16L", ";16L": ";16B", ";16N": f";16{'BL'[sys.byteorder == 'big']}"}


def to_grey(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return what turns strips of a deep greyscale image into mode L, or LA where it has tRNS.

    Parameters
    ----------
    image : PIL.Image.Image
        Loaded, of one of `MODES_BEYOND_8_BIT`.

    Notes
    -----
    Whole numbers of 16 bits are scaled as this module says, and so are numbers of 32 bits that
    would fit into 16. Floats up to 1 are read as 0 to 1. Everything else has no nominal white:
    negative or larger numbers are stretched from the smallest to the largest, and fractions of up
    to 16 from 0 to the largest. What is not finite becomes black.
    """
    samples_of = _get_samples(image)
    low, high, is_whole = _measure_range(image, samples_of)
    if low < 0 or high > WHITES[-1]:
        white = max(high - low, 1e-300)
    elif image.mode == "F" and high <= 1:
        low, white = 0.0, 1.0
    elif image.mode == "F" and not is_whole and high <= MAX_UNSCALED:
        low, white = 0.0, high
    else:
        low, white = 0.0, _find_white(image, math.ceil(high))
    transparent = image.info.get("transparency")
    is_inverted = _is_white_zero(image)
    levels = _make_levels(white) if image.mode.startswith("I;16") else None

    def convert(strip: Image.Image) -> Image.Image:
        values = samples_of(strip)
        if levels is not None:
            grey = levels[values]
        else:
            grey = np.rint((_to_finite(values) - low) * (255.0 / white)).astype(np.uint8)
        made = Image.fromarray(255 - grey if is_inverted else grey)
        if isinstance(transparent, int):
            made.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype("u1")))
        return made

    return convert


def significant_bits(data: bytes) -> int | None:
    """Return the fewest bits that a PNG file declares for its samples (chunk sBIT), if it does."""
    at = 8
    while at + 8 <= len(data):
        n_bytes, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"sBIT":
            return max(data[at + 8 : at + 8 + min(n_bytes, 3)], default=None)
        if kind in (b"IDAT", b"PLTE", b"IEND"):
            return None
        at += 12 + n_bytes
    return None


def is_deep_colour(image: Any) -> bool:
    """Say whether Pillow is about to unpack 16-bit colours, of which it keeps the high bytes only.

    Not of those whose pixels have been loaded, nor of those whose alpha is premultiplied.
    """
    modes = [mode_of(tile) for tile in getattr(image, "tile", None) or []]
    return (
        image.mode in ("RGB", "RGBA", "CMYK")
        and bool(modes)
        and all(mode[-4:] in OTHER_BYTE and not mode.startswith("RGBa") for mode in modes)
    )


def add_low_bytes(image: Any, open_again: Callable[[], Any]) -> Any:
    """Scale 16-bit colours that lie in the low bits, where the high bytes are dark.

    Parameters
    ----------
    image : PIL.Image.Image
        Loaded, one of which `is_deep_colour` was true: the high bytes. Changed in place.
    open_again : callable
        Opens the same file.

    Returns
    -------
    PIL.Image.Image
        `image`.
    """
    n_colours = 4 if image.mode == "CMYK" else 3
    top = [band[1] for band in image.getextrema()]
    if max(top[:n_colours]) > WHITES[-2] >> 8:
        return image
    low = open_again()
    is_grey = mode_of(low.tile[0]).startswith("LA")
    low.tile = [with_mode(tile, _low_mode(mode_of(tile))) for tile in low.tile]
    low.load()
    bands = [1, 1, 1, 3] if is_grey else list(range(len(top)))
    whites = [0] * len(top)
    for (_, strip), (_, part) in zip(strips(image), strips(low), strict=True):
        highest = _join(strip, part, bands).reshape(-1, len(top)).max(axis=0).tolist()
        whites = [max(pair) for pair in zip(whites, highest, strict=True)]
    colour = _find_white(image, max(whites[:n_colours]))
    levels = [_make_levels(colour)] * n_colours
    levels += [_make_levels(_find_white(image, value)) for value in whites[n_colours:]]
    for (start, strip), (_, part) in zip(strips(image), strips(low), strict=True):
        wide = _join(strip, part, bands)
        eight = np.stack([table[wide[..., i]] for i, table in enumerate(levels)], axis=-1)
        image.paste(Image.frombytes(image.mode, strip.size, eight.tobytes()), (0, start))
    return image


def _join(high: Image.Image, low: Image.Image, bands: list[int]) -> NDArray[np.uint16]:
    wide = np.asarray(low)[..., bands].astype(np.uint16)
    wide |= np.asarray(high).astype(np.uint16) << 8
    return wide


def _make_levels(white: float) -> NDArray[np.uint8]:
    """Return the level from 0 to 255 of each value of 16 bits."""
    levels: NDArray[Any] = np.rint(np.arange(65536) * (255 / white)).clip(0, 255)
    return levels.astype(np.uint8)


def _low_mode(rawmode: str) -> str:
    # A grey sample and its alpha are 4 bytes, which RGBA takes as they are.
    return "RGBA" if rawmode.startswith("LA") else rawmode[:-4] + OTHER_BYTE[rawmode[-4:]]


def mode_of(tile: Any) -> str:
    """Return what Pillow unpacks a part of a file as, "" where it is not said."""
    args = tile[3]
    mode = args if isinstance(args, str) or not args else args[0]
    return mode if isinstance(mode, str) else ""


def with_mode(tile: Any, rawmode: str) -> Any:
    """Return a part of a file that is unpacked as something else."""
    args = rawmode if isinstance(tile[3], str) else (rawmode, *tile[3][1:])
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)


def _find_white(image: Image.Image, highest: int) -> int:
    """Return the value that is white in an image whose largest is `highest`, up to 65535."""
    if image.format == "PPM":
        return WHITES[-1]  # whose header says what is white, and Pillow has scaled by it
    declared = _read_declared_white(image)
    # A file that was written by PNG's own rules has been scaled up from what it declares.
    if image.format == "PNG" and declared:
        return declared if highest <= declared else WHITES[-1]
    highest = max(highest, min(declared, WHITES[-1]))
    return next(white for white in WHITES if highest <= white)


def _read_declared_white(image: Image.Image) -> int:
    """Return the largest value that the file says there may be, 0 where it says nothing."""
    bits = image.info.get("sBIT")
    if isinstance(bits, int) and 8 <= bits < 16:
        return (1 << bits) - 1
    tags: Any = getattr(image, "tag_v2", {})
    largest, depth = tags.get(TIFF_MAX_SAMPLE), tags.get(TIFF_BITS)
    values = [max(v) if isinstance(v, tuple) and v else v for v in (largest, depth)]
    if isinstance(values[1], int) and 8 < values[1] < 16:
        return (1 << values[1]) - 1
    return values[0] if isinstance(values[0], int) else 0


def _is_white_zero(image: Image.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    return bool(tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO)


def _get_samples(image: Image.Image) -> Callable[[Image.Image], NDArray[Any]]:
    """Return what gives a strip's samples; Pillow has 32 bits without a sign as if with one."""
    tags: Any = getattr(image, "tag_v2", {})
    is_unsigned = tags.get(TIFF_BITS) == (32,) and tags.get(TIFF_SAMPLES, UNSIGNED) == UNSIGNED
    if image.mode == "I" and is_unsigned:
        return lambda strip: np.asarray(strip).view(np.uint32)
    return np.asarray


def _measure_range(
    image: Image.Image, samples_of: Callable[[Image.Image], NDArray[Any]]
) -> tuple[float, float, bool]:
    """Return the smallest and largest finite value, and whether all are whole numbers."""
    low, high, is_whole = np.inf, -np.inf, True
    for _, strip in strips(image):
        values = samples_of(strip)
        if values.dtype.kind == "f":
            values = _to_finite(values)
            is_whole = is_whole and bool((values == np.rint(values)).all())
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high, is_whole


def _to_finite(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the rows of an image, some at a time: the first one's position, and a copy of them."""
    n_rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, n_rows):
        box = (0, top, image.width, min(top + n_rows, image.height))
        yield top, image.crop(box)


def convert_strips(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Return an RGB image of what `convert` makes of each strip."""
    if image.width * image.height <= STRIP_PIXELS:
        return convert(image)
    out = Image.new("RGB", image.size)
    for top, strip in strips(image):
        out.paste(convert(strip), (0, top))
    return out
