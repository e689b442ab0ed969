"""Randomness and textures: every number of the samples comes from here, seeded by a name."""

from __future__ import annotations

import colorsys
import hashlib

import numpy as np
from PIL import Image

__all__ = ["any_colour", "fractal", "mix", "ridge_line", "seeded"]


def seeded(name: str) -> np.random.Generator:
    """Return a generator that depends on `name` alone, so that no image depends on another."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    cells: tuple[float, float] = (4, 4),
    octaves: int = 4,
) -> np.ndarray:
    """Return value noise (rows, columns) in about [0, 1], mean 0.5; `cells` (down, across)."""
    total, weight = np.zeros(shape, np.float32), 0.0
    for k in range(octaves):
        grid = tuple(
            int(min(max(2, round(c * 2**k)), n)) for c, n in zip(cells, shape, strict=True)
        )
        image = Image.fromarray(rng.random(grid, dtype=np.float32))
        total += np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC)) * 0.5**k
        weight += 0.5**k
    return total / weight


def ridge_line(rng: np.random.Generator, n: int, *, cells: float, octaves: int = 5) -> np.ndarray:
    """Return a rugged profile of length n in about [0, 1]."""
    return fractal(rng, (2, n), cells=(2, cells), octaves=octaves)[0]


def any_colour(
    rng: np.random.Generator, *, value: tuple[float, float] = (0.35, 0.95), dull: float = 0.0
) -> np.ndarray:
    """Return an RGB colour (3,) of any hue, so that hue says nothing about the class."""
    hue, saturation = rng.random(), rng.uniform(0.15, 0.9) * (1 - dull)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, rng.uniform(*value)), np.float32)


def mix(a: np.ndarray, b: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Blend colours a to b; a 2-D `share` gives (rows, columns, 3)."""
    t = np.asarray(share, np.float32)
    t = t[..., None] if t.ndim == 2 else t
    return a * (1 - t) + b * t
