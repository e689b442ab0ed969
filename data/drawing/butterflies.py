"""Five species of butterflies that share body, wings and colours and differ in small parts."""

from __future__ import annotations

import numpy as np
from PIL import Image

from drawing.camera import WORK_PX, photograph, random_light
from drawing.canvas import Layer, Pose, spline
from drawing.grounds import any_ground, set_down
from drawing.noise import any_colour, mix

__all__ = ["SPECIES", "draw_butterfly"]

Rng = np.random.Generator
INK = np.array([0.07, 0.06, 0.06], np.float32)
PALE = np.array([0.95, 0.93, 0.86], np.float32)

SPECIES = {
    "banded_apollo": "a pale band across the forewing",
    "eyed_peacock": "one ringed eye on each wing",
    "pearl_fringe": "a row of pale dots along the hindwing's edge",
    "scalloped_comma": "ragged wing edges",
    "tailed_kite": "a long tail on each hindwing",
}


def _wings(d: Layer, rng: Rng, species: str) -> None:
    base, second = any_colour(rng), any_colour(rng)
    rim = rng.uniform(0.6, 0.8)

    def paint(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        a, r = np.arctan2(v, np.abs(u) + 1e-6), np.hypot(u, v)
        veins = np.clip(np.abs(np.sin(a * 9)) * 5 - 0.3, 0, 1)
        coat = mix(base, second, np.clip(r * 1.1 - 0.15, 0, 1))
        coat = mix(INK, coat, veins * 0.75 + 0.25)
        return mix(coat, INK, np.clip((r - rim) * 6, 0, 0.9))

    fore = [
        (0.04, -0.2),
        (0.3, -0.62),
        (0.75, -0.86),
        (0.98, -0.78),
        (0.9, -0.4),
        (0.62, -0.06),
        (0.05, 0.02),
    ]
    hind = [(0.05, -0.02), (0.45, -0.06), (0.72, 0.14), (0.7, 0.46), (0.42, 0.66), (0.18, 0.5)]
    if species == "scalloped_comma":
        fore, hind = _ragged(fore, rng, (2, 6)), _ragged(hind, rng, (1, 5))
    for s in (-1, 1):
        if species == "tailed_kite":
            tail = [(0.34 * s, 0.5), (0.4 * s, 0.75), (0.5 * s, 1.0)]
            d.stroke(spline(tail, closed=False), 0.08, INK * 2)
            d.ellipse(0.5 * s, 0.99, 0.07, 0.09, second, puff=0.02)
        d.polygon(_outline(hind, s), paint, puff=0.05)
        d.polygon(_outline(fore, s), paint, puff=0.05)
        _marks(d, species, s, second)


def _outline(points: list[tuple[float, float]], side: int) -> np.ndarray:
    return (
        spline([(x * side, y) for x, y in points])
        if len(points) < 9
        else np.array(points) * (side, 1)
    )


def _ragged(
    points: list[tuple[float, float]], rng: Rng, between: tuple[int, int]
) -> list[tuple[float, float]]:
    """Cut notches into the outer edge, between two of the outline's points."""
    curve = spline(points)
    start, stop = between[0] * 10, between[1] * 10
    wave = np.zeros(len(curve))
    wave[start:stop] = -0.09 * (np.arange(stop - start) % 9 > 3)
    return [tuple(p) for p in (curve * (1 + wave[:, None])).tolist()]


def _marks(d: Layer, species: str, s: int, second: np.ndarray) -> None:
    if species == "banded_apollo":
        d.stroke(
            spline([(0.46 * s, -0.68), (0.56 * s, -0.42), (0.5 * s, -0.1)], closed=False),
            0.12,
            PALE,
            puff=0,
        )
    elif species == "eyed_peacock":
        for x, y, r in ((0.72, -0.58, 0.14), (0.48, 0.28, 0.14)):
            d.ellipse(x * s, y, r, r, PALE, puff=0)
            d.ellipse(x * s, y, r * 0.75, r * 0.75, INK, puff=0)
            d.ellipse(x * s, y, r * 0.35, r * 0.35, second, puff=0)
    elif species == "pearl_fringe":
        for x, y in ((0.64, 0.16), (0.66, 0.31), (0.6, 0.45), (0.5, 0.55), (0.37, 0.59)):
            d.ellipse(x * s, y, 0.05, 0.05, PALE, puff=0)


def _body(d: Layer, rng: Rng) -> None:
    fur = any_colour(rng, value=(0.12, 0.35), dull=0.4)
    for s in (-1, 1):
        feeler = spline([(0.02 * s, -0.32), (0.12 * s, -0.6), (0.26 * s, -0.82)], closed=False)
        d.stroke(feeler, 0.022, INK, puff=0)
        d.ellipse(0.26 * s, -0.83, 0.035, 0.035, INK, puff=0)
    d.ellipse(
        0, 0.2, 0.065, 0.36, lambda u, v: fur * (0.8 + 0.3 * np.sin(v * 45))[..., None], puff=0.05
    )
    d.ellipse(0, -0.14, 0.085, 0.17, fur * 1.2, puff=0.06)
    d.ellipse(0, -0.33, 0.07, 0.07, fur, puff=0.05)


def draw_butterfly(species: str, rng: Rng) -> Image.Image:
    """Photograph one butterfly, at any turn, on a flower or anywhere."""
    size, ground = WORK_PX * rng.uniform(0.3, 0.43), any_ground(rng)
    x, y = WORK_PX * rng.uniform(0.42, 0.58, 2)
    light = random_light(rng)
    if rng.random() < 0.6:
        flower = Layer(
            WORK_PX, Pose(x + rng.uniform(-40, 40), y + rng.uniform(-20, 50), size), light
        )
        petal, n = any_colour(rng), rng.integers(5, 11)
        for k in range(n):
            a = 2 * np.pi * k / n
            flower.ellipse(
                0.5 * np.cos(a), 0.5 * np.sin(a), 0.45, 0.2, petal, turn=np.rad2deg(a), puff=0.1
            )
        flower.ellipse(0, 0, 0.25, 0.25, any_colour(rng), puff=0.12)
        ground = set_down(rng, ground, flower)
    pose = Pose(
        x,
        y,
        size,
        turn=rng.normal(0, 30),
        squeeze=rng.uniform(0.72, 1.0),
        lean=rng.normal(0, 0.08),
    )
    layer = Layer(WORK_PX, pose, light)
    _wings(layer, rng, species)
    _body(layer, rng)
    return photograph(set_down(rng, ground, layer), rng, strength=0.8)
