"""A map that `featx serve` shows: of a page that `draw_map` made, the images that an index has."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import FingerprintMismatchError, ParameterError
from featx.files.kinds import kind_of
from featx.mapping._collection import collect
from featx.mapping._layout import TILES, find_rows, number_images
from featx.mapping._page import make_document, read_layout, render_shell
from featx.mapping._sheets import blank_tiles
from featx.retrieval import RetrievalIndex

__all__ = ["ServedMap", "read_map"]


@dataclass(frozen=True, eq=False)
class ServedMap:
    """What is sent of a map.

    Parameters
    ----------
    shell : str
        The page without data.
    policy : str
        Its content security policy.
    data : bytes
        JSON that its script asks for.
    sheets : dict of str to str
        Where each sheet of pictures is: a file, or a data URI.
    slots : frozenset of int
        Of the images that are there: no other picture is given away.
    """

    shell: str
    policy: str
    data: bytes
    sheets: dict[str, str]
    slots: frozenset[int]

    def read_sheet(self, number: str) -> bytes | None:
        """Return a sheet's JPEG, None where there is none."""
        place = self.sheets.get(number)
        if place is None:
            return None
        if place.startswith("data:"):
            data = base64.b64decode(place.partition(",")[2])
        elif Path(place).is_file():
            data = Path(place).read_bytes()
        else:
            return None
        first = int(number) * TILES
        return blank_tiles(data, [k for k in range(TILES) if first + k not in self.slots])


def read_map(
    path: str | os.PathLike[str],
    index: RetrievalIndex,
    *,
    describe: Callable[[int], tuple[str, str | None]],
) -> ServedMap:
    """Take of a map what an index has.

    Parameters
    ----------
    path : path
        A page of `draw_map`, with its pictures beside it.
    index : RetrievalIndex
        Images that are not in it are left out, those that are not on the map too.
    describe : callable
        Returns what the image of a row is asked for by, and what clients see of its path, if they
        do.

    Raises
    ------
    ParameterError
        If the file is no map, or the index has none of its images.
    FingerprintMismatchError
        If it is a map of another recipe.
    """
    page = Path(path)
    if not page.is_file() or kind_of(page)[0] != "map":
        raise ParameterError(f"map {os.fspath(path)!r}: expected a page made by featx map")
    layout, document = read_layout(page)
    images = collect(index, "index")
    if layout.recipe != images.recipe:
        raise FingerprintMismatchError(
            f"map {os.fspath(path)!r}: is of recipe {layout.recipe}, expected {images.recipe}, "
            "that of the index; draw it again with featx map"
        )
    rows = find_rows(layout.keys, number_images(images))
    there = np.flatnonzero(rows >= 0)
    if not len(there):
        raise ParameterError(
            f"map {os.fspath(path)!r}: has no image of the index; draw it again with featx map"
        )
    part = replace(layout, **{
        field: getattr(layout, field)[there] for field in ("keys", "places", "slots")
    })  # fmt: skip
    kept = [int(row) for row in rows[there]]
    names, paths = zip(*map(describe, kept), strict=True)
    more = {field: document[field] for field in ("tile_px", "across", "blank")}
    told: dict[str, Any] = make_document(
        part,
        None if None in paths else list(paths),
        tuple(images.labels[row] for row in kept),
        title="Map",
        names=list(names),
        **more,
    )  # fmt: skip
    del told["key"], told["series"], told["recipe"]
    shell, policy = render_shell("Map")
    sheets = {
        number: place if place.startswith("data:") else str(page.parent / place)
        for number, place in document["sheets"].items()
    }
    slots = frozenset(part.slots.tolist())
    return ServedMap(
        shell, policy, json.dumps(told, separators=(",", ":")).encode(), sheets, slots
    )
