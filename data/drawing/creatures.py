"""Creatures that have some of eight attributes and lack the others, each drawn by lot."""

from __future__ import annotations

import numpy as np
from PIL import Image

from drawing.camera import WORK_PX, photograph, random_light
from drawing.canvas import Layer, Pose, spline
from drawing.grounds import indoors, outdoors, set_down
from drawing.noise import any_colour
from drawing.patterns import pattern

__all__ = ["ATTRIBUTES", "attributes_of", "draw_creature"]

Rng = np.random.Generator
ATTRIBUTES = ("striped", "spotted", "round", "has_eyes", "has_legs", "outdoors", "dark", "pair")
WHITE = np.array([0.96, 0.95, 0.92], np.float32)
BLACK = np.array([0.05, 0.05, 0.06], np.float32)


def _outline(rng: Rng, *, is_round: bool) -> np.ndarray:
    if is_round:
        a = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        return np.stack([rng.uniform(0.62, 0.8) * np.cos(a), 0.68 * np.sin(a)], axis=1)
    kind, w = rng.integers(3), rng.uniform(0.6, 0.75)
    if kind == 0:  # box
        return np.array([(-w, -0.6), (w, -0.6), (w, 0.6), (-w, 0.6)])
    if kind == 1:  # star
        a = np.linspace(0, 2 * np.pi, 11)[:-1] - np.pi / 2
        r = np.where(np.arange(10) % 2, 0.45, 0.9)
        return np.stack([r * np.cos(a), r * np.sin(a)], axis=1)
    return np.array([(0, -0.85), (0.85, 0.62), (-0.85, 0.62)])  # wedge


def _creature(d: Layer, rng: Rng, has: dict[str, int]) -> None:
    coat = "stripes" if has["striped"] else "spots" if has["spotted"] else "plain"
    paint, limb = pattern(rng, kind=coat), any_colour(rng, value=(0.2, 0.8))
    if has["has_legs"]:
        for x in np.linspace(-0.42, 0.42, rng.integers(2, 5)):
            bend = rng.uniform(-0.08, 0.08)
            leg = spline([(x, 0.4), (x + bend, 0.75), (x, 1.02)], closed=False)
            d.stroke(leg, 0.13, limb)
            d.ellipse(x + 0.06, 1.04, 0.14, 0.07, limb, puff=0.04)
    for s in (-1, 1) if rng.random() < 0.5 else ():
        d.stroke(
            spline([(0.2 * s, -0.4), (0.3 * s, -0.8), (0.5 * s, -0.98)], closed=False), 0.06, limb
        )
    d.polygon(_outline(rng, is_round=bool(has["round"])), paint, puff=0.26, gloss=0.3)
    if has["has_eyes"]:
        for x in (-0.22, 0.22):
            d.ellipse(x, -0.12, 0.17, 0.19, WHITE, puff=0.05)
            d.ellipse(x + rng.uniform(-0.05, 0.05), -0.09, 0.085, 0.1, BLACK, puff=0.03, gloss=0.9)
    if rng.random() < 0.6:
        d.stroke(
            spline([(-0.2, 0.28), (0, 0.28 + rng.uniform(-0.1, 0.12)), (0.2, 0.28)], closed=False),
            0.05,
            BLACK,
            puff=0,
        )


def attributes_of(rng: Rng) -> dict[str, int]:
    """Draw lots for the attributes: the first thing that is taken from a creature's generator."""
    has = {name: int(rng.random() < 0.5) for name in ATTRIBUTES}
    coat = rng.integers(3)
    has["striped"], has["spotted"] = int(coat == 0), int(coat == 1)
    has["pair"], has["dark"] = int(rng.random() < 0.35), int(rng.random() < 0.35)
    return has


def draw_creature(rng: Rng) -> Image.Image:
    """Photograph one creature or a pair."""
    has = attributes_of(rng)
    if has["outdoors"]:
        picture = outdoors(rng, "night" if has["dark"] else None)
    else:
        picture = indoors(rng) * (0.45 if has["dark"] else 1.0)
    middles = (0.29, 0.72) if has["pair"] else (rng.uniform(0.38, 0.62),)
    for x in middles:
        size = WORK_PX * (rng.uniform(0.19, 0.23) if has["pair"] else rng.uniform(0.25, 0.38))
        pose = Pose(
            x * WORK_PX,
            WORK_PX * rng.uniform(0.45, 0.6),
            size,
            turn=rng.normal(0, 9),
            lean=rng.normal(0, 0.06),
        )
        layer = Layer(WORK_PX, pose, random_light(rng))
        _creature(layer, rng, has)
        if has["dark"]:
            layer.rgb *= 0.5
        picture = set_down(rng, picture, layer)
    return photograph(picture, rng, strength=0.7, brightness=0.9 if has["dark"] else 1.0)
