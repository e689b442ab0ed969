"""Shaded shapes on a layer: outlines are puffed up into relief, lit, and laid on a background.

Shapes are given in a thing's own coordinates, x right and y down in about [-1, 1]; a `Pose` says
where they land. Textures are functions of the same coordinates, so they turn with the thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["Colour", "Layer", "Pose", "blur", "lay_over", "spline"]

Colour = np.ndarray | Callable[[np.ndarray, np.ndarray], np.ndarray]


def blur(values: np.ndarray, radius: float) -> np.ndarray:
    """Blur a 2-D array in [0, 1] by a Gaussian of `radius` pixels."""
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(radius))), np.float32) / 255


def spline(
    points: Sequence[tuple[float, float]], *, closed: bool = True, n: int = 10
) -> np.ndarray:
    """Return a Catmull-Rom curve through `points`, n steps a piece."""
    p = np.asarray(points, np.float32)
    p = np.vstack([p[-1:], p, p[:2]]) if closed else np.vstack([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, n, endpoint=False, dtype=np.float32)[:, None]
    pieces = [
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True)
    ]
    return np.vstack([*pieces, p[-2:-1]] if not closed else pieces)


@dataclass(frozen=True)
class Pose:
    """Where a thing stands: centre and scale in pixels, turn in degrees, squeeze, lean, mirror."""

    x: float
    y: float
    scale: float
    turn: float = 0.0
    squeeze: float = 1.0
    lean: float = 0.0
    mirrored: bool = False

    @property
    def matrix(self) -> np.ndarray:
        """Linear part (2, 2) of the map from own coordinates to pixels."""
        a = np.deg2rad(self.turn)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        shape = np.array([[self.squeeze, self.lean], [0, 1]])
        flip = np.diag([-1.0 if self.mirrored else 1.0, 1.0])
        return self.scale * turn @ shape @ flip

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Map (n, 2) own coordinates to pixels."""
        return np.asarray(points, np.float64) @ self.matrix.T + (self.x, self.y)

    def to_own(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map pixels to own coordinates."""
        inverse = np.linalg.inv(self.matrix)
        dx, dy = x - self.x, y - self.y
        return (
            inverse[0, 0] * dx + inverse[0, 1] * dy,
            inverse[1, 0] * dx + inverse[1, 1] * dy,
        )


class Layer:
    """Colour (size, size, 3) and cover (size, size) of a thing that is being drawn."""

    def __init__(self, size: int, pose: Pose, light: np.ndarray) -> None:
        self.rgb = np.zeros((size, size, 3), np.float32)
        self.alpha = np.zeros((size, size), np.float32)
        self.size, self.pose = size, pose
        self.light = np.asarray(light, np.float32) / np.linalg.norm(light)

    def polygon(
        self,
        points: Sequence[tuple[float, float]] | np.ndarray,
        colour: Colour,
        *,
        puff: float = 0.15,
        gloss: float = 0.0,
        opacity: float = 1.0,
    ) -> None:
        """Fill an outline; `puff` is the width of its rounded rim in own units, 0 for flat."""
        pixels = self.pose.to_pixels(np.asarray(points))
        draw = [tuple(p) for p in pixels.tolist()]
        self._fill(
            pixels, lambda d, o: d.polygon(_moved(draw, o), fill=255), colour, puff, gloss, opacity
        )

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        colour: Colour,
        *,
        turn: float = 0.0,
        puff: float = 0.15,
        gloss: float = 0.0,
        opacity: float = 1.0,
    ) -> None:
        """Fill an ellipse, turned by degrees."""
        a, t = np.linspace(0, 2 * np.pi, 48, endpoint=False), np.deg2rad(turn)
        dx, dy = rx * np.cos(a), ry * np.sin(a)
        outline = np.stack(
            [x + dx * np.cos(t) - dy * np.sin(t), y + dx * np.sin(t) + dy * np.cos(t)], axis=1
        )
        self.polygon(outline, colour, puff=puff, gloss=gloss, opacity=opacity)

    def stroke(
        self,
        points: Sequence[tuple[float, float]] | np.ndarray,
        width: float,
        colour: Colour,
        *,
        puff: float | None = None,
        gloss: float = 0.0,
    ) -> None:
        """Draw a line of `width` own units with round ends."""
        pixels = self.pose.to_pixels(np.asarray(points))
        width_px = max(1.0, width * self.pose.scale)
        dots = [tuple(p) for p in pixels.tolist()]

        def draw(d: ImageDraw.ImageDraw, origin: tuple[int, int]) -> None:
            moved, r = _moved(dots, origin), width_px / 2
            d.line(moved, fill=255, width=max(1, round(width_px)))
            for x, y in moved:
                d.ellipse((x - r, y - r, x + r, y + r), fill=255)

        box = np.vstack([pixels - width_px, pixels + width_px])
        self._fill(box, draw, colour, width / 3 if puff is None else puff, gloss, 1.0)

    def _fill(
        self,
        extent: np.ndarray,
        draw: Callable[[ImageDraw.ImageDraw, tuple[int, int]], None],
        colour: Colour,
        puff: float,
        gloss: float,
        opacity: float,
    ) -> None:
        radius = puff * self.pose.scale
        pad = int(radius * 2) + 2
        x0, y0 = np.maximum(np.floor(extent.min(0)).astype(int) - pad, 0)
        x1, y1 = np.minimum(np.ceil(extent.max(0)).astype(int) + pad, self.size)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        image = Image.new("L", (int(x1 - x0), int(y1 - y0)))
        draw(ImageDraw.Draw(image), (int(x0), int(y0)))
        mask = np.asarray(image, np.float32) / 255
        gy, gx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        rgb = colour(*self.pose.to_own(gx, gy)) if callable(colour) else np.asarray(colour)
        rgb = np.broadcast_to(rgb, (*mask.shape, 3))
        if radius > 0.5:
            rgb = self._shade(mask, rgb, radius, gloss)
        here = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
        cover = blur(mask, 0.6) * opacity
        old = self.alpha[here]
        after = cover + old * (1 - cover)
        share = (cover / np.maximum(after, 1e-6))[..., None]
        self.rgb[here] = self.rgb[here] * (1 - share) + rgb * share
        self.alpha[here] = after

    def _shade(self, mask: np.ndarray, rgb: np.ndarray, radius: float, gloss: float) -> np.ndarray:
        """Light the outline as a relief: blurs of the mask stand for height."""
        height = sum(blur(mask, radius * k) * radius * k for k in (1.0, 0.5, 0.25)) * 1.6
        dy, dx = np.gradient(height)
        length = np.sqrt(dx**2 + dy**2 + 1)
        facing = np.maximum((-dx * self.light[0] - dy * self.light[1] + self.light[2]) / length, 0)
        lit = 0.38 + 0.62 * facing / self.light[2]
        half = self.light + np.array([0, 0, 1])
        half = half / np.linalg.norm(half)
        glint = np.maximum((-dx * half[0] - dy * half[1] + half[2]) / length, 0) ** 40
        return np.clip(rgb * np.minimum(lit, 1.7)[..., None] + gloss * glint[..., None], 0, 1.2)


def _moved(dots: list[tuple[float, ...]], origin: tuple[int, int]) -> list[tuple[float, float]]:
    return [(x - origin[0], y - origin[1]) for x, y in dots]


def lay_over(
    background: np.ndarray,
    layer: Layer,
    *,
    shadow: tuple[float, float] = (0, 0),
    softness: float = 6.0,
    depth: float = 0.45,
) -> np.ndarray:
    """Lay a thing on a background, with its shadow moved by `shadow` pixels (x, y)."""
    dark = blur(np.roll(layer.alpha, (round(shadow[1]), round(shadow[0])), (0, 1)), softness)
    ground = background * (1 - depth * dark)[..., None]
    return ground * (1 - layer.alpha[..., None]) + layer.rgb * layer.alpha[..., None]
