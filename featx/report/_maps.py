"""Maps that lie over pictures: warm where a number is above zero, cool where it is below."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.report._section import as_json, require_finite
from featx.report._thumbnails import Thumbnail, ThumbnailPress

__all__ = ["PictureMap", "lay_over", "tell_maps"]

COOL, WARM = (20, 90, 235), (255, 95, 0)
N_LEVELS = 31  # of each colour
OPAQUE = 200  # of 255, at the largest number
SIDE_PX = 40  # of the longer side: the browser makes it smooth
DIGITS = 4


@dataclass(frozen=True, eq=False)
class PictureMap:
    """A number for each place of a picture, such as what it adds to the score of a class.

    Parameters
    ----------
    name : str
        What it is of.
    values : array-like of float, (height, width)
        Finite. Colours are relative to the largest magnitude among the maps of one picture.
    box : tuple of 4 float, default (0, 0, 1, 1)
        The part of the picture that it covers: left, top, right and bottom as shares of its sides.
    """

    name: str
    values: NDArray[np.float32]
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


def lay_over(
    maps: Sequence[PictureMap], picture: Thumbnail, press: ThumbnailPress
) -> list[dict[str, str]]:
    """Return each map as the template has it; none over a placeholder, or beyond the budget."""
    arrays = [require_finite(m.values, f"map {m.name!r}", shape=(None, None)) for m in maps]
    limit = max((float(np.abs(array).max()) for array in arrays), default=0.0) or 1.0
    uris = [_encode(array / limit) for array in arrays]
    if not picture.uri or not press.take(sum(map(len, uris))):
        return []
    return [
        {"name": m.name, "uri": uri, "style": _place(m.box, picture)}
        for m, uri in zip(maps, uris, strict=True)
    ]


def tell_maps(maps: Sequence[PictureMap]) -> list[dict[str, Any]]:
    """Return maps as the JSON has them, to four digits."""
    return [
        {
            "name": as_json(m.name),
            "values": [[float(f"{v:.{DIGITS}g}") for v in row] for row in np.asarray(m.values)],
            "box": [round(float(share), DIGITS) for share in m.box],
        }
        for m in maps
    ]


def _place(box: Sequence[float], picture: Thumbnail) -> str:
    """Return where a box of a picture is in its frame, a square that holds it in the middle."""
    side = max(picture.width_px, picture.height_px)
    width, height = picture.width_px / side, picture.height_px / side
    left, top, right, bottom = box
    places = {
        "left": (1 - width) / 2 + left * width,
        "top": (1 - height) / 2 + top * height,
        "width": (right - left) * width,
        "height": (bottom - top) * height,
    }
    return ";".join(f"{name}:{100 * share:.2f}%" for name, share in places.items())


def _encode(values: NDArray[np.float64]) -> str:
    """Return numbers from -1 to 1 as the data URI of a PNG: a palette, cool to clear to warm."""
    zoom = SIDE_PX / max(values.shape)
    height, width = (max(1, round(zoom * n)) for n in values.shape)
    smooth = Image.fromarray(values.astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    levels = np.rint(np.clip(np.asarray(smooth), -1, 1) * N_LEVELS).astype(int) + N_LEVELS
    image = Image.fromarray(levels.astype(np.uint8), mode="P")
    image.putpalette([*COOL] * N_LEVELS + [*WARM] * (N_LEVELS + 1))
    alphas = [OPAQUE * abs(level) // N_LEVELS for level in range(-N_LEVELS, N_LEVELS + 1)]
    file = io.BytesIO()
    image.save(file, "PNG", transparency=bytes(alphas), optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
