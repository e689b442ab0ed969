"""What a camera does to a scene: exposure, white balance, vignette, blur, sensor noise, size."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["PX", "WORK_PX", "photograph", "random_light"]

PX = 144  # side of a sample
WORK_PX = 2 * PX  # things are drawn at twice that, which smooths their edges


def random_light(rng: np.random.Generator) -> np.ndarray:
    """Return a direction towards the light, from above, left or right."""
    return np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.3), rng.uniform(0.7, 1.1)])


def photograph(
    scene: np.ndarray,
    rng: np.random.Generator,
    *,
    strength: float = 1.0,
    brightness: float | None = None,
) -> Image.Image:
    """Turn colours (WORK_PX, WORK_PX, 3) into an image of PX; `strength` scales all faults."""
    side = scene.shape[0]
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    gain = np.exp(rng.normal(0, 0.07 * strength, 3) + rng.normal(0, 0.14 * strength))
    vignette = 1 - rng.uniform(0, 0.3) * strength * (x**2 + y**2)[..., None] / 2
    graded = np.clip(scene * gain * vignette * (brightness or 1.0), 0, 1)
    graded = graded ** np.exp(rng.normal(0, 0.1 * strength))
    image = Image.fromarray((graded * 255).astype(np.uint8))
    if rng.random() < 0.35 * strength:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.6)))
    small = np.asarray(image.resize((PX, PX), Image.Resampling.LANCZOS), np.float32)
    grain = rng.normal(0, rng.uniform(0.5, 4.0) * strength, small.shape)
    return Image.fromarray(np.clip(small + grain, 0, 255).astype(np.uint8))
