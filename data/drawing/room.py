"""A room in perspective and its furniture: the scene with the most parts."""

from __future__ import annotations

import numpy as np

from drawing.camera import WORK_PX
from drawing.canvas import Colour, Layer, lay_over
from drawing.grounds import texture
from drawing.noise import any_colour
from drawing.objects import page, placed
from drawing.patterns import pattern

__all__ = ["room"]

Rng = np.random.Generator
N = WORK_PX
Box = tuple[float, float, float, float]  # left, top, right, bottom


def room(rng: Rng) -> np.ndarray:
    """Paint a room in perspective: walls, floor, window, pictures, furniture."""
    left, right = N * rng.uniform(0.08, 0.3), N * rng.uniform(0.7, 0.92)
    top, low = N * rng.uniform(0.08, 0.18), N * rng.uniform(0.6, 0.72)
    floor = texture(rng, str(rng.choice(["wood", "wood", "tiles", "cloth", "plain"])), (N, N))
    layer = page(rng)
    _walls(layer, rng, (left, top, right, low))
    w, h = (right - left) * rng.uniform(0.25, 0.4), (low - top) * rng.uniform(0.4, 0.6)
    x, y = left + (right - left) * rng.uniform(0.1, 0.45), top + (low - top) * 0.12
    _window(layer, rng, (x, y, x + w, y + h))
    for _ in range(rng.integers(0, 3)):
        side = rng.uniform(16, 28)
        right_of = x + w + 26 + rng.uniform(0, 40)
        left_of = x - side - 20 - rng.uniform(0, 20)
        at = right_of if rng.random() < 0.6 else left_of
        _picture(layer, rng, at, rng.uniform(top + 10, top + 50), side)
    picture = lay_over(floor, layer, depth=0.2)
    furniture = page(rng)
    pieces = rng.permutation(len(FURNITURE))[: rng.integers(2, 4)]
    for k in pieces:
        FURNITURE[k](furniture, rng, low, left, right)
    picture = lay_over(picture, furniture, shadow=(6, 10), softness=8)
    if rng.random() < 0.5:
        picture = placed(rng, picture, "chair", rng.uniform(0.2, 0.8) * N, low + 30)
    down, across = np.arange(N)[:, None], np.arange(N)[None]
    glow = np.exp(-(((across - x) / (0.6 * N)) ** 2 + ((down - y) / (0.8 * N)) ** 2))
    return picture * (rng.uniform(0.5, 0.8) + 0.5 * glow[..., None])


def _walls(d: Layer, rng: Rng, back: Box) -> None:
    left, top, right, low = back
    wall = any_colour(rng, value=(0.45, 0.95), dull=0.5)
    ceiling = np.clip(wall * 1.15 + 0.1, 0, 1)
    d.polygon([(-9, -9), (N + 9, -9), (right, top), (left, top)], ceiling, puff=0)
    for outer, inner in ((-9, left), (N + 9, right)):
        corners = [(outer, -9), (inner, top), (inner, low), (outer, N * 0.98)]
        d.polygon(corners, wall * rng.uniform(0.65, 0.95), puff=0)
    _box(d, left, top, right, low, wall, 0)
    d.stroke([(left, low), (right, low)], 4, np.clip(wall * 1.2, 0, 1), puff=1)


def _window(d: Layer, rng: Rng, pane: Box) -> None:
    x0, y0, x1, y1 = pane
    frame, curtain = np.array([0.9, 0.88, 0.84]), any_colour(rng)
    view = [(0.75, 0.87, 0.98), (0.95, 0.75, 0.6), (0.08, 0.09, 0.18)][rng.integers(3)]
    _box(d, x0 - 4, y0 - 4, x1 + 4, y1 + 4, frame, 2)
    _box(d, x0, y0, x1, y1, np.array(view), 0)
    d.stroke([((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1)], 3, frame, puff=1)
    if rng.random() < 0.7:
        for x in (x0 - 12, x1 - 4):
            d.polygon(
                [(x, y0 - 8), (x + 17, y0 - 8), (x + 19, y1 + 20), (x - 2, y1 + 20)],
                lambda u, _: curtain * (0.8 + 0.25 * np.sin(u * 1.2))[..., None],
                puff=2,
            )


def _picture(d: Layer, rng: Rng, x: float, y: float, side: float) -> None:
    _box(d, x, y, x + side, y + side * 1.2, any_colour(rng, value=(0.1, 0.6)), 2)
    _box(d, x + 4, y + 4, x + side - 4, y + side * 1.2 - 4, pattern(rng), 0)


def _box(
    d: Layer, x0: float, y0: float, x1: float, y1: float, colour: Colour, puff: float = 5
) -> None:
    d.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, puff=puff)


def _sofa(d: Layer, rng: Rng, low: float, left: float, right: float) -> None:
    x, w, c = rng.uniform(left - 20, right - 90), rng.uniform(90, 130), any_colour(rng)
    _box(d, x, low - 35, x + w, low + 30, c * 0.85, 9)
    _box(d, x + 5, low + 2, x + w - 5, low + 26, c, 9)
    for ax in (x - 8, x + w - 8):
        _box(d, ax, low - 8, ax + 16, low + 36, c * 0.95, 7)
    d.polygon(
        [(x + 22, low - 18), (x + 46, low - 22), (x + 50, low + 4), (x + 24, low + 6)],
        pattern(rng),
        puff=7,
    )


def _table(d: Layer, rng: Rng, low: float, left: float, right: float) -> None:
    x, w, y, c = (
        rng.uniform(left, right - 60),
        rng.uniform(60, 100),
        low + rng.uniform(20, 45),
        any_colour(rng, dull=0.4),
    )
    for lx in (x + 6, x + w - 6):
        d.stroke([(lx, y), (lx, y + 42)], 6, c * 0.7)
    d.polygon([(x, y), (x + 12, y - 14), (x + w - 12, y - 14), (x + w, y)], c, puff=2)
    _box(d, x, y, x + w, y + 7, c * 0.8, 2)
    d.ellipse(x + w / 2, y - 14, 8, 9, any_colour(rng), puff=5, gloss=0.4)


def _lamp(d: Layer, rng: Rng, low: float, left: float, right: float) -> None:
    x, y = rng.choice([left + 8, right - 12]), low - rng.uniform(60, 90)
    d.stroke([(x, y), (x, low + 22)], 4, np.array([0.25, 0.22, 0.2]))
    d.ellipse(x, low + 24, 14, 5, np.array([0.25, 0.22, 0.2]), puff=2)
    d.polygon(
        [(x - 10, y - 24), (x + 10, y - 24), (x + 20, y + 6), (x - 20, y + 6)],
        np.array([1.0, 0.9, 0.65]),
        puff=3,
    )


def _shelf(d: Layer, rng: Rng, low: float, left: float, right: float) -> None:
    x, w, h, c = (
        rng.uniform(left, right - 60),
        rng.uniform(45, 70),
        rng.uniform(80, 110),
        any_colour(rng, dull=0.4),
    )
    _box(d, x, low - h, x + w, low + 8, c * 0.6, 2)
    for y in np.linspace(low - h + 24, low + 4, 4):
        bx = x + 4
        while bx < x + w - 9:
            b, t = rng.uniform(4, 8), rng.uniform(11, 19)
            _box(d, bx, y - t, bx + b, y, any_colour(rng), 1.5)
            bx += b + 0.5
        d.stroke([(x, y + 1), (x + w, y + 1)], 4, c, puff=1)


def _bed(d: Layer, rng: Rng, low: float, left: float, right: float) -> None:
    x, w, c = rng.uniform(left, right - 80), rng.uniform(90, 120), any_colour(rng, dull=0.3)
    _box(d, x, low - 32, x + w * 0.9, low + 10, c * 0.6, 4)
    d.polygon(
        [(x, low), (x + w * 0.9, low), (x + w * 1.1, low + 62), (x - w * 0.15, low + 62)],
        pattern(rng),
        puff=10,
    )
    d.polygon(
        [(x + 5, low - 10), (x + w * 0.85, low - 10), (x + w * 0.88, low + 9), (x + 2, low + 9)],
        np.array([0.95, 0.94, 0.9]),
        puff=8,
    )


FURNITURE = (_sofa, _table, _lamp, _shelf, _bed)
