"""Sections with pictures: the gallery of a search, mistakes, the map of an embedding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import ParameterError
from featx.report._axes import colour_of
from featx.report._section import (
    ImagePath,
    Section,
    number,
    plain,
    require_finite,
    require_length,
)
from featx.report._thumbnails import PictureSource, ThumbnailPress

__all__ = ["GalleryMatch", "GalleryRow", "Mistake", "gallery_section", "map_section",
           "mistakes_section"]  # fmt: skip

SIDE, MARGIN = 640, 30  # of the map's viewBox
MAP_THUMBNAIL_PX, MAP_THUMBNAIL_UNITS = 56, 40
MAX_MAP_THUMBNAILS, MAX_MAP_POINTS = 250, 4000
MAX_LEGEND = 40


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
    """

    image: PictureSource
    distance: float | None = None
    is_hit: bool | None = None


@dataclass(frozen=True)
class GalleryRow:
    """A query and what was found for it, best first.

    Parameters
    ----------
    query : path, bytes or PIL.Image.Image
        The image that was asked for.
    matches : tuple of GalleryMatch
        The answer.
    label : str, default ""
        What the query shows, if known.
    """

    query: PictureSource
    matches: tuple[GalleryMatch, ...]
    label: str = ""


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
        How sure the classifier was.
    """

    image: PictureSource
    true: str
    predicted: str
    score: float | None = None


def gallery_section(rows: Sequence[GalleryRow], press: ThumbnailPress, title: str) -> Section:
    """Lay out a query and its matches a row."""
    for row in rows:
        if not isinstance(row, GalleryRow):
            raise ParameterError(f"rows: got {type(row).__name__}, expected GalleryRow objects")
    shown = [
        {
            "query": press.press(row.query),
            "label": row.label,
            "matches": [
                {
                    "picture": press.press(m.image),
                    "distance": number(m.distance),
                    "is_hit": m.is_hit,
                }
                for m in row.matches
            ],
        }
        for row in rows
    ]
    data = [
        {
            "query": _name(row.query),
            "label": plain(row.label),
            "matches": [
                {"path": _name(m.image), "distance": plain(m.distance), "is_hit": plain(m.is_hit)}
                for m in row.matches
            ],
        }
        for row in rows
    ]
    judged = any(m.is_hit is not None for row in rows for m in row.matches)
    return Section("gallery", title, {"rows": shown, "is_judged": judged}, {"rows": data})


def mistakes_section(mistakes: Sequence[Mistake], press: ThumbnailPress, title: str) -> Section:
    """Lay out wrongly labelled images as a grid."""
    for mistake in mistakes:
        if not isinstance(mistake, Mistake):
            raise ParameterError(
                f"mistakes: got {type(mistake).__name__}, expected Mistake objects"
            )
    shown = [
        {
            "picture": press.press(m.image),
            "true": str(m.true),
            "predicted": str(m.predicted),
            "score": None if m.score is None else number(m.score),
        }
        for m in mistakes
    ]
    data = [
        {
            "path": _name(m.image),
            "true": plain(m.true),
            "predicted": plain(m.predicted),
            "score": plain(m.score),
        }
        for m in mistakes
    ]
    return Section("mistakes", title, {"mistakes": shown}, {"mistakes": data})


def map_section(
    points: Any,
    labels: Sequence[Any] | None,
    paths: Sequence[PictureSource] | None,
    press: ThumbnailPress,
    title: str,
) -> Section:
    """Lay out points of a plane, as thumbnails where they are few, else as dots."""
    xy = require_finite(points, "points", shape=(None, 2))
    if len(xy) == 0:
        raise ParameterError("points: got shape (0, 2), expected at least one point")
    if labels is not None:
        require_length(labels, len(xy), "labels", "points")
    if paths is not None:
        require_length(paths, len(xy), "paths", "points")
    texts = [str(v) for v in labels] if labels is not None else [""] * len(xy)
    groups = {name: k for k, name in enumerate(sorted(set(texts)))}
    # evenly over the table's order: sorted tables keep their classes in proportion
    chosen = np.unique(np.linspace(0, len(xy) - 1, min(len(xy), MAX_MAP_POINTS)).astype(int))
    with_pictures = paths is not None and len(xy) <= MAX_MAP_THUMBNAILS
    low, span = xy.min(0), max(float(np.ptp(xy, axis=0).max()), 1e-12)
    room = SIDE - 2 * MARGIN
    offset = MARGIN + (room - np.ptp(xy, axis=0) / span * room) / 2
    shown = []
    for i in chosen.tolist():
        x, y = (xy[i] - low) / span * room + offset
        picture = None
        if with_pictures and paths is not None:
            picture = press.press(paths[i], side_px=MAP_THUMBNAIL_PX)
        colour = colour_of(groups[texts[i]])
        shown.append({"x": round(x, 1), "y": round(SIDE - y, 1), "label": texts[i],
                      "colour": colour, "picture": picture})  # fmt: skip
    names = list(groups)[:MAX_LEGEND] if labels is not None else []
    view = {
        "points": shown,
        "side": SIDE,
        "thumbnail": MAP_THUMBNAIL_UNITS,
        "n_points": len(xy),
        "legend": [(name, colour_of(groups[name])) for name in names],
        "n_unlisted": len(groups) - len(names) if labels is not None else 0,
    }
    data = {
        "points": xy.tolist(),
        "labels": [plain(v) for v in labels] if labels is not None else None,
        "paths": [_name(p) for p in paths] if paths is not None else None,
    }
    return Section("map", title, view, data)


def _name(source: PictureSource) -> str | None:
    return ImagePath(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else None
