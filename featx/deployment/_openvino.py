"""An exported model as OpenVINO's pair of files: a graph (.xml) and its numbers (.bin).

OpenVINO's reader of ONNX keeps the metadata, in ``rt_info`` under "framework", but resizes without
smoothing; it has operators of its own that resize as Pillow does.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.engines.graphs import compile_graph, import_openvino
from featx.errors import StoreWriteError, one_line
from featx.files.atomic import seal, sync_folder
from featx.files.outputs import check_output
from featx.fingerprint import file_digest

__all__ = ["KIND", "OpenVINOSession", "check_pair", "write_pair"]

KIND = "openvino"
# ONNX's filters, by the names of OpenVINO's reader, and Pillow's.
FILTERS = {"linear_onnx": "bilinear_pillow", "cubic": "bicubic_pillow"}
DIGEST = re.compile(rb'<numbers value="([0-9a-f]{64})" />')


class OpenVINOSession:
    """A file's model, run by OpenVINO on the CPU in float32.

    Parameters
    ----------
    data : bytes
        The model as ONNX.
    """

    def __init__(self, data: bytes) -> None:
        model = _read(data)
        self.outputs = tuple(output.get_any_name() for output in model.outputs)
        self._compiled = compile_graph(model, "float32", 1)

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return every output by name for pictures of one size, (n, height, width, 3)."""
        return dict(zip(self.outputs, self._compiled.infer(pixels), strict=True))


def check_pair(out: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the two files to write, before the work.

    Raises
    ------
    StoreWriteError
        As `check_output` for the graph; or if its name with ``.bin`` is there, and is not what
        featx wrote for the graph that is there.
    """
    graph = check_output(out, KIND)
    numbers = graph.with_suffix(".bin")
    if os.path.lexists(numbers):
        noted = DIGEST.search(graph.read_bytes()) if graph.is_file() else None
        if noted is None or not numbers.is_file() or file_digest(numbers) != noted[1].decode():
            raise StoreWriteError(
                f"openvino {os.fspath(out)!r}: its numbers would replace {str(numbers)!r}, which "
                "featx did not write for it; choose another name, or remove that file first"
            )
    return graph, numbers


def write_pair(data: bytes, out: str | os.PathLike[str]) -> int:
    """Write a model of ONNX as OpenVINO's pair of files; returns how many bytes they have.

    At no moment is a graph beside numbers that are not its own.

    Raises
    ------
    StoreWriteError
        As `check_pair`, or if the folder does not take them.
    """
    graph, numbers = check_pair(out)
    model, save = _read(data), import_openvino().save_model
    beside = Path(tempfile.mkdtemp(dir=graph.parent, prefix="."))
    new_graph, new_numbers = beside / "a.xml", beside / "a.bin"
    try:
        save(model, new_graph, compress_to_fp16=False)
        model.set_rt_info(file_digest(new_numbers), ["featx", "numbers"])
        save(model, new_graph, compress_to_fp16=False)
        for path in (new_graph, new_numbers):
            seal(path)
        n_bytes = new_graph.stat().st_size + new_numbers.stat().st_size
        graph.unlink(missing_ok=True)
        new_numbers.replace(numbers)
        new_graph.replace(graph)
        sync_folder(graph.parent)
    except (OSError, RuntimeError) as err:  # RuntimeError is OpenVINO's, of a full disk too
        raise StoreWriteError(
            f"openvino {os.fspath(out)!r}: cannot be written ({one_line(err)}); the folder must "
            "exist, be writable and have space"
        ) from err
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return n_bytes


def _read(data: bytes) -> Any:
    """Return OpenVINO's model of one of ONNX, with Pillow's filters."""
    model = import_openvino().Core().read_model(data)
    from openvino import opset11

    for node in model.get_ops():
        if node.get_type_name() == "Interpolate":
            image, size = node.input_value(0), opset11.gather(node.input_value(1), [2, 3], 0)
            mode = FILTERS[node.get_attributes()["mode"]]
            resized = opset11.interpolate(image, size, mode, "sizes", axes=[2, 3], cube_coeff=-0.5)
            node.output(0).replace(resized.output(0))
    return model
