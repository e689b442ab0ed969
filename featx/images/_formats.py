"""Formats of which Pillow alone makes too little: TIFF, WebP and HEIF.

TIFF: what Pillow makes of a file without a word that is not what the file says. WebP: Pillow goes
through libwebp's animation decoder, which keeps two canvases beside the copy that it hands out, 16
bytes per pixel; the libwebp that Pillow brings is asked for the pixels of still files themselves,
which takes half of that. HEIF, in which telephones keep photographs: read where pillow-heif is
(extra ``heic``).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from typing import Any

import numpy as np
from PIL import Image, ImagePalette

from featx._optional import require
from featx.errors import ImageDecodeError
from featx.images._deep import mode_of, with_mode

__all__ = [
    "HEAD_BYTES",
    "HEIF_SUFFIXES",
    "check_camera_raw",
    "correct_tiff",
    "decode_webp",
    "has_heif_reader",
    "is_heif",
    "open_heif",
    "with_sign",
]

SUBFILE_TYPE, BITS, PHOTOMETRIC, PLANES, COLOUR_MAP = 254, 258, 262, 284, 320
SAMPLE_FORMAT, DNG_VERSION = 339, 50706
REDUCED, APART, COLOUR_FILTERS, SIGNED = 1, 2, 32803, (2,)
# What libtiff has unpacked is in the order of this machine, whatever the file's.
NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "I;32B": "I;32N", "F;32BF": "F;32NF"}
NATIVE |= {mode.replace("B", ""): native for mode, native in NATIVE.items()}

HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEAD_BYTES = 64
"""How much of a file tells its format."""
# ISO/IEC 23008-12, annex B: pictures coded with HEVC, and sequences of them.
BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
ANY_CODEC, AV1 = {b"mif1", b"msf1"}, {b"avif", b"avis"}


def check_camera_raw(image: Any, data: bytes) -> None:
    """Refuse cameras' raw files that are TIFF files too: their first picture is a preview."""
    tags = image.tag_v2
    is_preview = bool(int(tags.get(SUBFILE_TYPE, 0)) & REDUCED)
    is_raw = DNG_VERSION in tags or tags.get(PHOTOMETRIC) == COLOUR_FILTERS
    if is_preview or is_raw or data[8:10] == b"CR":
        raise ImageDecodeError(
            "a camera's raw file, or a TIFF file whose first picture is a preview, expected a "
            "finished picture; save it as TIFF or JPEG"
        )


def correct_tiff(image: Any) -> None:
    """Have an opened file's samples unpacked as what they are.

    These are colours of 16 bits in planes, one after the other, which Pillow unpacks as if they
    had 8; compressed samples of 32 bits, or with a sign, of the other order of bytes; and palettes
    of 8 bits, which old programs left where there should be 16, and which Pillow makes black.
    """
    tags = image.tag_v2
    order = ";16B" if tags.prefix == b"MM" else ";16L"
    are_planes = tags.get(PLANES) == APART and set(tags.get(BITS, ())) == {16}
    is_grey = image.mode.startswith("I;16")
    for i, tile in enumerate(image.tile):
        mode = mode_of(tile)
        if tile[0] == "libtiff":
            image.tile[i] = with_mode(tile, NATIVE.get(mode, mode))
        elif are_planes and len(mode) == 1:
            image.tile[i] = with_mode(tile, image.mode if is_grey else mode + order)
    colours = tags.get(COLOUR_MAP, ())
    if image.mode == "P" and max(colours, default=256) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def with_sign(image: Any) -> Any:
    """Return the loaded samples of 8 bits with their sign, which Pillow takes as if they had none.

    Any other image is returned as it is.
    """
    if image.mode != "L" or getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT) != SIGNED:
        return image
    return Image.fromarray(np.asarray(image).view(np.int8).astype(np.int32))


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


def is_heif(head: bytes) -> bool:
    """Say whether a file begins like a HEIF file that is not AVIF."""
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, end - 3, 4))}
    return bool(brands & BRANDS) or bool(brands & ANY_CODEC and not brands & AV1)


def has_heif_reader() -> bool:
    """Say whether pillow-heif is installed, without importing it."""
    return importlib.util.find_spec("pillow_heif") is not None


def open_heif(file: Any) -> Any:
    """Open a HEIF file as a Pillow image, without registering its plugin for the whole process."""
    return require("pillow_heif", extra="heic", purpose="HEIF").HeifImageFile(file, "")
