"""Names beside the points of a chart, placed so that none covers another, a point or the edge."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from featx.report._axes import BOTTOM, HEIGHT, WIDTH

__all__ = ["Box", "Label", "end_room", "name_ends", "place_labels", "shorten_name"]

LONGEST = 22  # characters; a longer name is cut in the figure and whole in its tooltip
HALF_LINE = 8.5  # half the height of a line of 16 units, the size on a phone
# Beside a point: horizontal and vertical distance, and which end of the text is there. In this
# order where all are free.
PLACES = (
    (8, 0, "start"), (-8, 0, "end"), (0, -14, "middle"), (0, 14, "middle"), (6, -11, "start"),
    (6, 11, "start"), (-6, -11, "end"), (-6, 11, "end"),
)  # fmt: skip
OWN, OTHER = 5, 8  # what a label keeps clear of; nearer to another's point it would seem its name
COVERS, CROSSES = 1000.0, 10.0
PASSES = 3
LONGEST_AT_END, LINE = 18, 19  # characters of a name at the end of its line, and units between two
LEADER = 14  # from the end of a line to its name


@dataclass(frozen=True)
class Box:
    """A rectangle of the viewBox."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Return whether the two overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass(frozen=True)
class Label:
    """A text, where it stands and what it covers."""

    text: str
    x: float
    y: float
    anchor: str
    box: Box


def shorten_name(text: str) -> str:
    """Return a name as the figure shows it.

    Examples
    --------
    >>> shorten_name("timm/convnext_tiny.fb_in22k_ft_in1k")
    'timm/convnext_tiny.fb…'
    """
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def place_labels(
    names: Sequence[str], points: Sequence[tuple[float, float]], lines: Sequence[Box], left: float
) -> list[Label | None]:
    """Place one label per point, most important first; None where it would cover something.

    Parameters
    ----------
    names : sequence of str
    points : sequence of (x, y), as many
        Centres of markers of radius 5.
    lines : sequence of Box
        Thin things that a label had better not cross, but may.
    left : float
        Where the x axis begins; labels stay right of it, and above it.

    Notes
    -----
    Each label takes the best place of eight given the others, over three rounds (Christensen et
    al. 1995, "An empirical study of algorithms for point-feature label placement", the discrete
    gradient descent); what then still covers something tries all again, and is left out where none
    is free. Time grows with the square of the number of points.
    """
    room = Box(left + 2, 0, WIDTH, HEIGHT - BOTTOM - 2)
    choices = [
        [_place(shorten_name(name), x + dx, y + dy, anchor) for dx, dy, anchor in PLACES]
        for name, (x, y) in zip(names, points, strict=True)
    ]
    fixed = []
    for point, options in zip(points, choices, strict=True):
        markers = [_box_around(other, OWN if other == point else OTHER) for other in points]
        fixed.append(
            [_fixed_cost(o.box, room, markers, lines) + place for place, o in enumerate(options)]
        )
    chosen = [0] * len(names)
    for _ in range(PASSES):
        for k, options in enumerate(choices):
            others = [choices[j][chosen[j]].box for j in range(len(names)) if j != k]
            found = [
                cost + COVERS * sum(option.box.meets(box) for box in others)
                for option, cost in zip(options, fixed[k], strict=True)
            ]
            chosen[k] = min(range(len(options)), key=found.__getitem__)
    kept: list[Label | None] = []
    for k, options in enumerate(choices):
        taken = [label.box for label in kept if label is not None]
        by_cost = sorted(range(len(options)), key=fixed[k].__getitem__)
        free = [
            options[place]
            for place in (chosen[k], *by_cost)
            if fixed[k][place] < COVERS and not any(options[place].box.meets(b) for b in taken)
        ]
        kept.append(free[0] if free else None)
    return kept


def end_room(names: Sequence[str]) -> float:
    """Return how much room names need right of the lines; 0 where a legend has to name them."""
    most = (HEIGHT - BOTTOM) // LINE
    if len(names) > most or max(map(len, names)) > LONGEST_AT_END:
        return 0.0
    return LEADER + 6 + max(sum(map(_width, name)) for name in names)


def name_ends(
    names: Sequence[str], ends: Sequence[tuple[float, float]], colours: Sequence[str], right: float
) -> list[dict[str, str | float]]:
    """Place a name beside the end of each line, moved apart where they would meet."""
    order = sorted(range(len(names)), key=lambda k: ends[k][1])
    lowest = HEIGHT - BOTTOM - HALF_LINE
    ys: list[float] = []
    for k in order:
        ys.append(max(ends[k][1], ys[-1] + LINE if ys else HALF_LINE))
    for back, place in enumerate(reversed(range(len(ys)))):
        ys[place] = min(ys[place], lowest - back * LINE)
    return [
        {
            "text": names[k],
            "x": round(right + LEADER, 1),
            "y": round(y + 5, 1),
            "start": f"{ends[k][0]},{ends[k][1]} {round(right + LEADER - 3, 1)},{round(y, 1)}",
            "colour": colours[k],
        }
        for k, y in zip(order, ys, strict=True)
    ]


def _fixed_cost(box: Box, room: Box, markers: Sequence[Box], lines: Sequence[Box]) -> float:
    is_inside = (
        box.left >= room.left
        and box.right <= room.right
        and box.top >= room.top
        and box.bottom <= room.bottom
    )
    covered = sum(box.meets(marker) for marker in markers) + (not is_inside)
    return COVERS * covered + CROSSES * sum(box.meets(line) for line in lines)


def _box_around(point: tuple[float, float], radius: float) -> Box:
    x, y = point
    return Box(x - radius, y - radius, x + radius, y + radius)


def _place(text: str, x: float, y: float, anchor: str) -> Label:
    width = sum(_width(character) for character in text)
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    box = Box(left, y - HALF_LINE, left + width, y + HALF_LINE)
    return Label(text, round(x, 1), round(y + 4.5, 1), anchor, box)


def _width(character: str) -> float:
    """Return about how wide a character of 16 units is, in a wide font such as DejaVu Sans."""
    if unicodedata.east_asian_width(character) in "WF":
        return 16.0
    if character in "iljtfr.,:;'|!()[] ":
        return 6.0
    if character in "mwMW%@":
        return 16.0
    return 11.5 if character.isupper() else 10.0
