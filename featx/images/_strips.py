"""Take an image a few rows at a time, so that what is made on the way to its RGB stays small."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PIL import Image

__all__ = ["convert_strips", "strips"]

STRIP_PIXELS = 2**18


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
