"""What runs an ONNX file on the CPU: onnxruntime or OpenVINO, without torch."""

from __future__ import annotations

import os
from typing import Any, Protocol

from numpy.typing import NDArray

from featx._optional import is_installed, require
from featx.engines._graphs import HINTS, compile_graph, count_threads, import_openvino

__all__ = ["OnnxSession", "Session", "choose_runtime", "open_session"]


class Session(Protocol):
    """A file of one input that is ready to run."""

    def run(self, view: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the outputs for a batch."""


class OnnxSession:
    """A model in onnxruntime.

    Parameters
    ----------
    model : bytes or path
    purpose : str
        What needs it, for the message where onnxruntime is not installed.

    Attributes
    ----------
    outputs : tuple of str
        Names of what `run` returns.
    """

    def __init__(self, model: bytes | os.PathLike[str], *, purpose: str) -> None:
        ort = require("onnxruntime", extra="onnx", purpose=purpose)
        options = ort.SessionOptions()
        options.intra_op_num_threads = count_threads()
        options.log_severity_level = 3
        given = model if isinstance(model, bytes) else os.fspath(model)
        self._session = ort.InferenceSession(given, options, ["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def run(self, view: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the outputs for a batch."""
        found: list[NDArray[Any]] = self._session.run(None, {self._input: view})
        return found


class OpenVINOSession:
    """A model in OpenVINO.

    Parameters
    ----------
    model : path
    precision : {"float32", "bfloat16"}
        What it computes in.
    """

    def __init__(self, model: os.PathLike[str], precision: str) -> None:
        graph = import_openvino().Core().read_model(os.fspath(model))
        self._compiled = compile_graph(graph, precision, 1)

    def run(self, view: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the outputs for a batch."""
        return self._compiled.infer(view)


def choose_runtime(precision: str) -> str | None:
    """Return what runs a file in a precision here, the one that starts fastest; None for nothing.

    Examples
    --------
    >>> choose_runtime("float16") is None
    True
    """
    if precision == "float32" and is_installed("onnxruntime"):
        return "onnxruntime"
    return "openvino" if precision in HINTS and is_installed("openvino") else None


def open_session(model: os.PathLike[str], precision: str) -> Session:
    """Open a file with what `choose_runtime` says.

    Raises
    ------
    BackboneError
        If this processor does not compute in the precision.
    """
    if choose_runtime(precision) == "onnxruntime":
        return OnnxSession(model, purpose="a kept graph")
    return OpenVINOSession(model, precision)
