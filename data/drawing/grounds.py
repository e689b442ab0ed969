"""Places for a thing to be: tables, walls, meadows, water, with clutter out of focus."""

from __future__ import annotations

import numpy as np

from drawing.camera import WORK_PX
from drawing.canvas import Layer, Pose, blur, lay_over
from drawing.noise import any_colour, fractal, mix

__all__ = ["any_ground", "indoors", "outdoors", "sky", "texture"]


def texture(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Return a surface (rows, columns, 3): wood, cloth, stone, tiles or plain."""
    base = any_colour(rng, value=(0.3, 0.9), dull=0.45)
    other = np.clip(base * rng.uniform(0.5, 0.85), 0, 1)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    if kind == "wood":
        bend = fractal(rng, shape, cells=(2, 2), octaves=2)
        rings = 0.5 + 0.5 * np.sin(y * rng.uniform(0.12, 0.3) + bend * 14)
        share = 0.6 * rings + 0.4 * fractal(rng, shape, cells=(60, 3), octaves=2)
        share = np.where((y // (shape[0] / rng.integers(3, 6)) % 2) > 0, share, share * 0.8)
    elif kind == "cloth":
        n = rng.uniform(0.1, 0.3)
        share = 0.5 + 0.25 * np.sin(x * n) + 0.25 * np.sin(y * n)
        share = np.round(share * 2) / 2 * 0.7 + 0.3 * fractal(
            rng, shape, cells=(40, 40), octaves=2
        )
    elif kind == "stone":
        share = fractal(rng, shape, cells=(10, 10), octaves=4)
    elif kind == "tiles":
        n = rng.integers(24, 56)
        share = ((x % n < 2) | (y % n < 2)) * 0.9 + 0.15 * fractal(rng, shape, cells=(5, 5))
    else:
        share = 0.5 * fractal(rng, shape, cells=(3, 3), octaves=2)
    return mix(base, other, np.clip(share, 0, 1))


def sky(rng: np.random.Generator, shape: tuple[int, int], mood: str) -> np.ndarray:
    """Return a sky (rows, columns, 3) for "day", "dusk", "grey" or "night"."""
    tops = {"day": (0.3, 0.5, 0.85), "dusk": (0.35, 0.3, 0.5), "grey": (0.6, 0.63, 0.67)}
    lows = {"day": (0.75, 0.85, 0.95), "dusk": (0.95, 0.6, 0.4), "grey": (0.8, 0.8, 0.8)}
    top = np.array(tops.get(mood, (0.03, 0.04, 0.1)), np.float32)
    low = np.array(lows.get(mood, (0.12, 0.13, 0.24)), np.float32)
    jitter = rng.normal(0, 0.03, 3)
    y = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None] ** 1.3
    colours = mix(top + jitter, low + jitter, np.repeat(y, shape[1], 1))
    clouds = fractal(rng, shape, cells=(5, 2.5), octaves=5)
    cover = np.clip((clouds - rng.uniform(0.45, 0.65)) * 5, 0, 0.85)
    bright = low * 0.5 + 0.5 if mood != "night" else low * 1.3
    return np.clip(mix(colours, bright, cover), 0, 1)


def _clutter(rng: np.random.Generator, ground: np.ndarray, horizon: int) -> np.ndarray:
    """Stand a few blurred shapes on the ground: other things, out of focus."""
    layer = Layer(WORK_PX, Pose(0, 0, 1.0), np.array([0, -0.5, 1.0]))
    for _ in range(rng.integers(0, 5)):
        x, w, h = rng.uniform(0, WORK_PX), rng.uniform(12, 45), rng.uniform(20, 90)
        y = horizon + rng.uniform(-10, 20)
        colour = any_colour(rng)
        if rng.random() < 0.5:
            layer.polygon([(x, y), (x, y - h), (x + w, y - h), (x + w, y)], colour, puff=6)
        else:
            layer.ellipse(x, y - w / 2, w / 2, w / 2, colour, puff=10)
    soft = rng.uniform(2, 7)
    alpha = blur(layer.alpha, soft)[..., None]
    rgb = np.stack([blur(layer.rgb[..., k] * layer.alpha, soft) for k in range(3)], axis=-1)
    return ground * (1 - alpha) + rgb


def indoors(rng: np.random.Generator) -> np.ndarray:
    """Return a wall above a table or floor, (WORK_PX, WORK_PX, 3)."""
    n, horizon = WORK_PX, int(WORK_PX * rng.uniform(0.25, 0.62))
    wall = texture(rng, str(rng.choice(["plain", "plain", "cloth", "tiles", "stone"])), (n, n))
    kind = str(rng.choice(["wood", "wood", "cloth", "stone", "tiles", "plain"]))
    table = texture(rng, kind, (n, n))
    table *= np.linspace(rng.uniform(0.6, 0.9), 1.1, n)[:, None, None]
    place = wall.copy()
    place[horizon:] = table[horizon:]
    glow = fractal(rng, (n, n), cells=(2, 2), octaves=1)[..., None]
    return np.clip(_clutter(rng, place, horizon) * (0.7 + 0.6 * glow), 0, 1)


def outdoors(rng: np.random.Generator, mood: str | None = None) -> np.ndarray:
    """Return a sky above grass, sand, water or stones, (WORK_PX, WORK_PX, 3)."""
    n, horizon = WORK_PX, int(WORK_PX * rng.uniform(0.25, 0.6))
    mood = mood or str(rng.choice(["day", "day", "dusk", "grey"]))
    place = np.empty((n, n, 3), np.float32)
    place[:horizon] = sky(rng, (horizon, n), mood)
    hills = horizon - rng.uniform(5, 45) * np.clip(fractal(rng, (2, n), cells=(2, 4))[0], 0, 1)
    y = np.arange(n)[:, None]
    far = np.array([0.35, 0.42, 0.4]) * rng.uniform(0.6, 1.3) + rng.normal(0, 0.05, 3)
    place = np.where((y > hills[None])[..., None], far.astype(np.float32), place)
    bases = [
        (0.3, 0.45, 0.18),
        (0.75, 0.66, 0.46),
        (0.25, 0.42, 0.5),
        (0.5, 0.48, 0.45),
        (0.5, 0.4, 0.2),
    ]
    base = np.array(bases[rng.integers(len(bases))], np.float32) + rng.normal(0, 0.04, 3)
    depth = n - horizon
    rough = fractal(rng, (depth, n), cells=(30, 16), octaves=4)[..., None]
    place[horizon:] = base * (0.45 + 1.0 * rough) * np.linspace(1.15, 0.9, depth)[:, None, None]
    if mood == "night":
        place[int(hills.min()) :] *= 0.25
    return np.clip(_clutter(rng, place, horizon), 0, 1)


def any_ground(rng: np.random.Generator) -> np.ndarray:
    """Return one of the places, whatever the thing: the background must not tell the class."""
    return indoors(rng) if rng.random() < 0.6 else outdoors(rng)


def set_down(rng: np.random.Generator, ground: np.ndarray, layer: Layer) -> np.ndarray:
    """Lay a thing on a place with a shadow that falls away from the light."""
    reach = rng.uniform(6, 20)
    away = (-layer.light[0] * reach, -layer.light[1] * reach)
    return lay_over(
        ground, layer, shadow=away, softness=rng.uniform(4, 11), depth=rng.uniform(0.3, 0.6)
    )
