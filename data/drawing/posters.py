"""Posters, each seen in several views: tilted, turned, blurred, half hidden, in other light."""

from __future__ import annotations

import numpy as np
from PIL import Image

from drawing.camera import WORK_PX, photograph, random_light
from drawing.canvas import Layer, Pose, lay_over
from drawing.grounds import any_ground, set_down
from drawing.noise import any_colour, fractal, mix, seeded
from drawing.objects import thing_layer
from drawing.patterns import pattern
from drawing.scenes import SCENES, scene_pixels
from drawing.things import THINGS

__all__ = ["N_POSTERS", "draw_view", "poster"]

Rng = np.random.Generator
N_POSTERS = 12


def poster(name: str) -> np.ndarray:
    """Design a poster; several share a motif, so that the motif alone does not tell them apart."""
    rng = seeded(f"poster/{name}")
    number = int(name.split("_")[-1])
    if number % 2:
        art = scene_pixels(list(SCENES)[number // 2 % 3 * 2], rng)
    else:
        art = np.broadcast_to(any_colour(rng), (WORK_PX, WORK_PX, 3)).copy()
        art = mix(art, any_colour(rng), fractal(rng, art.shape[:2], cells=(2, 2), octaves=2))
    kind = list(THINGS)[number // 4 * 3]
    for _ in range(rng.integers(1, 3)):
        art = lay_over(art, thing_layer(kind, rng, scale=(0.2, 0.34)), shadow=(5, 5))
    return _titled(art, rng)


def _titled(art: np.ndarray, rng: Rng) -> np.ndarray:
    """Print a border and lines of an invented script."""
    layer = Layer(WORK_PX, Pose(0, 0, 1.0), random_light(rng))
    ink, paper = any_colour(rng), any_colour(rng, value=(0.7, 1.0), dull=0.4)
    y = WORK_PX * (0.06 if rng.random() < 0.5 else 0.78)
    layer.polygon([(0, y), (WORK_PX, y), (WORK_PX, y + 46), (0, y + 46)], paper, puff=0)
    x = rng.uniform(14, 40)
    while x < WORK_PX - 34:
        spots = rng.uniform(0, 1, (rng.integers(3, 5), 2)) * (18, 28) + (x, y + 9)
        layer.stroke(spots, 5, ink, puff=0)
        x += rng.uniform(24, 38)
    edge = 9
    for a, b in (
        ((0, 0), (WORK_PX, 0)),
        ((0, WORK_PX), (WORK_PX, WORK_PX)),
        ((0, 0), (0, WORK_PX)),
        ((WORK_PX, 0), (WORK_PX, WORK_PX)),
    ):
        layer.stroke([a, b], edge * 2, ink * 0.7, puff=0)
    return lay_over(art, layer, depth=0)


def _projection(corners: np.ndarray) -> np.ndarray:
    """Return Pillow's 8 coefficients that map the view's pixels to the poster's."""
    n = WORK_PX
    rows, values = [], []
    for (x, y), (u, v) in zip(
        corners, [(2, 2), (n - 2, 2), (n - 2, n - 2), (2, n - 2)], strict=True
    ):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows), np.array(values))


def draw_view(name: str, view: int, rng: Rng) -> Image.Image:
    """Photograph a poster; view 0 is nearly frontal, the others tilt, turn and hide it more."""
    hard = 0.25 if view == 0 else 1.0
    half, turn = WORK_PX * rng.uniform(0.3, 0.4), np.deg2rad(rng.normal(0, 22 * hard))
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half * (rng.uniform(0.75, 1.0), 1)
    square = square * (1 + rng.uniform(-0.22, 0.22, (4, 1)) * hard)
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners = square @ spin + WORK_PX * rng.uniform(0.5 - 0.08 * hard, 0.5 + 0.08 * hard, 2)
    flat = Image.fromarray((np.clip(poster(name), 0, 1) * 255).astype(np.uint8))
    size, how = (WORK_PX, WORK_PX), Image.Transform.PERSPECTIVE
    seen = flat.transform(size, how, _projection(corners).tolist(), Image.Resampling.BICUBIC)
    sheet = Layer(WORK_PX, Pose(0, 0, 1.0), random_light(rng))
    pixels = np.asarray(seen, np.float32) / 255
    sheet.polygon(corners, lambda u, v: pixels[v[:, 0].astype(int)][:, u[0].astype(int)], puff=0)
    picture = set_down(rng, any_ground(rng), sheet)
    if view and rng.random() < 0.6:
        shine = np.clip(fractal(rng, picture.shape[:2], cells=(2, 2), octaves=1) - 0.6, 0, 1) * 1.6
        picture = mix(picture, np.ones(3), shine * sheet.alpha)
    if view and rng.random() < 0.7:
        at, size_px = (
            corners[rng.integers(4)] * 0.8 + WORK_PX * 0.1,
            WORK_PX * rng.uniform(0.1, 0.17),
        )
        cover = Layer(WORK_PX, Pose(*at, size_px, turn=rng.uniform(0, 360)), random_light(rng))
        cover.ellipse(0, 0, 1, rng.uniform(0.5, 1), pattern(rng), puff=0.4)
        picture = set_down(rng, picture, cover)
    light = float(np.exp(rng.uniform(-0.55, 0.12) * hard))
    return photograph(np.clip(picture, 0, 1), rng, strength=0.4 + 0.5 * hard, brightness=light)
