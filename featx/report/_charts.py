"""Geometry of bars, curves and precision-recall lines; the templates turn it into HTML and SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.errors import ParameterError, choose
from featx.report._axes import Axes, Axis, choose_ticks, colour_of, make_axis
from featx.report._labels import end_room, name_ends
from featx.report._section import Section, as_json, as_text, require_finite, require_length

__all__ = ["bars_section", "curve_section", "precision_recall_section"]

MAX_POINTS = 400  # of a precision-recall line; more are below a pixel
N_MARKS = 21  # of these that tell their values


def require_intervals(intervals: Any, n: int, name: str) -> np.ndarray:
    """Return (low, high) for each of n values, as float64 of shape (n, 2)."""
    array = require_finite(intervals, name, shape=(n, 2))
    if (wrong := np.flatnonzero(array[:, 0] > array[:, 1])).size:
        row = int(wrong[0])
        raise ParameterError(
            f"{name}: interval {row} is {tuple(array[row].tolist())}, expected (low, high)"
        )
    return array


def bars_section(
    names: Sequence[Any], values: Any, intervals: Any, limit: float | None, title: str
) -> Section:
    """Lay out one horizontal bar per name, with its interval as a whisker."""
    array = require_finite(values, "values", shape=(None,))
    require_length(names, len(array), "names", "values")
    spans = None
    if intervals is not None:
        spans = require_intervals(intervals, len(array), "intervals")
    if (array < 0).any():
        raise ParameterError(f"values: found {array.min():g}, expected bars of at least 0")
    if limit is not None and not 0 < limit < math.inf:
        raise ParameterError(f"limit: got {limit!r}, expected a finite number above 0")
    top = float(max([*array, *(spans[:, 1] if spans is not None else []), 1e-12]))
    limit = float(limit) if limit is not None else (1.0 if top <= 1 else choose_ticks(0, top)[-1])
    rows: list[dict[str, Any]] = []
    data = []
    for k, (name, value) in enumerate(zip(names, array.tolist(), strict=True)):
        low, high = spans[k].tolist() if spans is not None else (None, None)
        rows.append({"name": str(name), "value": as_text(value), "fill": _percent(value, limit)})
        if low is not None and high is not None:
            start, end = _percent(low, limit), _percent(high, limit)
            rows[-1] |= {"low": as_text(low), "high": as_text(high)}
            rows[-1] |= {"start": start, "span": round(end - start, 2)}
        data.append({"name": str(name), "value": value, "low": low, "high": high})
    return Section("bars", title, {"rows": rows, "limit": as_text(limit)}, {"bars": data})


def _percent(value: float, limit: float) -> float:
    return round(100 * min(max(value / limit, 0.0), 1.0), 2)


def curve_section(
    x: Any,
    curves: Mapping[str, Any],
    intervals: Mapping[str, Any] | None,
    x_label: str,
    y_label: str,
    log_x: bool,
    x_names: Sequence[Any] | None,
    title: str,
) -> Section:
    """Lay out lines over a common x axis, each with the band of its intervals."""
    xs = require_finite(x, "x", shape=(None,))
    if len(xs) == 0 or not curves:
        raise ParameterError(f"curves: got {len(xs)} points and {len(curves)} curves, expected 1+")
    ys = {k: require_finite(v, f"curves[{k!r}]", shape=(len(xs),)) for k, v in curves.items()}
    bands = {
        choose("intervals", k, ys): require_intervals(band, len(xs), f"intervals[{k!r}]")
        for k, band in (intervals or {}).items()
    }
    if x_names is not None:
        require_length(x_names, len(xs), "x_names", "x")
    order = np.argsort(xs, kind="stable")
    places = [f"{x:g}" for x in xs] if x_names is None else [str(name) for name in x_names]
    everything = np.concatenate([*ys.values(), *(band.ravel() for band in bands.values())])
    room = end_room([str(name) for name in ys])
    axes = Axes(_curve_axis(xs, log_x), make_axis(everything, name="curves"), room)
    at = axes.at
    lines, data = [], []
    for index, (name, values) in enumerate(ys.items()):
        band = bands.get(name)
        points = [(*at(xs[i], values[i]), places[i], as_text(values[i])) for i in order]
        edge = []
        if band is not None:
            edge = [at(xs[i], band[i, 1]) for i in order]
            edge += [at(xs[i], band[i, 0]) for i in order[::-1]]
        lines.append({"name": name, "colour": colour_of(index), "points": points, "band": edge})
        pairs = None if band is None else band.tolist()
        data.append({"name": name, "values": values.tolist(), "intervals": pairs})
    ends = _ends(lines, [str(line["name"]) for line in lines], axes) if room else []
    key = [] if x_names is None else [(f"{xs[i]:g}", places[i]) for i in order]
    view = axes.view(x_label, y_label) | {"lines": lines, "key": key, "ends": ends}
    numbers = {"x": xs.tolist(), "x_label": x_label, "y_label": y_label, "log_x": log_x,
               "x_names": None if x_names is None else [str(name) for name in x_names],
               "curves": data}  # fmt: skip
    return Section("curve", title, view, numbers)


def _ends(lines: Sequence[dict[str, Any]], names: Sequence[str], axes: Axes) -> Any:
    """Return where the names of lines stand."""
    last = [max(line["points"], key=lambda point: point[0])[:2] for line in lines]
    return name_ends(names, last, [line["colour"] for line in lines], axes.right)


def _curve_axis(xs: np.ndarray, is_log: bool) -> Axis:
    """Return an axis with ticks at the measured places: on a log axis, or where few and apart."""
    places = np.unique(xs)
    low, high = float(places[0]), float(places[-1])
    few = len(places) <= 8 and (len(places) == 1 or np.diff(places).min() > (high - low) / 14)
    if is_log:
        make_axis(places, name="x", is_log=True)  # refuses 0
    if is_log or few:
        return Axis(low, high, tuple(places.tolist()), is_log)
    return make_axis(places, name="x")


def precision_recall_section(
    curves: Mapping[str, tuple[Any, Any]], ap: Mapping[str, float] | None, title: str
) -> Section:
    """Lay out precision over recall, both from 0 to 1, one line per name."""
    if not curves:
        raise ParameterError("curves: got none, expected at least one name and its curve")
    for name in ap or {}:
        choose("ap", name, curves)
    unit = Axis(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    texts = {
        name: f"{name} {as_text(float(ap[name]))}" if ap and name in ap else name
        for name in curves
    }
    room = end_room([str(text) for text in texts.values()])
    axes = Axes(unit, unit, room)
    lines, data = [], []
    for index, (name, pair) in enumerate(curves.items()):
        recall, precision = _recall_and_precision(name, pair)
        value = (ap or {}).get(name)
        drawn = np.linspace(0, len(recall) - 1, min(len(recall), MAX_POINTS)).astype(int)
        points = [axes.at(recall[i], precision[i]) for i in drawn]
        text = "" if value is None else as_text(float(value))
        some = drawn[np.unique(np.linspace(0, len(drawn) - 1, N_MARKS).astype(int))]
        marks = [
            (*axes.at(recall[i], precision[i]),
             f"precision {as_text(precision[i])} at recall {as_text(recall[i])}")
            for i in some
        ]  # fmt: skip
        lines.append({"name": name, "colour": colour_of(index), "points": points, "ap": text,
                      "marks": marks})  # fmt: skip
        data.append({"name": name, "recall": recall.tolist(), "precision": precision.tolist(),
                     "ap": as_json(value)})  # fmt: skip
    ends = _ends(lines, [str(text) for text in texts.values()], axes) if room else []
    view = axes.view("recall", "precision") | {"lines": lines, "ends": ends}
    return Section("precision_recall", title, view, {"curves": data})


def _recall_and_precision(name: str, pair: Any) -> tuple[np.ndarray, np.ndarray]:
    if len(pair) != 2:
        raise ParameterError(
            f"curves[{name!r}]: got {len(pair)} arrays, expected (recall, precision)"
        )
    recall = require_finite(pair[0], f"recall of curves[{name!r}]", shape=(None,))
    precision = require_finite(pair[1], f"precision of curves[{name!r}]", shape=(len(recall),))
    if not len(recall):
        raise ParameterError(f"curves[{name!r}]: got no points, expected at least one")
    for what, values in (("recall", recall), ("precision", precision)):
        if values.min() < 0 or values.max() > 1:
            raise ParameterError(
                f"curves[{name!r}]: {what} from {values.min():g} to {values.max():g}, expected 0 "
                "to 1"
            )
    steps = np.diff(recall)
    if (steps > 0).any() and (steps < 0).any():
        raise ParameterError(
            f"curves[{name!r}]: recall rises and falls, expected (recall, precision) with recall "
            "in order; precision may have been given first"
        )
    return recall, precision
