"""Modules of torch as ONNX, joined, described and run."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx._optional import require
from featx._version import __version__
from featx.deployment._pixels import IR_VERSION, OPSET
from featx.errors import BackboneError, one_line

__all__ = ["Session", "convert", "describe", "join", "quantise"]

PURPOSE = "featx export to .onnx"
OPERATOR = re.compile(r"operator '?([\w:.]+)'?")


def convert(
    module: nn.Module, x: torch.Tensor, names: tuple[str, Sequence[str]], *, thing: str
) -> Any:
    """Convert a module of one input, whose first axis and those of its outputs stay open.

    Parameters
    ----------
    module : nn.Module
        On the CPU.
    x : Tensor
        An example of its input, of two rows.
    names : (str, sequence of str)
        Of the input and the outputs.
    thing : str
        The network, for messages.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    BackboneError
        If it has an operator that ONNX has none for, which is named.
    """
    onnx = require("onnx", extra="onnx", purpose=PURPOSE)
    source = names[0]
    file: Any = io.BytesIO()  # which torch takes, but does not say
    try:
        with _exporting():
            torch.onnx.export(
                module.eval(), (x,), file, dynamo=False, opset_version=OPSET,
                input_names=[source], output_names=[*names[1]],
                dynamic_axes={name: {0: "n"} for name in (source, *names[1])},
            )  # fmt: skip
    except Exception as err:
        found = OPERATOR.search(str(err))
        what = f"its operator {found[1]!r} has no counterpart" if found else one_line(err)
        raise BackboneError(
            f"{thing}: cannot be converted to ONNX ({what}), expected a network of operators that "
            f"ONNX {OPSET} has; read an earlier layer (--layer), or run it by featx serve"
        ) from err
    model = onnx.load_model_from_string(file.getvalue())
    model.ir_version = IR_VERSION
    return model


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Trace with the exporter that takes hooks, whose successor cannot, and without its notes."""
    fast, n_threads = torch.backends.mha.get_fastpath_enabled(), torch.get_num_threads()
    level = logging.getLogger("torch.onnx").level
    # transformers' fused attention has no counterpart, and is the same function
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_num_threads(1)  # as for OpenVINO: many small steps wait for one another
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.set_num_threads(n_threads)
        logging.getLogger("torch.onnx").setLevel(level)


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
        ort = require("onnxruntime", extra="onnx", purpose=PURPOSE)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(data, options, ["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return every output by name for pictures of one size, (n, height, width, 3)."""
        return dict(zip(self.outputs, self._session.run(None, {self._input: pixels}), strict=True))
