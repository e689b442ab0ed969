"""Named points of two measures, and which of them no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from featx.errors import ParameterError
from featx.report._axes import Axes, colour_of, make_axis
from featx.report._labels import Box, place_labels
from featx.report._section import Section, as_text, require_finite

__all__ = ["ScatterPoint", "on_frontier", "scatter_section"]

UNBEATEN = "no other point is higher in both"


@dataclass(frozen=True)
class ScatterPoint:
    """One point of a scatter plot.

    Parameters
    ----------
    name : str
        Stands beside the point.
    x, y : float
        Finite.
    low, high : float or None, default None
        Interval of y, drawn as a whisker; both or neither.
    group : str, default ""
        Points of one group have one colour, and the legend names it.
    is_best : bool, optional
        Whether it counts as unbeaten, where noise decides; default by the numbers alone.
    """

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    group: str = ""
    is_best: bool | None = None


def scatter_section(
    points: Sequence[ScatterPoint],
    x_label: str,
    y_label: str,
    log_x: bool,
    frontier: bool | str,
    title: str,
) -> Section:
    """Lay out the points, their names and, where asked for, the frontier."""
    xy, spans = _check_points(points)
    axes = Axes(
        make_axis(xy[:, 0], name="points, x", is_log=log_x),
        make_axis(np.concatenate([xy[:, 1], spans[~np.isnan(spans)]]), name="points, y"),
    )
    groups = {str(name): k for k, name in enumerate(dict.fromkeys(p.group for p in points))}
    best = on_frontier(xy)
    best = np.array(
        [b if p.is_best is None else p.is_best for p, b in zip(points, best, strict=True)]
    )
    places = [axes.at(x, y) for x, y in xy]
    whiskers = [
        None if np.isnan(low) else (axes.at(x, low)[1], axes.at(x, high)[1])
        for (x, _), (low, high) in zip(xy, spans, strict=True)
    ]
    steps = xy[best]
    stairs = _stairs(axes, steps[on_frontier(steps)]) if frontier else []
    lines = [Box(px - 1, ends[1], px + 1, ends[0])
             for (px, _), ends in zip(places, whiskers, strict=True) if ends]  # fmt: skip
    lines += [Box(min(a, c) - 1, min(b, d) - 1, max(a, c) + 1, max(b, d) + 1)
              for (a, b), (c, d) in pairwise(stairs)]  # fmt: skip
    order = sorted(range(len(points)), key=lambda k: not best[k])  # the best are placed first
    texts = [str(points[k].name) for k in order]
    placed = place_labels(texts, [places[k] for k in order], lines, axes.left)
    labels = dict(zip(order, placed, strict=True))
    shown, data = [], []
    for k, p in enumerate(points):
        low, high = (None, None) if whiskers[k] is None else spans[k].tolist()
        span = "" if low is None else f" ({as_text(low)} to {as_text(high)})"
        shown.append({
            "name": str(p.name), "x": places[k][0], "y": places[k][1], "whisker": whiskers[k],
            "colour": colour_of(groups[str(p.group)]), "is_faint": bool(frontier) and not best[k],
            "numbers": f"{as_text(xy[k, 0])}, {as_text(xy[k, 1])}{span}", "label": labels[k],
        })  # fmt: skip
        data.append({
            "name": str(p.name), "x": xy[k, 0].item(), "y": xy[k, 1].item(), "low": low,
            "high": high, "group": str(p.group),
            "is_on_frontier": bool(best[k]) if frontier else None,
        })  # fmt: skip
    named = {  # groups of one point that has its name beside it
        str(p.group)
        for k, p in enumerate(points)
        if (label := labels[k]) is not None
        and label.text == str(p.name) == str(p.group)
        and sum(str(other.group) == str(p.group) for other in points) == 1
    }
    view = axes.view(x_label, y_label) | {
        "points": shown,
        "stairs": stairs,
        "frontier": UNBEATEN if frontier is True else frontier,
        "legend": [
            (name, colour_of(k)) for name, k in groups.items() if name and name not in named
        ],
        "unnamed": [(p["name"], p["numbers"]) for p in shown if p["label"] is None],
    }
    numbers = {"x_label": x_label, "y_label": y_label, "log_x": log_x, "points": data}
    return Section("scatter", title, view, numbers)


def on_frontier(xy: np.ndarray) -> np.ndarray:
    """Return which points, (n, 2), no other equals or beats in both measures and beats in one.

    Examples
    --------
    >>> on_frontier(np.array([[1, 3], [2, 2], [1, 2], [3, 1]])).tolist()
    [True, True, False, True]
    """
    x, y = xy.T
    is_least = (x[:, None] <= x) & (y[:, None] <= y) & ((x[:, None] < x) | (y[:, None] < y))
    return np.asarray(~is_least.any(axis=1))


def _stairs(axes: Axes, best: np.ndarray) -> list[tuple[float, float]]:
    """Return the corners of what can be had: for an x, the highest y from there on."""
    corners = []
    before = axes.x.low
    for x, y in best[np.lexsort((-best[:, 1], best[:, 0]))]:
        corners += [axes.at(before, y), axes.at(x, y)]
        before = x
    return [*corners, axes.at(before, axes.y.low)]


def _check_points(points: Sequence[ScatterPoint]) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 2) coordinates and (n, 2) intervals, NaN for none."""
    if not len(points):
        raise ParameterError("points: got none, expected at least one")
    spans: list[tuple[Any, Any]] = []
    for p in points:
        if not isinstance(p, ScatterPoint):
            raise ParameterError(f"points: got {type(p).__name__}, expected ScatterPoint objects")
        if p.low is None and p.high is None:
            spans.append((np.nan, np.nan))
            continue
        if p.low is None or p.high is None or not -np.inf < p.low <= p.high < np.inf:
            raise ParameterError(
                f"point {p.name!r}: interval is {(p.low, p.high)}, expected (low, high), both "
                "finite or both None"
            )
        spans.append((p.low, p.high))
    xy = require_finite([(p.x, p.y) for p in points], "points", shape=(len(points), 2))
    return xy, np.array(spans, dtype=np.float64)
