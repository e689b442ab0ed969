"""A small JPEG of an image, to be shown."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from featx.errors import ImageDecodeError, ManifestError
from featx.images.decode import decode_image, one_line
from featx.images.inputs import as_uint8_rgb

__all__ = ["Thumbnail", "require_pictures", "thumbnail_jpeg"]

QUALITY = 80
N_TRIED = 12


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG.

    Parameters
    ----------
    data : bytes
        The file.
    width_px, height_px : int
        Its size.
    """

    data: bytes
    width_px: int
    height_px: int


def thumbnail_jpeg(
    source: str | os.PathLike[str] | bytes | Image.Image, side_px: int
) -> Thumbnail:
    """Shrink an image to at most `side_px` on its longer side.

    Parameters
    ----------
    source : path, bytes or PIL.Image.Image
        A file, the content of one, or an image.
    side_px : int
        In pixels; about 5 kB at 128.

    Raises
    ------
    ImageDecodeError
        As `decode_image`.

    Examples
    --------
    >>> thumbnail = thumbnail_jpeg(Image.new("RGB", (400, 200)), 100)
    >>> thumbnail.width_px, thumbnail.height_px
    (100, 50)
    """
    if not isinstance(source, Image.Image):
        return _encode(decode_image(source, min_px=side_px), side_px)
    try:  # an image may decode only now, and Pillow's plugins raise nearly everything
        return _encode(Image.fromarray(as_uint8_rgb(source)), side_px)
    except Exception as err:
        raise ImageDecodeError(f"damaged or closed image: {one_line(err)}") from err


def _encode(image: Image.Image, side_px: int) -> Thumbnail:
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(file.getvalue(), image.width, image.height)


def require_pictures(paths: Sequence[str], thing: str) -> None:
    """Refuse images of which none can be shown: they were moved, or a disk is not there.

    Parameters
    ----------
    paths : sequence of str
        Files or URLs; twelve of them are tried, up to the first that can be read.
    thing : str
        What has the images, for the message.

    Raises
    ------
    ManifestError
        With the first image, and why it cannot be read.
    """
    step = max(len(paths) // N_TRIED, 1)
    tried = [str(path) for path in paths[::step]][:N_TRIED]
    reasons = []
    for path in tried:
        try:
            decode_image(path)
        except ImageDecodeError as err:
            reasons.append(str(err))
        else:
            return
    raise ManifestError(
        f"{thing}: none of {len(tried)} images that were tried can be read, such as {tried[0]!r} "
        f"({reasons[0]}); put the images back where they were, or extract the folder where they "
        "are now"
    )
