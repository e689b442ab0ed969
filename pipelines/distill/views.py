"""Views of a photograph: where to crop is a pure function of seed, photograph and view.

The teacher sees a view once, plain; the student sees the same view in every epoch, mirrored or
not and with other colours. Nothing here keeps state, so a resumed run sees what an unbroken one
would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from pipelines.distill.config import DistillConfig

__all__ = ["colour_jitter", "crop_view", "make_view", "standardise", "to_unit"]


def make_view(
    photographs: Sequence[NDArray[np.uint8]],
    config: DistillConfig,
    photograph: int,
    view: int,
    px: int,
) -> NDArray[np.uint8]:
    """Return a view of a photograph, (px, px, 3).

    The first views are crops, the last `config.n_mosaics` four crops side by side, three of them
    of other photographs.
    """
    key = (config.seed, photograph, view)
    if view < config.n_views - config.n_mosaics:
        return crop_view(photographs[photograph], px, min_scale=config.min_scale, key=key)
    others = np.random.default_rng((*key, 3)).integers(0, len(photographs), 3)
    half = px - px // 2
    parts = [
        crop_view(photographs[i], half, min_scale=config.min_scale, key=(*key, int(i)))
        for i in (photograph, *others.tolist())
    ]
    rows = [np.concatenate(parts[i : i + 2], axis=1) for i in (0, 2)]
    return np.concatenate(rows)[:px, :px]


def crop_view(
    pixels: NDArray[np.uint8], px: int, *, min_scale: float, key: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Cut a random rectangle and resize it to (px, px, 3).

    Parameters
    ----------
    pixels : ndarray of uint8, (H, W, 3)
    px : int
        Side of the result.
    min_scale : float
        Smallest share of the area; the aspect ratio lies in [3/4, 4/3], as in Szegedy et al.
        2015, section 6.
    key : tuple of int
        Seed, photograph and view, say: the same key gives the same rectangle at every `px`.
    """
    rng = np.random.default_rng(key)
    height, width = pixels.shape[:2]
    area = height * width * rng.uniform(min_scale, 1.0)
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    w = min(width, round(math.sqrt(area * aspect)))
    h = min(height, round(math.sqrt(area / aspect)))
    left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    box = (int(left), int(top), int(left + w), int(top + h))
    image = Image.fromarray(pixels).resize((px, px), Image.Resampling.BILINEAR, box=box)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)


def to_unit(views: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return (B, 3, H, W) float32 in [0, 1] from (B, H, W, 3) uint8."""
    return torch.from_numpy(views).to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255


def standardise(x: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Subtract a mean and divide by a deviation, per channel."""
    means = torch.tensor(mean, device=x.device).view(1, 3, 1, 1)
    stds = torch.tensor(std, device=x.device).view(1, 3, 1, 1)
    return ((x - means) / stds).contiguous(memory_format=torch.channels_last)


def colour_jitter(x: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Change brightness, contrast and saturation of (B, 3, H, W) in [0, 1], image by image."""

    def factor() -> torch.Tensor:
        values = rng.uniform(1 - strength, 1 + strength, (len(x), 1, 1, 1)).astype(np.float32)
        return torch.from_numpy(values).to(x.device)

    x = x * factor()
    grey = x.mean(dim=(1, 2, 3), keepdim=True)
    x = grey + (x - grey) * factor()
    grey = x.mean(dim=1, keepdim=True)
    return (grey + (x - grey) * factor()).clamp(0, 1)
