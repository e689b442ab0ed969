"""A module of torch as a graph that runs without it: ONNX, or OpenVINO's."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from featx._optional import require
from featx.engines.graphs import import_openvino
from featx.errors import BackboneError, one_line

__all__ = ["IR_VERSION", "OPSET", "to_onnx", "to_openvino"]

IR_VERSION, OPSET = 8, 18
OPERATOR = re.compile(r"operator '?([\w:.]+)'?")


def to_onnx(
    module: nn.Module,
    x: torch.Tensor,
    names: tuple[str, Sequence[str]],
    *,
    thing: str,
    purpose: str = "featx export to .onnx",
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
    purpose : str
        What needs it, for the message where onnx is not installed.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    BackboneError
        If it has an operator that ONNX has none for, which is named.
    """
    onnx = require("onnx", extra="onnx", purpose=purpose)
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


def to_openvino(module: nn.Module, x: torch.Tensor, *, thing: str) -> Any:
    """Convert a module of one input, whose first axis stays open.

    As ``openvino.convert_model`` does, which reports to its makers and sets up the root logger.

    Parameters
    ----------
    module : nn.Module
        On the CPU.
    x : Tensor
        An example of its input, of two rows: of one, the axis would look fixed.
    thing : str
        The network, for messages.

    Returns
    -------
    openvino.Model

    Raises
    ------
    BackboneError
        If it cannot be traced, or has an operator that OpenVINO has none for.
    """
    import_openvino()  # first of all, without its telemetry
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    trace: Any = torch.jit.trace
    try:
        with torch.inference_mode(), _tracing():
            traced = trace(module.eval(), x, check_trace=False, strict=False)
            front_end = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchScriptPythonDecoder(traced, example_input=x)  # must outlive the rest
            graph = front_end.convert(front_end.load(decoder))
        graph.reshape([-1, *x.shape[1:]])
    except Exception as err:
        raise BackboneError(
            f"{thing}: OpenVINO cannot run it ({type(err).__name__}: {one_line(err)}), expected a "
            "network that torch.jit.trace and OpenVINO's converter take; use engine 'torch'"
        ) from err
    return graph


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    """Trace on one thread: many small steps wait for one another where cores are busy."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated; what follows it has no hooks
            yield
    finally:
        torch.set_num_threads(n_threads)


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Trace with the exporter that takes hooks, whose successor cannot, and without its notes."""
    fast = torch.backends.mha.get_fastpath_enabled()
    level = logging.getLogger("torch.onnx").level
    # transformers' fused attention has no counterpart, and is the same function
    torch.backends.mha.set_fastpath_enabled(False)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with _tracing(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        logging.getLogger("torch.onnx").setLevel(level)
