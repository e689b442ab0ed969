"""Models of ONNX: joined, described, quantised and run."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx._version import __version__
from featx.engines.conversion import IR_VERSION
from featx.engines.sessions import OnnxSession

__all__ = ["Session", "describe", "join", "quantise"]

PURPOSE = "featx export to .onnx"


def join(first: Any, second: Any, *, through: str, keep: bool = False) -> Any:
    """Return one model of two, the first one's output `through` being the second's input.

    With `keep` it stays an output.
    """
    compose = require("onnx.compose", extra="onnx", purpose=PURPOSE)
    second = compose.add_prefix(second, "then/", rename_inputs=False, rename_outputs=False)
    first = compose.add_prefix(first, "first/", rename_inputs=False, rename_outputs=False)
    outputs = [o.name for o in second.graph.output]
    return compose.merge_models(
        first, second, io_map=[(through, through)],
        outputs=[*([through] if keep else []), *outputs],
    )  # fmt: skip


def describe(model: Any, metadata: Mapping[str, Any]) -> bytes:
    """Return the file's bytes, with what is known of it as JSON texts."""
    onnx = require("onnx", extra="onnx", purpose=PURPOSE)
    model.producer_name, model.producer_version = "featx", __version__
    model.graph.name = "featx"
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def quantise(model: Any, views: Sequence[NDArray[np.uint8]]) -> Any:
    """Return a network whose convolutions and products are in eight-bit integers.

    Parameters
    ----------
    model : onnx.ModelProto
        From ``view`` to ``features``.
    views : sequence of ndarray of shape (n, side, side, 3), uint8
        What it is calibrated with.
    """
    onnx = require("onnx", extra="onnx", purpose=PURPOSE)
    require("onnxruntime", extra="onnx", purpose=PURPOSE)
    quantization: Any = require("onnxruntime.quantization", extra="onnx", purpose=PURPOSE)
    pre: Any = require("onnxruntime.quantization.shape_inference", extra="onnx", purpose=PURPOSE)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(views)

        def get_next(self) -> dict[str, Any] | None:
            view = next(self.left, None)
            return None if view is None else {"view": view}

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it warns by the root logger
    try:
        with tempfile.TemporaryDirectory() as folder:
            exact, ready, small = (str(Path(folder) / f"{i}.onnx") for i in range(3))
            onnx.save(model, exact)
            pre.quant_pre_process(exact, ready, skip_symbolic_shape=True)
            quantization.quantize_static(
                ready, small, Reader(), per_channel=True,
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                extra_options={"ActivationSymmetric": False},
            )  # fmt: skip
            found = onnx.load(small)
    finally:
        root.setLevel(level)
    found.ir_version = IR_VERSION
    return found


class Session:
    """A file's bytes, run by onnxruntime on the CPU.

    Parameters
    ----------
    data : bytes
        The model.
    """

    def __init__(self, data: bytes) -> None:
        self._session = OnnxSession(data, purpose=PURPOSE)
        self.outputs = self._session.outputs

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return every output by name for pictures of one size, (n, height, width, 3)."""
        return dict(zip(self.outputs, self._session.run(pixels), strict=True))
