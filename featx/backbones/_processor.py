"""How images are made by an image processor of transformers, where featx can make them so.

What cannot be is an error that names the setting: features of images made otherwise are wrong, and
nothing shows it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from featx.errors import BackboneError
from featx.recipe import Preprocessing

__all__ = ["PROCESSOR", "preprocessing_of"]

PROCESSOR = "preprocessor_config.json"
# Pillow's numbers of its filters.
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
# Where a class of processors may do something of its own.
STEPS = ("preprocess", "_preprocess", "process_image", "resize", "center_crop", "rescale",
         "normalize", "pad")  # fmt: skip
COMMON = tuple(f"transformers.image_processing_{part}" for part in ("base", "backends", "utils"))
CONVNEXT, CONVNEXT_PX = "ConvNextImageProcessor", 384


def preprocessing_of(processor: Any, where: str | Path) -> Preprocessing:
    """Translate a processor's settings.

    Parameters
    ----------
    processor : transformers.BaseImageProcessor
        With Pillow behind it.
    where : str or Path
        What holds its settings, for the message.

    Raises
    ------
    BackboneError
        If it does what featx does not, with the setting.

    Notes
    -----
    Where the pixels that a centre crop leaves over are odd in number, transformers leaves the
    smaller half on the left and the top; featx rounds half to even, as torchvision does, and may
    crop one pixel further.
    """
    kind = type(processor).__name__.removesuffix("Pil")
    own = [step for step in STEPS if _is_own(type(processor), step)]
    if own and kind != CONVNEXT:
        raise _unsupported(where, f"a processor {kind}, which has a {own[0]} of its own")
    said: dict[str, Any] = processor.to_dict()
    _require(where, said, "do_rescale", True)
    _require(where, said, "do_pad", False)
    factor = float(said.get("rescale_factor") or 1 / 255)
    if not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise _unsupported(where, f"rescale_factor {factor}", "1/255")
    resize_px, squash, crop_px = None, False, None
    if said.get("do_resize"):
        resize_px, squash = _resized(where, said)
        crop_px = resize_px if squash else None
    if kind == CONVNEXT and resize_px is not None:
        resize_px, squash, crop_px = _convnext(said, resize_px)
    if said.get("do_center_crop"):
        crop_px = _side(where, "crop_size", said.get("crop_size"))
    normalised = bool(said.get("do_normalize"))
    number: Any = said.get("resample")
    if resize_px is not None and number not in FILTERS:
        raise _unsupported(where, f"resample {number!r}", f"one of {sorted(FILTERS)}")
    return Preprocessing(
        resize_px=resize_px,
        crop_px=crop_px,
        interpolation=FILTERS[int(number)] if resize_px is not None else "bilinear",
        mean=_three(said["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=_three(said["image_std"]) if normalised else (1.0, 1.0, 1.0),
        squash=squash,
    )


def _is_own(kind: type, step: str) -> bool:
    """Tell whether a class does a step in another way than transformers' common one."""
    home = next((c for c in kind.__mro__ if step in vars(c)), None)
    return home is not None and home.__module__ not in COMMON


def _resized(where: str | Path, said: dict[str, Any]) -> tuple[int, bool]:
    """Return the side to resize to, and whether the image is stretched to a square of it."""
    size = {k: v for k, v in dict(said.get("size") or {}).items() if v is not None}
    if size.keys() == {"shortest_edge"}:
        return int(size["shortest_edge"]), False
    return _side(where, "size", size), True


def _side(where: str | Path, name: str, size: Any) -> int:
    size = {k: v for k, v in dict(size or {}).items() if v is not None}
    sides = set(size.values())
    if size.keys() != {"height", "width"} or len(sides) != 1:
        raise _unsupported(where, f"{name} {size}", "a square, or the shortest edge")
    return int(sides.pop())


def _convnext(said: dict[str, Any], px: int) -> tuple[int, bool, int]:
    """Return the sizes of a processor that crops small images and stretches large ones."""
    if px >= CONVNEXT_PX:
        return px, True, px
    return int(px / float(said.get("crop_pct") or 224 / 256)), False, px


def _require(where: str | Path, said: dict[str, Any], name: str, expected: bool) -> None:
    if bool(said.get(name, expected)) != expected:
        raise _unsupported(where, f"{name} {said[name]}", str(expected))


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, [values] * 3 if isinstance(values, float | int) else values)
    return red, green, blue


def _unsupported(
    where: str | Path, found: str, expected: str = "the common steps"
) -> BackboneError:
    return BackboneError(
        f"{where}: got {found}, which featx does not do, expected {expected}; in Python, pass "
        "the module itself as the backbone, with a transform of your own"
    )
