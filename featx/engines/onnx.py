"""A module of torch as ONNX, which onnxruntime and OpenVINO both read."""

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
from featx.errors import BackboneError, one_line

__all__ = ["IR_VERSION", "OPSET", "convert"]

IR_VERSION, OPSET = 8, 18
OPERATOR = re.compile(r"operator '?([\w:.]+)'?")


def convert(
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
