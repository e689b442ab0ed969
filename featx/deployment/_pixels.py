"""From a decoded image to the network's view, in the operators of ONNX.

ONNX's Resize with ``antialias=1`` and ``exclude_outside=1`` is Pillow's filter; its result differs
from Pillow's by one grey value here and there (docs/decisions/deployment.md).
"""

from __future__ import annotations

from typing import Any

from featx._optional import require
from featx.engines.conversion import IR_VERSION, OPSET
from featx.errors import ParameterError
from featx.recipe import Preprocessing

__all__ = ["make_pixels"]

FILTERS = {"bilinear": 'mode="linear"', "bicubic": 'mode="cubic", cubic_coeff_a=-0.5'}


def make_pixels(p: Preprocessing) -> Any:
    """Return the model from ``image`` (n, height, width, 3) to ``view`` (n, side, side, 3), uint8.

    Sizes and places are those of `featx.images.ImagePreprocessor`.

    Raises
    ------
    ParameterError
        If the images keep their own sizes, or the filter is none of ONNX's.
    """
    if p.crop_px is None:
        raise ParameterError(
            "crop_px: got None, so that images keep their own sizes, expected one size for the "
            "exported network; extract and train with a crop (--crop)"
        )
    if p.resize_px is not None and p.interpolation not in FILTERS:
        raise ParameterError(
            f"interpolation: got {p.interpolation!r}, expected {' or '.join(FILTERS)}, which ONNX "
            "has operators for; extract and train with a network that uses one of them"
        )
    parser = require("onnx.parser", extra="onnx", purpose="featx export to .onnx")
    return parser.parse_model(_TEXT.format(
        ir=IR_VERSION, opset=OPSET, crop=p.crop_px, resize=_resize(p),
    ))  # fmt: skip


def _resize(p: Preprocessing) -> str:
    """Return the steps from ``pixels`` of size ``own`` to ``resized`` of size ``size``."""
    if p.resize_px is None:
        return "resized = Identity (pixels)\n size = Identity (own)"
    shorter = "own" if p.squash else "shorter"
    return f"""px = Constant <value_ints: ints = [{p.resize_px}]> ()
 shorter = ReduceMin <keepdims: int = 1> (own)
 scaled = Mul (own, px)
 size = Div (scaled, {shorter})
 whole = Concat <axis: int = 0> (front, size)
 resized = Resize <{FILTERS[p.interpolation]}, antialias: int = 1, exclude_outside: int = 1>
           (pixels, , , whole)"""


_TEXT = """<ir_version: {ir}, opset_import: ["" : {opset}]>
pixels (uint8[n, height, width, 3] image) => (uint8[n, {crop}, {crop}, 3] view) {{
 pixels = Transpose <perm: ints = [0, 3, 1, 2]> (image)
 front = Shape <start: int = 0, end: int = 2> (pixels)
 own = Shape <start: int = 2, end: int = 4> (pixels)
 {resize}
 crop = Constant <value_ints: ints = [{crop}, {crop}]> ()
 nothing = Constant <value_ints: ints = [0, 0]> ()
 one = Constant <value_ints: ints = [1, 1]> ()
 two = Constant <value_ints: ints = [2, 2]> ()
 axes = Constant <value_ints: ints = [2, 3]> ()
 missing = Sub (crop, size)
 border = Max (missing, nothing)
 before = Div (border, two)
 odd = Add (border, one)
 after = Div (odd, two)
 borders = Concat <axis: int = 0> (nothing, before, nothing, after)
 padded = Pad (resized, borders)
 full = Add (size, border)
 spare = Sub (full, crop)
 spare_float = Cast <to: int = 1> (spare)
 half = Constant <value_float: float = 0.5> ()
 middle = Mul (spare_float, half)
 even = Round (middle)
 start = Cast <to: int = 7> (even)
 end = Add (start, crop)
 cropped = Slice (padded, start, end, axes)
 view = Transpose <perm: ints = [0, 2, 3, 1]> (cropped)
}}"""
