"""Decode still WebP files with half the memory that Pillow takes.

Pillow goes through libwebp's animation decoder, which keeps two canvases beside the copy that it
hands out: 16 bytes a pixel. The libwebp that Pillow brings is asked for the pixels themselves.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from PIL import Image

__all__ = ["decode_webp"]


def decode_webp(data: bytes, size: tuple[int, int], *, has_alpha: bool) -> Image.Image | None:
    """Return a still picture's pixels; None where only Pillow can have them, or say what is wrong.

    Parameters
    ----------
    data : bytes
        The file.
    size : (int, int)
        Width and height that its header says.
    has_alpha : bool
        Whether the mode is to be RGBA rather than RGB.
    """
    mode = "RGBA" if has_alpha else "RGB"
    decode = _decoder(mode)
    if decode is None:
        return None
    width, height = size
    pixels = bytearray(len(mode) * width * height)
    place = (ctypes.c_uint8 * len(pixels)).from_buffer(pixels)
    # Returns NULL for animations and damaged files, and checks the size against the buffer's.
    if not decode(data, len(data), place, len(pixels), len(mode) * width):
        return None
    return Image.frombytes(mode, size, pixels)


@functools.cache
def _decoder(mode: str) -> Any:
    """Return libwebp's ``WebPDecodeRGBInto`` or its like, None where Pillow's build hides it."""
    try:
        from PIL import _webp

        function = getattr(ctypes.CDLL(_webp.__file__), f"WebPDecode{mode}Into")
    except (ImportError, OSError, AttributeError, TypeError):
        return None
    sizes = (ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function.argtypes, function.restype = (ctypes.c_char_p, *sizes), ctypes.c_void_p
    return function
