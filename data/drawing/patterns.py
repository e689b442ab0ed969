"""Coats of paint: plain, banded, striped, spotted, checked, marbled, in any two colours."""

from __future__ import annotations

import numpy as np

from drawing.canvas import Colour
from drawing.noise import any_colour, mix

__all__ = ["pattern"]

Rng = np.random.Generator


def pattern(rng: Rng, *, kind: str | None = None) -> Colour:
    """Return a plain, banded, striped, spotted, checked or marbled colour."""
    a, b = any_colour(rng), any_colour(rng)
    kind = kind or str(
        rng.choice(["plain", "plain", "bands", "stripes", "spots", "checks", "marble"])
    )
    n, turn, shift = rng.uniform(9, 18), rng.uniform(0, np.pi), rng.uniform(0, 6, 2)

    def paint(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        if kind == "bands":
            share = (np.sin(v * n * 0.7 + shift[0]) > 0.3).astype(np.float32)
        elif kind == "stripes":
            share = (np.sin((u * np.cos(turn) + v * np.sin(turn)) * n) > 0).astype(np.float32)
        elif kind == "spots":
            share = ((np.sin(u * n + shift[0]) * np.sin(v * n + shift[1])) > 0.45).astype(
                np.float32
            )
        elif kind == "checks":
            share = ((np.sin(u * n) * np.sin(v * n)) > 0).astype(np.float32)
        elif kind == "marble":
            share = 0.5 + 0.5 * np.sin(u * n * 0.5 + 3 * np.sin(v * n * 0.4 + shift[0]) + shift[1])
        else:
            share = 0.12 * (1 + np.sin(u * 3 + shift[0]) * np.sin(v * 2.3 + shift[1]))
        return mix(a, b, share)

    return paint
