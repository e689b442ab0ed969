"""Images decoded in processes of their own, which are ended at a limit.

An image of a megabyte can keep a decoder busy for hours, and a thread cannot be stopped. So
each decoder is a reader process of `featx.images`, with a limit of time and memory, and no client
gets all of them.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.errors import ImageDecodeError
from featx.images.pool import TOO_LONG, ReaderPool
from featx.images.reader import Preprocessor
from featx.images.thumbnail import thumbnail_jpeg
from featx.serve._limits import Shares

__all__ = ["Decoder", "Thumbnails", "Views"]

Views: TypeAlias = tuple[NDArray[Any], ...]

N_READERS, QUICK_S = 4, 1.0
N_SLOW_READERS, DECODE_S = 2, 10.0
# What Python, Pillow and numpy take, and what the conversions take per pixel.
READER_BYTES = 2**29
PIXEL_BYTES = 12
THUMBNAIL_PX = 288  # twice what the page shows, for displays of high density
LARGE_PX = 1600
MAX_THUMBNAILS = 1000  # kept, about 15 kB each
MAX_LARGE = 40  # of about 300 kB
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
MAX_REASON_CHARS = 200


class Decoder:
    """Reader processes for many clients, started when they are needed.

    Nearly every image takes a tenth of a second. One that takes more than a second starts
    again on readers for slow images, so that later ones do not wait.

    Parameters
    ----------
    preprocessor : Preprocessor
        What becomes of a decoded image, in the reader.
    """

    def __init__(self, preprocessor: Preprocessor) -> None:
        memory_bytes = READER_BYTES + PIXEL_BYTES * preprocessor.max_pixels
        self._lanes = [
            # a second try would hold another reader as long
            (
                ReaderPool(preprocessor, n, seconds, memory_bytes=memory_bytes, tries=1),
                Shares(n - 1),
            )
            for n, seconds in ((N_READERS, QUICK_S), (N_SLOW_READERS, DECODE_S))
        ]

    async def read(self, source: str | bytes, client: str) -> Views:
        """Decode a file, or the bytes of one.

        Raises
        ------
        ImageDecodeError
            With one line that says why, whatever the bytes are.
        """
        reason = ""
        for pool, shares in self._lanes:
            async with shares.of(client):
                [found] = await asyncio.wrap_future(pool.submit([source]))
            if found.views is not None:
                return found.views
            reason = found.error or ""
            if not reason.startswith(TOO_LONG):
                break
        raise ImageDecodeError(ADDRESS.sub("", reason)[:MAX_REASON_CHARS])

    def close(self) -> None:
        """End the readers, whatever they are doing."""
        for pool, _ in self._lanes:
            pool.close()


@dataclass(frozen=True)
class _ThumbnailMaker:
    """What makes a JPEG of a decoded image; to a reader its bytes are one more array."""

    max_pixels: int
    min_px: int

    def __call__(self, image: Image.Image) -> Views:
        data = thumbnail_jpeg(image, self.min_px).data
        return (np.frombuffer(data, np.uint8),)


class Thumbnails:
    """Small JPEGs of images, the last ones kept.

    Parameters
    ----------
    max_pixels : int
        Largest width x height of an image.
    px : int
        Longer side of a JPEG at most.
    n_kept : int
        How many are kept.
    """

    def __init__(
        self, max_pixels: int, px: int = THUMBNAIL_PX, n_kept: int = MAX_THUMBNAILS
    ) -> None:
        self._decoder = Decoder(_ThumbnailMaker(max_pixels, px))
        self._n_kept = n_kept
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def clear(self) -> None:
        """Forget what is kept: files may have changed."""
        self._kept.clear()

    async def of(self, source: str | bytes, client: str) -> bytes:
        """Return the JPEG of a file or URL, or of the bytes of one.

        Raises
        ------
        ImageDecodeError
            If it cannot be had.
        """
        if isinstance(source, bytes):  # kept by whoever has them
            [data] = await self._decoder.read(source, client)
            return data.tobytes()
        if source not in self._kept:
            [data] = await self._decoder.read(source, client)
            self._kept[source] = data.tobytes()
        self._kept.move_to_end(source)
        jpeg = self._kept[source]
        while len(self._kept) > self._n_kept:
            self._kept.popitem(last=False)
        return jpeg

    def close(self) -> None:
        """End the readers."""
        self._decoder.close()
