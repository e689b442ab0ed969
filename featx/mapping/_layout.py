"""Where each image lies on the map, and in which order pictures are loaded.

Places are whole numbers of a grid, so that a kept one is the same number ever after.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.mapping._collection import Collection
from featx.mapping.projection import lay_out, place, reduce_features, require_library

__all__ = ["TILES", "Layout", "find_rows", "make_layout", "number_images"]

SIDE = 2**16
MARGIN = 0.02  # of the side
TILES = 256  # pictures of a sheet
GRIDS = (32, 64, 128, 256)  # cells along a side, of which one picture each is loaded first
APART = 24  # of the side: images at one place are laid in a spiral of this step
GOLDEN_ANGLE = 2.399963


@dataclass(frozen=True, eq=False)
class Layout:
    """A map without its pictures.

    Parameters
    ----------
    recipe : str
        Of the features.
    keys : ndarray of shape (n_samples,), uint64
        Which image it is: of its content, or where that is unknown of its path.
    places : ndarray of shape (n_samples, 2), uint16
        x to the right, y downwards.
    slots : ndarray of shape (n_samples,), int32
        Which picture is whose: picture s is on sheet s // 256.
    levels : tuple of int
        Slots below the first of these have a picture of each of 32 x 32 cells, below the second
        one of 64 x 64, and so on: those are loaded first.
    series : str
        Tells the pictures of one map from another's.
    first_new : int
        Slots from here on came last.
    """

    recipe: str
    keys: NDArray[np.uint64]
    places: NDArray[np.uint16]
    slots: NDArray[np.int32]
    levels: tuple[int, ...]
    series: str
    first_new: int = 0

    @property
    def n_new(self) -> int:
        """Images that came last."""
        return int((self.slots >= self.first_new).sum())


def number_images(collection: Collection) -> NDArray[np.uint64]:
    """Return a number for each image, by its content where that is known."""
    names = zip(collection.digests, collection.ids, strict=True)
    texts = [(digest or f"path:{name}").encode("utf-8", "surrogatepass") for digest, name in names]
    return np.array([int.from_bytes(sha256(t).digest()[:8], "little") for t in texts], np.uint64)


def make_layout(
    collection: Collection,
    kept: Layout | None = None,
    *,
    random_state: int = 0,
    progress: bool | None = None,
) -> Layout:
    """Lay a collection out, or what is new of it among what is kept.

    Parameters
    ----------
    collection : Collection
    kept : Layout, optional
        An older map of the same recipe. Its images stay where they are.
    random_state : int, default 0
    progress : bool, optional
        As `Progress` takes it.
    """
    keys = number_images(collection)
    rows = find_rows(keys, None if kept is None else kept.keys)
    is_new = rows < 0
    if kept is None or is_new.all():
        require_library(len(collection))
        components = reduce_features(collection.iter_blocks, len(collection))
        flat = lay_out(components, random_state=random_state, progress=progress)
        places = _spread(_to_grid(flat))
        slots, levels = _order(places)
        series = sha256(keys.tobytes() + places.tobytes()).hexdigest()[:8]
        return Layout(collection.recipe, keys, places, slots, levels, series)
    places, slots = kept.places[rows], kept.slots[rows]
    first_new = (int(kept.slots.max()) // TILES + 1) * TILES  # sheets that are there stay
    if is_new.any():
        components = reduce_features(collection.iter_blocks, len(collection))
        new = place(components[is_new], components[~is_new], places[~is_new])
        places[is_new] = _spread(new, places[~is_new])
        slots[is_new] = first_new + np.arange(is_new.sum())
    return Layout(
        collection.recipe, keys, places, slots, kept.levels, kept.series, first_new
    )  # fmt: skip


def find_rows(keys: NDArray[np.uint64], among: NDArray[np.uint64] | None) -> NDArray[np.intp]:
    """Return where each image is among others, -1 where it is not."""
    if among is None or not len(among):
        return np.full(len(keys), -1, np.intp)
    order = np.argsort(among, kind="stable")
    at = np.minimum(np.searchsorted(among, keys, sorter=order), len(order) - 1)
    return np.where(among[order[at]] == keys, order[at], -1)


def _to_grid(flat: NDArray[Any]) -> NDArray[np.uint16]:
    """Scale to the grid, both axes alike, with a margin."""
    low, high = flat.min(axis=0).astype(np.float64), flat.max(axis=0).astype(np.float64)
    span = float((high - low).max()) or 1.0
    shares = (flat - (low + high) / 2) / span * (1 - 2 * MARGIN) + 0.5
    shares[:, 1] = 1 - shares[:, 1]
    grid: NDArray[np.uint16] = np.round(shares * (SIDE - 1)).astype(np.uint16)
    return grid


def _spread(
    places: NDArray[np.uint16], taken: NDArray[np.uint16] | None = None
) -> NDArray[np.uint16]:
    """Lay images that would lie on each other, or on those that lie there, in a spiral."""
    before = np.empty((0, 2), np.uint16) if taken is None else taken
    every = np.concatenate([before, places])
    _, inverse, counts = np.unique(every, axis=0, return_inverse=True, return_counts=True)
    spots = inverse.reshape(-1)
    order = np.argsort(spots, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(every), np.int64)
    rank[order] = np.arange(len(every)) - np.repeat(starts, counts)
    angle, radius = GOLDEN_ANGLE * rank, APART * np.sqrt(rank)
    moved = every + (radius * np.array([np.cos(angle), np.sin(angle)])).T
    spread: NDArray[np.uint16] = np.clip(np.round(moved), 0, SIDE - 1).astype(np.uint16)
    return spread[len(before) :]


def _order(places: NDArray[np.uint16]) -> tuple[NDArray[np.int32], tuple[int, ...]]:
    """Return slots: a few pictures of everywhere first, and neighbours on the same sheets."""
    n = len(places)
    level = np.full(n, len(GRIDS))
    for number, grid in enumerate(GRIDS):
        cells = (places.astype(np.int64) * grid) // SIDE
        cell = cells[:, 0] * grid + cells[:, 1]
        is_covered = np.isin(cell, cell[level < number])
        free = np.flatnonzero((level == len(GRIDS)) & ~is_covered)
        _, first = np.unique(cell[free], return_index=True)
        level[free[first]] = number
    order = np.lexsort((_along_curve(places), level))
    slots = np.empty(n, np.int32)
    slots[order] = np.arange(n)
    levels = np.cumsum(np.bincount(level, minlength=len(GRIDS) + 1))[: len(GRIDS)]
    return slots, tuple(levels.tolist())


def _along_curve(places: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """Return where places lie on the Z-order curve (Morton 1966): near ones are mostly near."""
    return _part(places[:, 0]) | (_part(places[:, 1]) << np.uint64(1))


def _part(values: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """Put a zero between the bits."""
    bits = values.astype(np.uint64)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
    return bits
