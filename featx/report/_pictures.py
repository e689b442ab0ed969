"""Sections with pictures: the gallery of a search, mistakes, the map of an embedding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx._repr import show_confidence
from featx.errors import ParameterError
from featx.report._axes import colour_of
from featx.report._maps import PictureMap, lay_over, tell_maps
from featx.report._section import (
    ImagePath,
    Section,
    as_json,
    as_text,
    require_finite,
    require_length,
)
from featx.report._thumbnails import PictureSource, ThumbnailPress

__all__ = ["Card", "GalleryMatch", "GalleryRow", "Mistake", "cards_section", "gallery_section",
           "map_section", "mistakes_section"]  # fmt: skip

SIDE, MARGIN = 640, 30  # of the map's viewBox
MAP_THUMBNAIL_PX, MAP_THUMBNAIL_UNITS = 56, 40
MAX_MAP_THUMBNAILS, MAX_MAP_POINTS = 250, 4000
MAX_LEGEND = 40


@dataclass(frozen=True)
class Card:
    """A picture with its name and what is to be said of it.

    Parameters
    ----------
    image : path, bytes or PIL.Image.Image
        The image itself.
    lines : tuple of str, default ()
        What stands below it.
    other : path, bytes or PIL.Image.Image, optional
        An image to compare it with, shown beside it.
    map : PictureMap, optional
        Lies over the image, and can be switched off.
    """

    image: PictureSource
    lines: tuple[str, ...] = ()
    other: PictureSource | None = None
    map: PictureMap | None = None


@dataclass(frozen=True)
class GalleryMatch:
    """One found image.

    Parameters
    ----------
    image : path, bytes or PIL.Image.Image
        The image itself.
    distance : float or None, default None
        Shown below it.
    is_hit : bool or None, default None
        True gets a green border and a tick, False a red one and a cross, None neither.
    label : str, default ""
        What the image shows, if known.
    lines : tuple of str, default ()
        What else stands below it, such as metadata or its size.
    outline : tuple of (float, float), default ()
        Corners of a polygon that is drawn over the picture: x and y as shares of its width and
        height, from the upper left corner.
    """

    image: PictureSource
    distance: float | None = None
    is_hit: bool | None = None
    label: str = ""
    lines: tuple[str, ...] = ()
    outline: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class GalleryRow:
    """A query and what was found for it, best first.

    Parameters
    ----------
    query : path, bytes or PIL.Image.Image, or None
        The image that was asked for; None where there is none: the label then is a heading.
    matches : tuple of GalleryMatch
        The answer.
    label : str, default ""
        What the query shows, if known, or the words that were asked for.
    note : str, default ""
        What stands below the matches, such as how many were left out.
    outline : tuple of (float, float), default ()
        Corners of a polygon that is drawn over the query, as those of a match.
    """

    query: PictureSource | None
    matches: tuple[GalleryMatch, ...]
    label: str = ""
    note: str = ""
    outline: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Mistake:
    """An image with its true and its predicted label.

    Parameters
    ----------
    image : path, bytes or PIL.Image.Image
        The image itself.
    true, predicted : str
        Labels.
    score : float or None, default None
        How sure the classifier was, from 0 to 1.
    maps : tuple of PictureMap, default ()
        That of the predicted label, which lies over the image, and that of the true one over a
        copy beside it, if there is one; they can be switched off.
    """

    image: PictureSource
    true: str
    predicted: str
    score: float | None = None
    maps: tuple[PictureMap, ...] = ()


def cards_section(cards: Sequence[Card], press: ThumbnailPress, title: str, note: str) -> Section:
    """Lay out pictures with their names as a grid."""
    _require_all(cards, Card, "cards")
    shown, data = [], []
    for card in cards:
        pictures = [press.press(image) for image in (card.image, card.other) if image is not None]
        maps = () if card.map is None else (card.map,)
        over = lay_over(maps, pictures[0], press)
        shown.append({"pictures": pictures, "lines": card.lines, "maps": over})
        other = None if card.other is None else _path(card.other)
        told = {"path": _path(card.image), "other": other, "lines": list(card.lines)}
        data.append({**told, "maps": tell_maps(maps)} if maps else told)
    view = {"cards": shown, "note": note, "has_maps": any(card["maps"] for card in shown)}
    return Section("pictures", title, view, {"cards": data})


def gallery_section(rows: Sequence[GalleryRow], press: ThumbnailPress, title: str) -> Section:
    """Lay out a query and its matches per row."""
    _require_all(rows, GalleryRow, "rows")
    shown, data = [], []
    for row in rows:
        query = None if row.query is None else press.press(row.query)
        texts = {"label": row.label, "note": row.note}
        outline = "" if query is None else _place(row.outline, query)
        matches = [_show(m, press) for m in row.matches]
        shown.append({"query": query, "outline": outline, **texts, "matches": matches})
        path = None if row.query is None else _path(row.query)
        texts = {name: as_json(text) for name, text in texts.items()}
        data.append({"query": path, **texts, "matches": [_tell(m) for m in row.matches]})
    is_judged = any(m.is_hit is not None for row in rows for m in row.matches)
    return Section("gallery", title, {"rows": shown, "is_judged": is_judged}, {"rows": data})


def _show(match: GalleryMatch, press: ThumbnailPress) -> dict[str, Any]:
    """Return a match as the template has it."""
    picture = press.press(match.image)
    return {
        "picture": picture,
        "distance": None if match.distance is None else as_text(round(match.distance, 3)),
        "is_hit": match.is_hit,
        "label": match.label,
        "lines": match.lines,
        "outline": _place(match.outline, picture),
    }


def _place(outline: Sequence[tuple[float, float]], picture: Any) -> str:
    """Return the points of a polygon in a picture's pixels."""
    corners = require_finite(outline or np.empty((0, 2)), "outline", shape=(None, 2))
    places = (corners * (picture.width_px, picture.height_px)).round(1).tolist()
    return " ".join(f"{x},{y}" for x, y in places)


def _tell(match: GalleryMatch) -> dict[str, Any]:
    """Return a match as the JSON has it; what was not given is not there."""
    told = {
        "path": _path(match.image),
        "distance": as_json(match.distance),
        "is_hit": as_json(match.is_hit),
    }
    more = {"label": match.label, "lines": list(match.lines), "outline": match.outline}
    return told | {name: as_json(value) for name, value in more.items() if value}


def mistakes_section(
    mistakes: Sequence[Mistake], press: ThumbnailPress, title: str, note: str
) -> Section:
    """Lay out wrongly labelled images as a grid."""
    _require_all(mistakes, Mistake, "mistakes")
    shown, data = [], []
    for m in mistakes:
        score = None if m.score is None else show_confidence(m.score)
        labels = {"true": str(m.true), "predicted": str(m.predicted)}
        picture = press.press(m.image)
        maps = lay_over(m.maps, picture, press)
        shown.append({"picture": picture, **labels, "score": score, "maps": maps})
        labels = {"true": as_json(m.true), "predicted": as_json(m.predicted)}
        told = {"path": _path(m.image), **labels, "score": as_json(m.score)}
        data.append({**told, "maps": tell_maps(m.maps)} if m.maps else told)
    view = {"mistakes": shown, "note": note, "has_maps": any(m["maps"] for m in shown)}
    return Section("mistakes", title, view, {"mistakes": data})


def _require_all(values: Sequence[Any], kind: type, name: str) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise ParameterError(
                f"{name}: got {type(value).__name__}, expected {kind.__name__} objects"
            )


def map_section(
    points: Any,
    labels: Sequence[Any] | None,
    paths: Sequence[PictureSource] | None,
    press: ThumbnailPress,
    title: str,
) -> Section:
    """Lay out points of a plane, as thumbnails where they are few, else as dots."""
    xy = require_finite(points, "points", shape=(None, 2))
    n = len(xy)
    if n == 0:
        raise ParameterError("points: got shape (0, 2), expected at least one point")
    for name, values in (("labels", labels), ("paths", paths)):
        if values is not None:
            require_length(values, n, name, "points")
    texts = [str(v) for v in labels] if labels is not None else [""] * n
    colours = {name: colour_of(k) for k, name in enumerate(sorted(set(texts)))}
    low, span = xy.min(0), max(float(np.ptp(xy, axis=0).max()), 1e-12)
    room = SIDE - 2 * MARGIN
    offset = MARGIN + (room - np.ptp(xy, axis=0) / span * room) / 2
    shown = []
    # evenly over the table's order: sorted tables keep their classes in proportion
    for i in np.unique(np.linspace(0, n - 1, min(n, MAX_MAP_POINTS)).astype(int)).tolist():
        x, y = (xy[i] - low) / span * room + offset
        picture = None
        if paths is not None and n <= MAX_MAP_THUMBNAILS:
            picture = press.press(paths[i], side_px=MAP_THUMBNAIL_PX)
        point = {"x": round(x, 1), "y": round(SIDE - y, 1), "picture": picture}
        shown.append(point | {"label": texts[i], "colour": colours[texts[i]]})
    legend = list(colours.items())[:MAX_LEGEND] if labels is not None else []
    view = {
        "points": shown,
        "side": SIDE,
        "thumbnail": MAP_THUMBNAIL_UNITS,
        "n_points": n,
        "legend": legend,
        "n_unlisted": len(colours) - len(legend) if labels is not None else 0,
    }
    data = {
        "points": xy.tolist(),
        "labels": [as_json(v) for v in labels] if labels is not None else None,
        "paths": [_path(p) for p in paths] if paths is not None else None,
    }
    return Section("map", title, view, data)


def _path(source: PictureSource) -> str | None:
    return ImagePath(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else None
