"""Put a thing of `drawing.things` somewhere and photograph it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from drawing.camera import WORK_PX, photograph, random_light
from drawing.canvas import Layer, Pose, lay_over
from drawing.grounds import any_ground, set_down
from drawing.patterns import pattern
from drawing.things import THINGS

__all__ = ["draw_thing", "page", "placed", "thing_layer"]

Rng = np.random.Generator


def page(rng: Rng) -> Layer:
    """Return a layer in pixel coordinates."""
    return Layer(WORK_PX, Pose(0, 0, 1.0), random_light(rng))


def thing_layer(kind: str, rng: Rng, *, scale: tuple[float, float] = (0.2, 0.41)) -> Layer:
    """Draw a thing in a random pose and light on a layer of WORK_PX."""
    size = WORK_PX * rng.uniform(*scale)
    room = max(0.0, WORK_PX / 2 - size)
    pose = Pose(
        WORK_PX / 2 + rng.uniform(-room, room) * 0.95,
        WORK_PX / 2 + rng.uniform(-room, room) * 0.7,
        size,
        turn=rng.normal(0, 16) if rng.random() < 0.85 else rng.uniform(-80, 80),
        squeeze=rng.uniform(0.78, 1.08),
        lean=rng.normal(0, 0.1),
        mirrored=bool(rng.random() < 0.5),
    )
    layer = Layer(WORK_PX, pose, random_light(rng))
    THINGS[kind](layer, rng)
    return layer


def draw_thing(kind: str, rng: Rng) -> Image.Image:
    """Photograph one thing somewhere; half of the time something stands in front of it."""
    picture = set_down(rng, any_ground(rng), thing_layer(kind, rng))
    for _ in range(rng.choice([0, 0, 1, 2])):
        size = WORK_PX * rng.uniform(0.05, 0.1)
        x, y = rng.uniform(0.15, 0.85, 2) * WORK_PX
        bit = Layer(WORK_PX, Pose(x, y, size, turn=rng.uniform(0, 360)), random_light(rng))
        bit.ellipse(0, 0, 1.0, rng.uniform(0.4, 1.0), pattern(rng), puff=0.4, gloss=0.3)
        picture = set_down(rng, picture, bit)
    return photograph(picture, rng)


def placed(rng: Rng, picture: np.ndarray, kind: str, x: float, y: float) -> np.ndarray:
    """Stand a small thing with its middle at (x, y)."""
    layer = thing_layer(kind, rng, scale=(0.1, 0.16))
    dx, dy = round(x - layer.pose.x), round(y - layer.pose.y)
    layer.rgb, layer.alpha = (np.roll(a, (dy, dx), (0, 1)) for a in (layer.rgb, layer.alpha))
    return lay_over(picture, layer, shadow=(8, 4))
