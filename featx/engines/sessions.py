"""What runs a converted network on the CPU without torch: OpenVINO, or onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx._optional import is_installed, require
from featx.engines.graphs import HINTS, Streams, count_threads, import_openvino
from featx.errors import one_line

__all__ = [
    "GRAPHS",
    "OnnxSession",
    "Pending",
    "Session",
    "choose_runtime",
    "open_session",
    "save_graph",
]

Pending = Callable[[], NDArray[Any]]
"""Waits for a batch, and returns its vectors (n, n_features)."""
# Runtime -> the file that it starts from.
GRAPHS = {"openvino": "graph.xml", "onnxruntime": "graph.onnx"}


class Session(Protocol):
    """A graph from views to vectors that is ready to run."""

    def begin(self, view: NDArray[Any], *, pad: bool = False) -> Pending:
        """Begin a batch, as `Streams.begin` does; what is returned waits for its vectors."""


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

    def begin(self, view: NDArray[Any], *, pad: bool = False) -> Pending:
        """Run a batch."""
        vectors = self.run(view)[0]
        return lambda: vectors


class OpenVINOSession:
    """A model in OpenVINO.

    Parameters
    ----------
    model : path
        An ``.xml`` beside its ``.bin``.
    precision : {"float32", "bfloat16"}
        What it computes in.
    n_images : int
        Of a batch.
    """

    def __init__(self, model: os.PathLike[str], precision: str, n_images: int) -> None:
        graph = import_openvino().Core().read_model(os.fspath(model))
        self._streams, self._n_images = Streams(graph, precision), n_images

    def begin(self, view: NDArray[Any], *, pad: bool = False) -> Pending:
        """Begin a batch."""
        parts: list[NDArray[Any]] = []

        def use(found: list[NDArray[Any]]) -> None:
            parts.append(found[0].copy())

        finish = self._streams.begin(view, use, self._n_images, pad=pad)

        def fetch() -> NDArray[Any]:
            finish()
            return np.concatenate(parts)[: len(view)]

        return fetch


def choose_runtime(precision: str) -> str | None:
    """Return what runs a graph in a precision here; None for nothing.

    OpenVINO where it is installed, as nearly everywhere on x86: it computes in either precision,
    and what it has kept it can also run an extraction with. Else onnxruntime, with the package
    that makes its files.

    Examples
    --------
    >>> choose_runtime("float16") is None
    True
    """
    if precision in HINTS and is_installed("openvino"):
        return "openvino"
    has_onnx = is_installed("onnxruntime") and is_installed("onnx")
    return "onnxruntime" if precision == "float32" and has_onnx else None


def save_graph(graph: Any, folder: Path, runtime: str) -> None:
    """Write what `featx.engines.conversion` has made for a runtime, in float32.

    Parameters
    ----------
    graph : openvino.Model or onnx.ModelProto
    folder : path
    runtime : {"openvino", "onnxruntime"}

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if runtime == "onnxruntime":
        (folder / GRAPHS[runtime]).write_bytes(graph.SerializeToString())
        return
    try:
        import_openvino().save_model(graph, folder / GRAPHS[runtime], compress_to_fp16=False)
    except RuntimeError as err:  # of a full disk too
        raise OSError(one_line(err)) from err


def open_session(folder: Path, runtime: str, precision: str, n_images: int) -> Session:
    """Open what `save_graph` has written, for batches of so many images.

    Raises
    ------
    BackboneError
        If this processor does not compute in the precision.
    """
    if runtime == "openvino":
        return OpenVINOSession(folder / GRAPHS[runtime], precision, n_images)
    return OnnxSession(folder / GRAPHS[runtime], purpose="a kept graph")
