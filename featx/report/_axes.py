"""Axes of the charts: where a value lies, and which ticks stand beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import ParameterError

__all__ = ["BOTTOM", "HEIGHT", "WIDTH", "Axes", "Axis", "choose_log_ticks", "choose_ticks",
           "colour_of", "make_axis"]  # fmt: skip

WIDTH, HEIGHT = 480, 300  # of the viewBox
TOP, BOTTOM = 14, 48
LEAST_LEFT, LEAST_RIGHT = 58, 14
GOLDEN_ANGLE = 137.508
DIGIT_WIDTH, GAP = 10, 6  # of text of 16 units, as on a phone, where that is 12 px


def colour_of(index: int) -> str:
    """Return a colour for the index-th group, of one lightness, which shows on light and dark.

    The golden angle keeps neighbours apart.
    """
    return f"oklch(62% .14 {(245 + index * GOLDEN_ANGLE) % 360:.0f})"


def choose_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return about n round numbers from at most `low` to at least `high`.

    Examples
    --------
    >>> choose_ticks(0.52, 0.98)
    [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    raw = span / n
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(s * size for s in (1, 2, 2.5, 5, 10) if s * size >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 1 - round(math.log10(size))  # 2.5 has one more than its size
    return [round(k * step, digits) for k in range(first, max(last, first + 1) + 1)]


def choose_log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers from at most `low` to at least `high`, both above 0.

    Steps of 1, 2, 5 within a decade, of decades where there are more than three.

    Examples
    --------
    >>> choose_log_ticks(3, 250)
    [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
    >>> choose_log_ticks(1, 1e5)
    [1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(math.ceil((last - first) / 8), 1)
    decades = range(first, last + stride, stride)
    steps = (1, 2, 5) if math.log10(high / low) <= 3 else (1,)
    every = [float(f"{step}e{decade}") for decade in decades for step in steps]
    start = max(k for k, tick in enumerate(every) if tick <= low * (1 + 1e-9))
    stop = min(k for k, tick in enumerate(every) if tick >= high * (1 - 1e-9))
    return every[start : max(stop, start + 1) + 1]


@dataclass(frozen=True)
class Axis:
    """One direction of a chart.

    Parameters
    ----------
    low, high : float
        Values at its ends.
    marks : tuple of float
        Ticks.
    is_log : bool, default False
        Equal lengths are equal ratios.
    """

    low: float
    high: float
    marks: tuple[float, ...]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return how far along the axis a value lies, 0 to 1; with one value it is the centre."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return float((at - low) / (high - low)) if high > low else 0.5


def make_axis(values: Any, *, name: str, is_log: bool = False) -> Axis:
    """Return an axis from round number to round number around the values."""
    low, high = float(np.min(values)), float(np.max(values))
    if is_log and low <= 0:
        raise ParameterError(f"{name}: found {low:g}, expected values above 0 on a log axis")
    if low == high and not is_log:  # at the centre of the axis, not at its end
        low, high = low - abs(low) / 10, high + abs(high) / 10
    marks = choose_log_ticks(low, high) if is_log else choose_ticks(low, high)
    return Axis(marks[0], marks[-1], tuple(marks), is_log)


@dataclass(frozen=True)
class Axes:
    """Both directions, and the places in the viewBox."""

    x: Axis
    y: Axis
    room: float = 0.0  # right of the x axis, for the names of lines

    @property
    def left(self) -> int:
        """Where the x axis begins, right of the label and the ticks of y."""
        return max(LEAST_LEFT, 28 + DIGIT_WIDTH * max(len(f"{t:g}") for t in self.y.marks))

    @property
    def right(self) -> int:
        """Where the x axis ends, with room for half of its last tick."""
        return WIDTH - max(
            LEAST_RIGHT, math.ceil(self.room), 2 + DIGIT_WIDTH * len(f"{self.x.marks[-1]:g}") // 2
        )

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies."""
        return (
            round(self.left + self.x.share(x) * (self.right - self.left), 1),
            round(HEIGHT - BOTTOM - self.y.share(y) * (HEIGHT - TOP - BOTTOM), 1),
        )

    def view(self, x_label: str, y_label: str) -> dict[str, Any]:
        """Return what `_axes.html.j2` draws."""
        x_marks = [(self.at(t, self.y.low)[0], f"{t:g}") for t in self.x.marks]
        return {
            "width": WIDTH, "height": HEIGHT, "left": self.left, "right": self.right,
            "top": TOP, "bottom": HEIGHT - BOTTOM, "x_label": x_label, "y_label": y_label,
            "x_ticks": _drop_overlapping(x_marks),
            "y_ticks": [(self.at(self.x.low, t)[1], f"{t:g}") for t in self.y.marks],
        }  # fmt: skip


def _drop_overlapping(marks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Empty the texts of ticks that run into the one before, or into the last, which stays."""
    shown: list[tuple[float, str]] = []
    end = -math.inf
    last_start = marks[-1][0] - len(marks[-1][1]) * DIGIT_WIDTH / 2
    for place, text in marks:
        half = len(text) * DIGIT_WIDTH / 2
        is_last = place == marks[-1][0]
        fits = place - half >= end and (is_last or place + half + GAP <= last_start)
        shown.append((place, text if fits or is_last else ""))
        end = place + half + GAP if fits else end
    return shown
