"""Ten kinds of things. Colour, pattern, pose and proportions vary inside each kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from drawing.canvas import Layer, spline
from drawing.noise import any_colour, mix
from drawing.patterns import pattern

__all__ = ["THINGS"]

Rng = np.random.Generator
DARK = np.array([0.08, 0.08, 0.1], np.float32)
LIGHT = np.array([0.93, 0.92, 0.88], np.float32)


def mug(d: Layer, rng: Rng) -> None:
    """Draw a cup with a handle, seen slightly from above."""
    w, h, rim, foot = (
        rng.uniform(0.5, 0.65),
        rng.uniform(0.6, 0.8),
        rng.uniform(0.1, 0.2),
        rng.uniform(0.75, 1),
    )
    paint, inside = pattern(rng), any_colour(rng, value=(0.5, 0.95), dull=0.5)
    a = np.linspace(0.15 * np.pi, 0.85 * np.pi, 12)
    handle = np.stack([-w + 0.1 - 0.42 * np.sin(a), -0.62 * h * np.cos(a) + 0.05], axis=1)
    d.stroke(handle, 0.15, any_colour(rng) if rng.random() < 0.3 else paint, gloss=0.3)
    t = np.linspace(0, np.pi, 24)
    bottom = np.stack([w * foot * np.cos(t), h + rim * 0.9 * np.sin(t)], axis=1)
    d.polygon(np.vstack([[(w, -h)], bottom, [(-w, -h)]]), paint, puff=0.4, gloss=0.35)
    d.ellipse(0, -h, w, rim, paint, puff=0.05)
    d.ellipse(0, -h + 0.01, w * 0.9, rim * 0.8, inside * 0.6, puff=0)
    d.ellipse(
        0,
        -h + rim * 0.35,
        w * 0.75,
        rim * 0.45,
        np.array([0.25, 0.14, 0.07]),
        puff=0.03,
        gloss=0.2,
    )


def apple(d: Layer, rng: Rng) -> None:
    """Draw a fruit with a dimple, a stalk and mostly a leaf."""
    skin, blush = any_colour(rng, value=(0.5, 0.95)), any_colour(rng, value=(0.5, 0.95))
    side, speck = rng.uniform(-1, 1), rng.uniform(20, 40)

    def paint(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        streak = 0.5 + 0.5 * np.sin(np.arctan2(v, u) * 9 + side * 5) * np.sin(v * 4)
        dots = (np.sin(u * speck) * np.sin(v * speck + 1) > 0.93) * 0.5
        return mix(
            mix(skin, blush, np.clip(0.3 + side * u * 0.7 + 0.3 * streak, 0, 1)), LIGHT, dots
        )

    wide = rng.uniform(0.8, 0.95)
    half = [
        (0.0, -0.55),
        (0.3, -0.72),
        (0.7, -0.6),
        (0.9, -0.1),
        (0.72, 0.48),
        (0.35, 0.78),
        (0.0, 0.68),
    ]
    outline = [(x * wide, y) for x, y in half] + [(-x * wide, y) for x, y in half[-2:0:-1]]
    d.polygon(spline(outline), paint, puff=0.38, gloss=0.55)
    d.ellipse(0, -0.56, 0.26, 0.09, lambda u, v: 0.35 * paint(u, v), puff=0.05, opacity=0.7)
    tip = rng.uniform(-0.2, 0.25)
    d.stroke(
        spline([(0, -0.5), (tip * 0.4, -0.75), (tip, -1.0)], closed=False),
        0.07,
        np.array([0.3, 0.2, 0.1]),
    )
    if rng.random() < 0.75:
        d.ellipse(
            0.3,
            -0.88,
            0.3,
            0.12,
            np.array([0.2, 0.45, 0.15]) * rng.uniform(0.7, 1.5),
            turn=-25,
            puff=0.08,
        )


def car(d: Layer, rng: Rng) -> None:
    """Draw a car from the side."""
    paint = any_colour(rng, value=(0.25, 0.95))
    roof, back = rng.uniform(-0.62, -0.5), rng.uniform(-0.9, -0.65)
    cabin = [(back, -0.12), (back + 0.2, roof), (0.2, roof - 0.02), (0.52, -0.12)]
    d.polygon(spline(cabin, n=6), paint, puff=0.12, gloss=0.4)
    glass = np.array([0.35, 0.45, 0.52]) * rng.uniform(0.5, 1.2)
    d.polygon(
        [(back + 0.12, -0.14), (back + 0.27, roof + 0.09), (-0.2, roof + 0.08), (-0.2, -0.14)],
        glass,
        puff=0.03,
        gloss=0.5,
    )
    d.polygon(
        [(-0.12, -0.14), (-0.12, roof + 0.08), (0.17, roof + 0.08), (0.42, -0.14)],
        glass,
        puff=0.03,
        gloss=0.5,
    )
    body = [
        (-1.0, 0.25),
        (-0.98, -0.08),
        (-0.7, -0.17),
        (0.5, -0.15),
        (0.92, -0.04),
        (1.02, 0.2),
        (0.95, 0.32),
        (-0.95, 0.32),
    ]
    d.polygon(spline(body, n=6), paint, puff=0.14, gloss=0.5)
    d.stroke([(-0.96, 0.22), (0.98, 0.22)], 0.05, DARK * 2)
    d.stroke([(-0.16, -0.12), (-0.18, 0.25)], 0.015, paint * 0.5, puff=0)
    d.stroke([(-0.1, 0.0), (0.02, 0.0)], 0.03, LIGHT * 0.8)
    d.ellipse(0.93, 0.06, 0.07, 0.06, np.array([1, 0.95, 0.7]), puff=0.03, gloss=0.4)
    d.ellipse(-0.97, 0.05, 0.05, 0.07, np.array([0.8, 0.1, 0.1]), puff=0.02)
    for x in (-0.58, 0.6):
        d.ellipse(x, 0.32, 0.25, 0.24, DARK * 0.7, puff=0)
        d.ellipse(x, 0.36, 0.21, 0.21, DARK, puff=0.07)
        d.ellipse(x, 0.36, 0.12, 0.12, LIGHT * rng.uniform(0.5, 0.9), puff=0.03, gloss=0.3)
        d.ellipse(x, 0.36, 0.04, 0.04, DARK * 2, puff=0)


def fish(d: Layer, rng: Rng) -> None:
    """Draw a fish from the side, with fins, gill and eye."""
    paint, fin, h = pattern(rng), any_colour(rng), rng.uniform(0.34, 0.55)
    d.polygon(spline([(-0.55, 0.0), (-1.05, -0.42), (-0.92, 0.0), (-1.05, 0.42)]), fin, puff=0.07)
    d.polygon(
        spline([(-0.35, -h * 0.7), (-0.25, -h - 0.3), (0.25, -h - 0.12), (0.4, -h * 0.7)]),
        fin,
        puff=0.06,
    )
    d.polygon(spline([(-0.2, h * 0.7), (-0.3, h + 0.25), (0.1, h * 0.85)]), fin, puff=0.06)
    scale = rng.uniform(22, 34)

    def scaled(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        rows = np.abs(np.sin(v * scale)) * np.abs(
            np.sin(u * scale + np.floor(v * scale / np.pi) * 1.57)
        )
        belly = np.clip((v / h - 0.2) * 0.8, 0, 0.6)
        base = paint(u, v) if callable(paint) else paint
        return mix(base, LIGHT, belly) * (0.8 + 0.3 * rows)[..., None]

    body = [
        (0.95, 0.02),
        (0.7, -h * 0.6),
        (0.2, -h),
        (-0.35, -h * 0.6),
        (-0.68, -0.1),
        (-0.68, 0.1),
        (-0.35, h * 0.6),
        (0.2, h),
        (0.72, h * 0.55),
    ]
    d.polygon(spline(body), scaled, puff=0.28, gloss=0.45)
    d.stroke(
        spline([(0.5, -h * 0.6), (0.38, 0), (0.5, h * 0.6)], closed=False),
        0.025,
        fin * 0.5,
        puff=0,
    )
    d.polygon(spline([(0.25, 0.05), (-0.08, 0.12), (-0.02, 0.3)]), fin, puff=0.05)
    d.ellipse(0.68, -h * 0.18, 0.09, 0.09, LIGHT, puff=0.03)
    d.ellipse(0.69, -h * 0.18, 0.05, 0.05, DARK, puff=0.02, gloss=0.9)
    d.stroke([(0.93, 0.06), (0.8, 0.1)], 0.025, DARK, puff=0)


def chair(d: Layer, rng: Rng) -> None:
    """Draw a chair with four legs and a back, from a corner."""
    wood, seat = any_colour(rng, dull=0.3), pattern(rng)
    depth, top = rng.uniform(0.25, 0.4), rng.uniform(-1.0, -0.85)
    for x, y in ((-0.3, -depth), (0.65, -depth)):
        d.stroke([(x, y + 0.2), (x + 0.02, 0.78 - depth * 0.5)], 0.08, wood * 0.7)
    d.stroke([(-0.3, 0.0), (-0.34, top)], 0.09, wood)
    d.stroke([(0.65, 0.0), (0.69, top)], 0.09, wood)
    if rng.random() < 0.5:
        for k in range(rng.integers(2, 5)):
            y = top + 0.08 + 0.2 * k
            d.stroke([(-0.33, y), (0.68, y)], 0.09, wood)
    else:
        d.polygon([(-0.33, top), (0.68, top), (0.66, -0.35), (-0.31, -0.35)], seat, puff=0.08)
    corner = [(-0.3, -depth * 0.6), (0.68, -depth * 0.6), (0.45, 0.22), (-0.62, 0.22)]
    d.polygon([(-0.62, 0.22), (0.45, 0.22), (0.45, 0.33), (-0.62, 0.33)], wood * 0.75, puff=0.03)
    d.polygon(
        [(0.45, 0.22), (0.68, -depth * 0.6), (0.68, -depth * 0.6 + 0.11), (0.45, 0.33)],
        wood * 0.6,
        puff=0.02,
    )
    d.polygon(corner, seat, puff=0.06)
    for x in (-0.57, 0.4):
        d.stroke([(x, 0.3), (x, 1.0)], 0.09, wood)


def clock(d: Layer, rng: Rng) -> None:
    """Draw a round clock with marks and hands at any hour."""
    frame, face = pattern(rng), any_colour(rng, value=(0.7, 1.0), dull=0.6)
    ink = any_colour(rng, value=(0.05, 0.35))
    if rng.random() < 0.3:
        for x in (-0.5, 0.5):
            d.ellipse(x, -0.85, 0.25, 0.2, frame, puff=0.1, gloss=0.3)
            d.stroke([(x * 0.9, 0.7), (x * 1.3, 1.0)], 0.1, frame)
    d.ellipse(0, 0, 0.92, 0.92, frame, puff=0.14, gloss=0.5)
    d.ellipse(0, 0, 0.76, 0.76, face * 0.8, puff=0)
    d.ellipse(0, 0.015, 0.74, 0.74, face, puff=0.05)
    for k in range(12):
        a, r = k * np.pi / 6, 0.56 if k % 3 == 0 else 0.6
        d.stroke(
            [(r * np.sin(a), -r * np.cos(a)), (0.66 * np.sin(a), -0.66 * np.cos(a))],
            0.06 if k % 3 == 0 else 0.035,
            ink,
            puff=0,
        )
    for reach, width, a in (
        (0.36, 0.075, rng.uniform(0, 6.28)),
        (0.55, 0.05, rng.uniform(0, 6.28)),
    ):
        d.stroke(
            [(-0.08 * np.sin(a), 0.08 * np.cos(a)), (reach * np.sin(a), -reach * np.cos(a))],
            width,
            ink,
            puff=0.01,
        )
    d.ellipse(0, 0, 0.05, 0.05, ink, puff=0.02)


def umbrella(d: Layer, rng: Rng) -> None:
    """Draw an open umbrella with panels and a crooked handle."""
    a, b = any_colour(rng), any_colour(rng) if rng.random() < 0.6 else None
    high = rng.uniform(0.65, 0.85)
    shaft = np.array([0.25, 0.22, 0.2]) * rng.uniform(0.6, 2)
    hook = spline([(0, -0.7), (0, 0.75), (0.06, 0.92), (0.2, 0.92), (0.26, 0.76)], closed=False)
    d.stroke(hook, 0.06, shaft, gloss=0.3)
    edges = np.linspace(-0.95, 0.95, 7)
    for k in range(6):
        x0, x1 = edges[k], edges[k + 1]
        arc = np.linspace(0, 1, 8)
        left = np.stack(
            [x0 * np.sin(arc * np.pi / 2), -0.05 - high * np.cos(arc * np.pi / 2)], axis=1
        )
        right = np.stack(
            [x1 * np.sin(arc * np.pi / 2), -0.05 - high * np.cos(arc * np.pi / 2)], axis=1
        )
        hem = np.stack(
            [np.linspace(x0, x1, 8), -0.05 - 0.09 * np.sin(np.linspace(0, np.pi, 8))], axis=1
        )
        shade = 0.7 + 0.3 * np.cos((k - 2.5) / 2.5 + d.light[0])
        colour = (a if b is None or k % 2 else b) * shade
        d.polygon(np.vstack([left, hem, right[::-1]]), colour, puff=0.1, gloss=0.15)
    d.stroke([(0, -high - 0.02), (0, -high - 0.15)], 0.05, shaft)


def guitar(d: Layer, rng: Rng) -> None:
    """Draw a guitar: waisted body, hole, neck, head, strings."""
    wood, edge = any_colour(rng), any_colour(rng, value=(0.1, 0.5))
    w = rng.uniform(0.42, 0.5)

    def grain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return wood * (0.88 + 0.12 * np.sin(u * 40 + np.sin(v * 3)))[..., None]

    half = [
        (0.0, -0.02),
        (w * 0.62, 0.02),
        (w * 0.72, 0.2),
        (w * 0.55, 0.38),
        (w * 0.9, 0.62),
        (w * 0.8, 0.9),
        (0.0, 1.0),
    ]
    outline = half + [(-x, y) for x, y in half[-2:0:-1]]
    d.polygon(spline([(x * 1.07, y * 1.03 - 0.015) for x, y in outline]), edge, puff=0.06)
    d.polygon(spline(outline), grain, puff=0.09, gloss=0.4)
    d.ellipse(0, 0.36, 0.14, 0.13, edge, puff=0)
    d.ellipse(0, 0.365, 0.11, 0.105, DARK, puff=0)
    d.polygon(
        [(-0.055, 0.24), (0.055, 0.24), (0.045, -0.75), (-0.045, -0.75)], edge * 0.8, puff=0.03
    )
    for y in np.linspace(-0.65, 0.15, 9):
        d.stroke([(-0.045, y), (0.045, y)], 0.012, LIGHT, puff=0)
    d.polygon([(-0.06, -0.73), (-0.09, -1.0), (0.09, -1.0), (0.06, -0.73)], edge, puff=0.04)
    for y in (-0.8, -0.88, -0.96):
        for x in (-0.12, 0.12):
            d.ellipse(x, y, 0.03, 0.022, LIGHT, puff=0.01)
    d.polygon([(-0.15, 0.68), (0.15, 0.68), (0.15, 0.74), (-0.15, 0.74)], edge, puff=0.02)
    for x in np.linspace(-0.035, 0.035, 4):
        d.stroke([(x, -0.9), (x * 1.6, 0.71)], 0.006, LIGHT, puff=0)


def mushroom(d: Layer, rng: Rng) -> None:
    """Draw a mushroom with a spotted or plain cap."""
    cap, stem = any_colour(rng), any_colour(rng, value=(0.75, 0.98), dull=0.75)
    w, h = rng.uniform(0.75, 0.95), rng.uniform(0.65, 0.95)
    foot = spline(
        [
            (-0.2, -0.1),
            (-0.2, 0.45),
            (-0.3, 0.85),
            (0, 0.95),
            (0.3, 0.85),
            (0.2, 0.45),
            (0.2, -0.1),
        ]
    )
    d.polygon(
        foot, lambda u, v: stem * (0.9 + 0.1 * np.sin(u * 30 + np.sin(v * 5)))[..., None], puff=0.2
    )
    d.ellipse(
        0,
        0.02,
        w * 0.93,
        0.17,
        lambda u, v: stem * (0.6 + 0.15 * np.sin(np.arctan2(v, u * 0.2) * 40))[..., None],
        puff=0.04,
    )
    if rng.random() < 0.5:
        d.ellipse(0, 0.3, 0.3, 0.1, stem * 0.9, puff=0.06)
    a = np.linspace(np.pi, 2 * np.pi, 24)
    dome = np.stack([w * np.cos(a), 0.02 + h * np.sin(a)], axis=1)
    lip = np.stack([w * np.cos(a[::-1]), 0.02 - 0.1 * np.sin(a[::-1])], axis=1)
    d.polygon(np.vstack([dome, lip * (1, 0.6)]), cap, puff=0.33, gloss=0.35)
    if rng.random() < 0.7:
        for _ in range(rng.integers(6, 13)):
            t, r = rng.uniform(np.pi * 1.05, np.pi * 1.95), rng.uniform(0.1, 0.88)
            size = rng.uniform(0.04, 0.11)
            d.ellipse(w * r * np.cos(t), h * r * np.sin(t), size, size * 0.75, LIGHT, puff=0.03)


def sailboat(d: Layer, rng: Rng) -> None:
    """Draw a boat with a mast and two sails."""
    hull, sail, jib = any_colour(rng), pattern(rng), any_colour(rng, value=(0.6, 1.0))
    lean = rng.uniform(-0.06, 0.12)
    d.stroke([(0, 0.5), (lean, -1.0)], 0.05, np.array([0.4, 0.3, 0.2]))
    big = spline([(0.04, 0.35), (lean + 0.04, -0.92), (0.5, -0.25), (0.78, 0.33)], n=8)
    d.polygon(big, sail, puff=0.15)
    d.polygon(
        spline([(-0.06, 0.35), (lean - 0.05, -0.75), (-0.4, -0.1), (-0.7, 0.33)], n=8),
        jib,
        puff=0.12,
    )
    d.stroke([(0, 0.38), (0.8, 0.38)], 0.04, np.array([0.4, 0.3, 0.2]))
    d.polygon(
        spline(
            [(-0.95, 0.5), (-0.2, 0.55), (0.9, 0.48), (0.7, 0.88), (0.0, 0.95), (-0.62, 0.88)], n=8
        ),
        hull,
        puff=0.14,
        gloss=0.3,
    )
    d.stroke([(-0.85, 0.6), (0.82, 0.58)], 0.05, LIGHT if rng.random() < 0.6 else hull * 0.5)
    if rng.random() < 0.5:
        d.polygon([(lean, -1.0), (lean + 0.28, -0.93), (lean, -0.86)], any_colour(rng), puff=0.02)


THINGS: dict[str, Callable[[Layer, Rng], None]] = {
    f.__name__: f
    for f in (apple, car, chair, clock, fish, guitar, mug, mushroom, sailboat, umbrella)
}
