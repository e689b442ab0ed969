"""What Pillow makes of a TIFF file without a word that is not what the file says."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImagePalette

from featx.errors import ImageDecodeError
from featx.images._deep import mode_of, with_mode

__all__ = ["check_camera_raw", "correct_tiff", "with_sign"]

SUBFILE_TYPE, BITS, PHOTOMETRIC, PLANES, COLOUR_MAP = 254, 258, 262, 284, 320
SAMPLE_FORMAT, DNG_VERSION = 339, 50706
REDUCED, APART, COLOUR_FILTERS, SIGNED = 1, 2, 32803, (2,)
# What libtiff has unpacked is in the order of this machine, whatever the file's.
NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "I;32B": "I;32N", "F;32BF": "F;32NF"}
NATIVE |= {mode.replace("B", ""): native for mode, native in NATIVE.items()}


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
