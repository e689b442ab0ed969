"""Geometry of the bars and the curve; the templates turn it into HTML and SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.errors import ParameterError
from featx.report._section import Section, number, require_finite, require_length

__all__ = ["bars_section", "colour_of", "curve_section", "ticks"]

WIDTH, HEIGHT = 480, 300  # of the curve's viewBox; text of 13 units stays readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44
GOLDEN_ANGLE = 137.508


def colour_of(index: int) -> str:
    """Return a hue for the index-th group; the golden angle keeps neighbours apart."""
    return f"hsl({(215 + index * GOLDEN_ANGLE) % 360:.0f} 62% 52%)"


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return about n round numbers from at most `low` to at least `high`.

    Examples
    --------
    >>> ticks(0.52, 0.98)
    [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    raw = span / n
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(s * size for s in (1, 2, 2.5, 5, 10) if s * size >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 1 - round(math.log10(size))  # 2.5 has one more than its size
    return [round(k * step, digits) for k in range(first, max(last, first + 1) + 1)]


def _intervals(intervals: Any, n: int, name: str) -> np.ndarray | None:
    if intervals is None:
        return None
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
    """Lay out one horizontal bar a name, with its interval as a whisker."""
    array = require_finite(values, "values", shape=(None,))
    require_length(names, len(array), "names", "values")
    spans = _intervals(intervals, len(array), "intervals")
    if (array < 0).any():
        raise ParameterError(f"values: found {array.min():g}, expected bars of at least 0")
    if limit is not None and not 0 < limit < math.inf:
        raise ParameterError(f"limit: got {limit!r}, expected a finite number above 0")
    top = float(max([*array, *(spans[:, 1] if spans is not None else []), 1e-12]))
    limit = float(limit) if limit is not None else (1.0 if top <= 1 else ticks(0, top)[-1])
    rows, data = [], []
    for k, (name, value) in enumerate(zip(names, array.tolist(), strict=True)):
        low, high = spans[k].tolist() if spans is not None else (None, None)
        row = {"name": str(name), "value": number(value), "fill": _percent(value, limit)}
        if low is not None and high is not None:
            start = _percent(low, limit)
            row |= {"low": number(low), "high": number(high), "start": start}
            row |= {"span": round(_percent(high, limit) - start, 2)}
        rows.append(row)
        data.append({"name": str(name), "value": value, "low": low, "high": high})
    return Section("bars", title, {"rows": rows, "limit": number(limit)}, {"bars": data})


def _percent(value: float, limit: float) -> float:
    return round(100 * min(max(value / limit, 0.0), 1.0), 2)


def curve_section(
    x: Any,
    curves: Mapping[str, Any],
    intervals: Mapping[str, Any] | None,
    x_label: str,
    y_label: str,
    title: str,
) -> Section:
    """Lay out lines over a common x axis, each with the band of its intervals."""
    xs = require_finite(x, "x", shape=(None,))
    if len(xs) == 0 or not curves:
        raise ParameterError(f"curves: got {len(xs)} points and {len(curves)} curves, expected 1+")
    ys = {k: require_finite(v, f"curves[{k!r}]", shape=(len(xs),)) for k, v in curves.items()}
    bands = {}
    for k, band in (intervals or {}).items():
        if k not in ys:
            raise ParameterError(f"intervals: got {k!r}, expected one of {sorted(ys)}")
        bands[k] = _intervals(band, len(xs), f"intervals[{k!r}]")
    order = np.argsort(xs, kind="stable")
    everything = np.concatenate(
        [*ys.values(), *(b.ravel() for b in bands.values() if b is not None)]
    )
    y_ticks, x_ticks = ticks(everything.min(), everything.max()), _x_ticks(xs[order])

    def at(px: float, py: float) -> tuple[float, float]:
        u = _share(px, min(x_ticks[0], xs.min()), max(x_ticks[-1], xs.max()))
        v = _share(py, y_ticks[0], y_ticks[-1])
        return (
            round(LEFT + u * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - v * (HEIGHT - TOP - BOTTOM), 1),
        )

    lines, data = [], []
    for index, (name, values) in enumerate(ys.items()):
        band = bands.get(name)
        points = [(*at(xs[i], values[i]), number(xs[i]), number(values[i])) for i in order]
        edge = [at(xs[i], band[i, 1]) for i in order] if band is not None else []
        edge += [at(xs[i], band[i, 0]) for i in order[::-1]] if band is not None else []
        lines.append({"name": name, "colour": colour_of(index), "points": points, "band": edge})
        pairs = band.tolist() if band is not None else None
        data.append({"name": name, "values": values.tolist(), "intervals": pairs})
    view = {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT,
        "top": TOP, "bottom": HEIGHT - BOTTOM, "x_label": x_label, "y_label": y_label,
        "x_ticks": [(at(t, y_ticks[0])[0], f"{t:g}") for t in x_ticks],
        "y_ticks": [(at(x_ticks[0], t)[1], f"{t:g}") for t in y_ticks],
        "lines": lines,
    }  # fmt: skip
    numbers = {"x": xs.tolist(), "x_label": x_label, "y_label": y_label, "curves": data}
    return Section("curve", title, view, numbers)


def _x_ticks(xs: np.ndarray) -> list[float]:
    """Return the measured places themselves where they are few and apart, else round numbers."""
    places = np.unique(xs)
    span = places[-1] - places[0]
    if len(places) <= 8 and (len(places) == 1 or np.diff(places).min() > span / 14):
        return [float(p) for p in places]
    return ticks(float(places[0]), float(places[-1]))


def _share(value: float, low: float, high: float) -> float:
    return float((value - low) / (high - low)) if high > low else 0.5
