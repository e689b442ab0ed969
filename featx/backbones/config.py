"""What a hub's ``config.json`` says of how images are made for the weights beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featx.errors import WeightsError
from featx.recipe import Preprocessing

__all__ = ["CONFIG", "preprocessing_of_config", "preprocessing_of_fields"]

CONFIG = "config.json"
# What timm takes where a configuration does not say.
CROP_PCT, INTERPOLATION = 0.875, "bicubic"


def preprocessing_of_config(config: Path) -> Preprocessing | None:
    """Return what a ``config.json`` beside the weights says; None where it says nothing of images.

    Parameters
    ----------
    config : Path
        As timm writes it: the fields under "pretrained_cfg", in older ones at the top.

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    try:
        whole = json.loads(config.read_text("utf-8"))
        fields = whole.get("pretrained_cfg", whole)
        if not {"input_size", "mean", "std"} <= fields.keys():
            return None
        return preprocessing_of_fields(fields)
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as err:
        raise WeightsError(
            f"{config}: says how images are made for the weights beside it, but cannot be read "
            f"({' '.join(str(err).split())[:120]}), expected timm's JSON; fetch it again"
        ) from err


def preprocessing_of_fields(fields: Mapping[str, Any]) -> Preprocessing:
    """Translate timm's names: it resizes to crop / crop_pct, rounded down."""
    crop = int(fields["input_size"][-1])
    return Preprocessing(
        resize_px=math.floor(crop / float(fields.get("crop_pct") or CROP_PCT)),
        crop_px=crop,
        interpolation=str(fields.get("interpolation") or INTERPOLATION),
        mean=tuple(map(float, fields["mean"])),  # type: ignore[arg-type]
        std=tuple(map(float, fields["std"])),  # type: ignore[arg-type]
    )
