"""Uploaded images that are kept for a while, so that an address can name what was asked.

An image of the index may have the same content: its neighbours are without itself, those of an
upload with it. So the name of an upload says that it is one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

__all__ = ["Uploads"]


class Uploads:
    """The last uploads by name, which has the SHA-256 of their bytes, in memory alone.

    Parameters
    ----------
    max_bytes : int
        Bytes kept at most; the one that was asked for longest ago goes first.

    Examples
    --------
    >>> uploads = Uploads(max_bytes=5)
    >>> first, second = asyncio.run(uploads.keep(b"abc")), asyncio.run(uploads.keep(b"def"))
    >>> uploads.get(first), uploads.get(second)
    (None, b'def')
    >>> asyncio.run(uploads.keep(b"too large")) is None
    True
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._n_bytes = max_bytes, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def keep(self, data: bytes) -> str | None:
        """Keep an image and return its name; None if it is too large for that."""
        if len(data) > self._max_bytes:
            return None
        digest = await asyncio.to_thread(hashlib.sha256, data)  # some 25 ms for 20 MB
        name = f"upload-{digest.hexdigest()}"
        if self.get(name) is None:
            self._kept[name] = data
            self._n_bytes += len(data)
        while self._n_bytes > self._max_bytes:
            self._n_bytes -= len(self._kept.popitem(last=False)[1])
        return name

    def get(self, name: str) -> bytes | None:
        """Return an image that is still kept."""
        if name in self._kept:
            self._kept.move_to_end(name)
        return self._kept.get(name)
