"""Small pictures, 256 on a sheet, which is one JPEG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx._progress import Progress
from featx.images.decode import DEFAULT_MAX_PIXELS
from featx.images.loader import iter_batches
from featx.mapping._layout import TILES

__all__ = ["ACROSS", "TILE_PX", "Sheet", "blank_tiles", "iter_sheets"]

TILE_PX = 64
ACROSS = 16  # tiles of a sheet's row
QUALITY = 75
GREY = 127  # where there is no picture


@dataclass(frozen=True)
class Tile:
    """A preprocessor whose view is the middle of an image as a small square.

    Parameters
    ----------
    min_px : int, default 64
        A JPEG is decoded at 1/2, 1/4 or 1/8 as long as its shorter side stays at least this.
    max_pixels : int, default 178,956,970
        Largest image that is decoded.
    """

    min_px: int = TILE_PX
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __call__(self, image: Image.Image, /) -> tuple[NDArray[np.uint8], ...]:
        """Return an RGB image as an array of shape (64, 64, 3)."""
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        small = image.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
        return (np.asarray(small),)


@dataclass(frozen=True)
class Sheet:
    """Some pictures.

    Parameters
    ----------
    number : int
        Of the sheet.
    data : bytes
        A JPEG.
    blank : tuple of int
        Slots of images that could not be read.
    """

    number: int
    data: bytes
    blank: tuple[int, ...]


def iter_sheets(
    numbers: Sequence[int],
    paths: Sequence[str],
    slots: NDArray[np.int32],
    *,
    workers: int | None = None,
    progress: bool | None = None,
) -> Iterator[Sheet]:
    """Draw sheets, one after the other; holds one.

    Parameters
    ----------
    numbers : sequence of int
        The sheets to draw, rising.
    paths : sequence of str
        Of all images.
    slots : ndarray of shape (n_samples,), int32
        Their pictures' slots.
    workers : int, optional
        Reader processes; default one per core.
    progress : bool, optional
        As `Progress` takes it.
    """
    wanted = np.flatnonzero(np.isin(slots // TILES, numbers))
    order = wanted[np.argsort(slots[wanted], kind="stable")]
    tiles: dict[int, NDArray[np.uint8]] = {}
    blank: list[int] = []
    at = 0
    sources = [paths[row] for row in order]
    with Progress(len(order), "map: draw pictures", enabled=progress) as bar:
        for batch in iter_batches(sources, Tile(), batch_size=64, workers=workers):
            views = dict(
                zip(batch.good.tolist(), batch.views[0] if batch.views else (), strict=True)
            )
            for position in batch.rows.tolist():
                slot = int(slots[order[position]])
                if slot // TILES != at and (tiles or blank):
                    yield _make_sheet(at, tiles, blank)
                    tiles, blank = {}, []
                at = slot // TILES
                if position in views:
                    tiles[slot % TILES] = views[position]
                else:
                    blank.append(slot)
            bar.advance(len(batch.rows))
    if tiles or blank:
        yield _make_sheet(at, tiles, blank)


def blank_tiles(data: bytes, places: Sequence[int]) -> bytes:
    """Return a sheet without the pictures at some places; as it is where it has none there."""
    with Image.open(io.BytesIO(data)) as sheet:
        n_tiles = sheet.height // TILE_PX * ACROSS
        pixels = np.array(sheet)
    tiles = pixels.reshape(-1, TILE_PX, ACROSS, TILE_PX, 3).swapaxes(1, 2)
    inside = np.array([k for k in places if k < n_tiles], np.intp)
    shown = tiles[inside // ACROSS, inside % ACROSS]
    if (np.abs(shown.astype(np.int16) - GREY) < 24).all():  # JPEG lets neighbours bleed a little
        return data
    tiles[inside // ACROSS, inside % ACROSS] = GREY
    return _encode(pixels)


def _make_sheet(number: int, tiles: dict[int, NDArray[np.uint8]], blank: list[int]) -> Sheet:
    n_rows = max(tiles, default=0) // ACROSS + 1
    pixels = np.full((n_rows * TILE_PX, ACROSS * TILE_PX, 3), GREY, np.uint8)
    for place, tile in tiles.items():
        top, left = place // ACROSS * TILE_PX, place % ACROSS * TILE_PX
        pixels[top : top + TILE_PX, left : left + TILE_PX] = tile
    return Sheet(number, _encode(pixels), tuple(blank))


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()
