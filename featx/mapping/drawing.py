"""`draw_map`: from a store or an index to a page that shows every image."""

from __future__ import annotations

import base64
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx._repr import FieldTable
from featx.errors import ParameterError, StoreWriteError
from featx.files.atomic import replacing
from featx.files.outputs import check_output, write_output
from featx.files.paths import show_path
from featx.images.join import join_labels
from featx.mapping._collection import Collection, open_collection
from featx.mapping._layout import TILES, Layout, make_layout
from featx.mapping._page import make_document, read_layout, relative_paths, render_page
from featx.mapping._sheets import ACROSS, TILE_PX, iter_sheets
from featx.retrieval import RetrievalIndex
from featx.store import FeatureStore

__all__ = ["MapSummary", "draw_map"]

MAX_INSIDE = 4000  # pictures inside the page, about 1.3 kB each; more are files beside it
SUFFIXES = (".html", ".htm")
INSIDE = "data:image/jpeg;base64,"
SHEET_NAME = re.compile(r"[0-9a-f]{8}-\d{5}\.jpg")


@dataclass(frozen=True, repr=False)
class MapSummary(FieldTable):
    """What was drawn.

    Parameters
    ----------
    n_samples : int
        Images on the map.
    n_new : int
        Those that an older map in its place did not have; all where there was none.
    n_without_picture : int
        Those whose file is gone or unreadable: they are points.
    n_labelled : int
        Those with a label.
    is_kept : bool
        Whether an older map's places were kept.
    html : str
        The page.
    n_bytes : int
        Of the page and of the pictures beside it.
    seconds : float
        In all.
    """

    n_samples: int
    n_new: int
    n_without_picture: int
    n_labelled: int
    is_kept: bool
    html: str
    n_bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def draw_map(
    source: FeatureStore | RetrievalIndex | str | os.PathLike[str],
    html: str | os.PathLike[str],
    *,
    labels: Any = None,
    table: str | None = None,
    anew: bool = False,
    workers: int | None = None,
    random_state: int = 0,
    progress: bool | None = None,
) -> MapSummary:
    """Draw a page that shows all images in two dimensions, near each other where they are alike.

    Where `html` is a map of the same recipe, its images stay exactly where they are, and the
    others are placed among them.

    Parameters
    ----------
    source : FeatureStore, RetrievalIndex or path of one
        The images' features, and paths.
    html : path
        Ends in ``.html``. Over 4,000 images have their pictures beside it, in a folder of its name
        with ``_files`` for the ending.
    labels : path, data frame or mapping, optional
        A label file, joined by path. Default: the labels of the source.
    table : str, optional
        Of a store with several tables, enough of a fingerprint's start.
    anew : bool, default False
        Whether to forget the places of an older map.
    workers : int, optional
        Processes that read images; default one per core.
    random_state : int, default 0
        For the projection.
    progress : bool, optional
        None shows progress where it takes long, False never.

    Returns
    -------
    MapSummary

    Raises
    ------
    ParameterError
        If the source has no images or no vectors, or `html` has another ending.
    StoreWriteError
        If `html` is not a map, or the folder beside it has other files.
    MissingDependencyError
        For more than 3,000 images, if openTSNE is not installed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featx.store import write_features
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = write_features(folder / "f.h5", np.eye(3), paths=["a.jpg", "b.jpg", "c.jpg"])
    >>> summary = draw_map(folder / "f.h5", folder / "map.html")
    >>> summary.n_samples, summary.n_without_picture
    (3, 3)
    """
    start = time.monotonic()
    if Path(html).suffix.lower() not in SUFFIXES:
        raise ParameterError(
            f"map {os.fspath(html)!r}: got the ending {Path(html).suffix!r}, expected '.html'"
        )
    inputs = [source] if isinstance(source, (str, os.PathLike)) else []
    target = check_output(html, "map", inputs=inputs)
    folder = target.with_name(f"{target.stem}_files")
    _check_folder(folder)
    with open_collection(source, table=table) as collection:
        shown = collection.labels if labels is None else _join(collection, labels)
        kept, before = _read_kept(target, collection, anew)
        layout = make_layout(collection, kept, random_state=random_state, progress=progress)
    sheets, blank, n_bytes = _draw_sheets(
        layout, collection.ids, folder, before, workers=workers, progress=progress
    )
    n_blank = int(np.isin(layout.slots, blank).sum())
    document = make_document(
        layout,
        relative_paths(collection.ids, target.parent),
        shown,
        title=f"Map of {Path(collection.name).name}",
        tile_px=TILE_PX,
        across=ACROSS,
        blank=blank,
        sheets=sheets,
    )
    page = show_path(render_page(document)).encode()
    with write_output(target, "map", inputs=inputs) as beside:
        beside.write_bytes(page)
    _remove_old(folder, layout.series)
    return MapSummary(
        len(collection),
        layout.n_new,
        n_blank,
        sum(map(bool, shown)),
        kept is not None and layout.series == kept.series,
        os.fspath(html),
        len(page) + n_bytes,
        time.monotonic() - start,
    )


def _join(collection: Collection, labels: Any) -> tuple[str, ...]:
    """Return a label for each image, "" for none."""
    joined = join_labels(collection.ids, labels)
    if joined.labels is None:
        raise ParameterError(
            f"{joined.table.thing}: has the columns {list(joined.columns)}, expected 'label'"
        )
    found = [""] * len(collection)
    for row, label in zip(joined.rows.tolist(), joined.labels, strict=True):
        found[row] = label
    return tuple(found)


def _read_kept(
    target: Path, collection: Collection, anew: bool
) -> tuple[Layout | None, dict[str, Any]]:
    """Return the layout that the target keeps of the same recipe, and its document."""
    if anew or not target.is_file() or not target.stat().st_size:
        return None, {}
    layout, document = read_layout(target)
    return (layout, document) if layout.recipe == collection.recipe else (None, {})


def _draw_sheets(
    layout: Layout,
    ids: tuple[str, ...],
    folder: Path,
    before: dict[str, Any],
    *,
    workers: int | None,
    progress: bool | None,
) -> tuple[dict[int, str], list[int], int]:
    """Return where each sheet is, the slots without a picture, and the bytes of files.

    Sheets that an older map has are taken from it.
    """
    numbers = np.unique(layout.slots // TILES).tolist()
    is_inside = len(ids) <= MAX_INSIDE
    sheets = _kept_sheets(layout, numbers, folder, before, is_inside=is_inside)
    blank = [slot for slot in before.get("blank", ()) if slot // TILES in sheets]
    left = [number for number in numbers if number not in sheets]
    if not is_inside:
        folder.mkdir(exist_ok=True)
    for sheet in iter_sheets(left, ids, layout.slots, workers=workers, progress=progress):
        blank += sheet.blank
        if is_inside:
            sheets[sheet.number] = f"{INSIDE}{base64.b64encode(sheet.data).decode()}"
            continue
        name = f"{layout.series}-{sheet.number:05}.jpg"
        with replacing(folder / name) as beside:
            beside.write_bytes(sheet.data)
        sheets[sheet.number] = f"{folder.name}/{name}"
    files = [] if is_inside else [folder.parent / place for place in sheets.values()]
    return sheets, blank, sum(file.stat().st_size for file in files)


def _kept_sheets(
    layout: Layout, numbers: list[int], folder: Path, before: dict[str, Any], *, is_inside: bool
) -> dict[int, str]:
    """Return where an older map has sheets of the same pictures, in the same way."""
    if before.get("series") != layout.series:
        return {}
    kept = {n: before["sheets"][str(n)] for n in numbers if str(n) in before["sheets"]}
    if is_inside:
        return {n: place for n, place in kept.items() if place.startswith(INSIDE)}
    names = {n: Path(place).name for n, place in kept.items() if not place.startswith(INSIDE)}
    return {n: f"{folder.name}/{name}" for n, name in names.items() if (folder / name).is_file()}


def _check_folder(folder: Path) -> None:
    """Refuse a folder of pictures that has anything else in it."""
    if not os.path.lexists(folder):
        return
    names = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else [folder.name]
    others = [name for name in names if not SHEET_NAME.fullmatch(name)]
    if others:
        raise StoreWriteError(
            f"folder {str(folder)!r}: has {others[0]!r}, expected only the pictures of a map; "
            "choose another name for the page"
        )


def _remove_old(folder: Path, series: str) -> None:
    """Remove pictures that no page shows any more."""
    if folder.is_dir():
        for entry in os.scandir(folder):
            if not entry.name.startswith(f"{series}-"):
                Path(entry.path).unlink(missing_ok=True)
