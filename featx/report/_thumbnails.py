"""Small JPEGs inside the page, as data URIs, within a budget of bytes.

A picture that is missing, damaged or over the budget becomes a placeholder with the reason: a
report on 10,000 images must not fail, or grow to a gigabyte, because of its pictures.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass

from PIL import Image

from featx.errors import ImageDecodeError
from featx.images.thumbnail import thumbnail_jpeg
from featx.report._section import shorten_path

__all__ = ["PictureSource", "Thumbnail", "ThumbnailPress"]

PictureSource = str | os.PathLike[str] | bytes | Image.Image


@dataclass(frozen=True)
class Thumbnail:
    """A picture for the page: `uri` is empty for a placeholder, then `problem` says why."""

    name: str
    uri: str
    width_px: int
    height_px: int
    problem: str = ""


class ThumbnailPress:
    """Make thumbnails until the budget is spent.

    Parameters
    ----------
    side_px : int
        Longer side of a thumbnail.
    max_bytes : int
        Budget of embedded characters for all of them together.
    """

    def __init__(self, side_px: int, max_bytes: int) -> None:
        self.side_px, self.max_bytes = side_px, max_bytes
        self.n_embedded = self.n_missing = self.n_over_budget = self.used_bytes = 0
        self._made: dict[tuple[str, int], tuple[str, int, int]] = {}

    def press(self, source: PictureSource, *, side_px: int | None = None) -> Thumbnail:
        """Return the thumbnail of a file, a file's bytes or a PIL image."""
        side = side_px or self.side_px
        name = shorten_path(source) if isinstance(source, (str, os.PathLike)) else "image"
        if self.used_bytes >= self.max_bytes:
            self.n_over_budget += 1
            return _placeholder(name, side, "left out: the page is at its size limit")
        try:
            uri, width, height = self._encode_once(source, side)
        except ImageDecodeError as err:
            self.n_missing += 1
            return _placeholder(name, side, str(err))
        if self.used_bytes + len(uri) > self.max_bytes:
            self.n_over_budget += 1
            return _placeholder(name, side, "left out: the page is at its size limit")
        self.n_embedded += 1
        self.used_bytes += len(uri)
        return Thumbnail(name, uri, width, height)

    def take(self, n_bytes: int) -> bool:
        """Count what belongs to a picture; tell whether the budget has room for it."""
        if self.used_bytes + n_bytes > self.max_bytes:
            return False
        self.used_bytes += n_bytes
        return True

    def _encode_once(self, source: PictureSource, side: int) -> tuple[str, int, int]:
        if not isinstance(source, (str, os.PathLike)):
            return _encode(source, side)
        key = (os.fspath(source), side)
        if key not in self._made:
            self._made[key] = _encode(source, side)
        return self._made[key]


def _placeholder(name: str, side: int, problem: str) -> Thumbnail:
    return Thumbnail(name, "", side, side, problem)


def _encode(source: PictureSource, side: int) -> tuple[str, int, int]:
    made = thumbnail_jpeg(source, side)
    text = base64.b64encode(made.data).decode("ascii")
    return f"data:image/jpeg;base64,{text}", made.width_px, made.height_px
