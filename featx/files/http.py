"""HTTP answers that cannot fill the memory: a server may send for ever, or zeros by gzip."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

__all__ = ["MAX_FILE_BYTES", "TooLargeError", "http_options"]

MAX_FILE_BYTES = 2 * 2**30
MAX_UNTOLD_BYTES = MAX_FILE_BYTES // 4
# A page is searched for links as text, which takes several times its size.
MAX_PAGE_BYTES = 64 * 2**20
PART_BYTES = 2**20


class TooLargeError(OSError):
    """More came than a file may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"it has more than {limit} bytes, expected at most that")


def http_options() -> dict[str, Any]:
    """Return options of fsspec's HTTP file system.

    Nothing is unpacked on the way in, where 1 MB of gzip becomes 1 GB at once. Servers are asked
    to pack nothing, and what comes packed all the same is unpacked bit by bit.
    """
    return {
        "client_kwargs": {
            "auto_decompress": False,
            "headers": {"Accept-Encoding": "identity"},
            "response_class": _response_class(),
        }
    }


@cache
def _response_class() -> type:
    import aiohttp

    class BoundedResponse(aiohttp.ClientResponse):
        """An answer whose body is read into memory up to a limit."""

        async def read(self) -> bytes:
            """Read a file of at most 2 GiB, and of 512 MiB where the server does not tell."""
            is_told = self.content_length is not None
            return await self._read(MAX_FILE_BYTES if is_told else MAX_UNTOLD_BYTES)

        async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
            """Read a page of at most 64 MiB."""
            await self._read(MAX_PAGE_BYTES)
            return await super().text(encoding, errors)

        async def _read(self, limit: int) -> bytes:
            if self._body is None:
                if (self.content_length or 0) > limit:
                    raise TooLargeError(limit)
                parts, n_bytes = [], 0
                unpack = _unpacker(self.headers.get("Content-Encoding", ""))
                async for part in self.content.iter_chunked(PART_BYTES):
                    for piece in unpack(part):
                        parts.append(piece)
                        n_bytes += len(piece)
                        if n_bytes > limit:
                            raise TooLargeError(limit)
                self._body = b"".join(parts)
            return self._body

    return BoundedResponse


def _unpacker(encoding: str) -> Any:
    """Return what yields the content of a part of an answer, in pieces of at most 1 MiB."""
    if encoding.strip().lower() in ("", "identity"):
        return lambda part: (part,)
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        raise OSError(f"it came packed by {encoding!r:.40}, expected plain bytes or gzip")
    packed = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip's header or zlib's

    def unpack(part: bytes) -> Any:
        while part:
            piece = packed.decompress(part, PART_BYTES)
            part = packed.unconsumed_tail
            if piece:
                yield piece

    return unpack
