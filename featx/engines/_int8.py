"""Eight-bit integers: a converted graph, quantised after training and kept beside the weights.

Quantisation is nncf's, calibrated on sample images, so that it is the same on every machine. What
it loses is measured on further sample images, each time that a graph is made, and said.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx._optional import require
from featx._progress import Progress
from featx.engines._telemetry import without_telemetry
from featx.errors import BackboneError, MissingDependencyError, ParameterError
from featx.files.atomic import seal, sync_folder
from featx.fingerprint import file_digest, json_digest

__all__ = [
    "INT8",
    "Loss",
    "Samples",
    "Vectors",
    "cosines",
    "int8_name",
    "is_int8",
    "load_quantised",
    "quantise",
    "rest_of",
]

INT8 = "int8"
_NAME = re.compile(r"int8\((float32|bfloat16), nncf (\S+)\)")
# Every fourth sample image tells what was lost, the others calibrate. With 54 to 432 of them the
# cosines agreed to 0.002 (docs/decisions/engines.md).
HELD_OUT = 4
# Of the mean cosine to float32: with less, what is left is another network.
LEAST = 0.9
GRAPH, NUMBERS, LOSS = "graph.xml", "graph.bin", "loss.json"
log = logging.getLogger(__name__)

Vectors = Callable[[Any, NDArray[Any], str], list[NDArray[np.float64]]]
"""What runs a graph over views in a precision and returns each layer's output, flat, (n, ...)."""
Samples = Callable[[Sequence[int]], NDArray[Any]]
"""What gives sample views of a shape, (n, *shape)."""


def is_int8(precision: str) -> bool:
    """Tell whether a precision is eight-bit integers, by whatever version of nncf."""
    return str(precision).startswith(INT8)


def int8_name(precision: str, rest: str) -> str:
    """Return the full name of "int8", with all that the features depend on.

    Parameters
    ----------
    precision : str
        "int8", or a full name.
    rest : {"float32", "bfloat16"}
        What a network of this machine computes in where it is not quantised.

    Raises
    ------
    ParameterError
        If a full name is given, and another version is installed.
    MissingDependencyError
        If nncf is not installed.
    """
    try:
        installed = importlib.metadata.version("nncf")
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependencyError(
            "precision 'int8' needs the packages 'nncf' and 'openvino', of which nncf is not "
            "installed; install them with: pip install 'featx[int8]'"
        ) from None
    named = _NAME.fullmatch(precision)
    if precision != INT8 and named is None:
        raise ParameterError(
            f"precision: got {precision!r}, expected 'int8', or a recipe's "
            "'int8(float32, nncf VERSION)'"
        )
    if named is None:
        return f"int8({rest}, nncf {installed})"
    if named[2] != installed:
        raise ParameterError(
            f"precision: got {precision!r}, but nncf {installed} is installed, which may quantise "
            f"otherwise; expected the version that made the features: pip install "
            f"nncf=={named[2]}, or extract again with precision 'int8'"
        )
    return precision


def rest_of(precision: str) -> str:
    """Return what a network computes in where it is not quantised."""
    named = _NAME.fullmatch(precision)
    return precision if named is None else named[1]


@dataclass(frozen=True)
class Loss:
    """What quantising cost, over sample images that it was not calibrated with.

    Parameters
    ----------
    n_images : int
        How many.
    mean_cosine, worst_cosine : float
        To the float32 network, of the layer that lost most.
    """

    n_images: int
    mean_cosine: float
    worst_cosine: float

    def __str__(self) -> str:
        return (
            f"cosine to float32 over {self.n_images} sample images {self.mean_cosine:.4f}, at "
            f"worst {self.worst_cosine:.4f}"
        )


def quantise(
    graph: Any,
    samples: NDArray[Any],
    vectors: Vectors,
    *,
    rest: str,
    layers: Sequence[str],
    thing: str,
) -> tuple[Any, Loss]:
    """Quantise a graph and measure what that loses.

    Parameters
    ----------
    graph : openvino.Model
        Float32.
    samples : ndarray
        Views to calibrate with and to measure on.
    vectors : callable
        Runs a graph.
    rest : {"float32", "bfloat16"}
        What is not quantised is computed in.
    layers : sequence of str
        What the graph's outputs are, for messages.
    thing : str
        The network, for messages.

    Raises
    ------
    BackboneError
        If what is left is too far from the network.
    """
    measured = np.arange(len(samples)) % HELD_OUT == 0
    exact = vectors(graph, samples[measured], "float32")
    small = _quantised(graph, samples[~measured])
    found = vectors(small, samples[measured], rest)
    by_layer = [cosines(a, b) for a, b in zip(exact, found, strict=True)]
    worst = min(range(len(by_layer)), key=lambda i: by_layer[i].mean())
    loss = Loss(int(measured.sum()), float(by_layer[worst].mean()), float(by_layer[worst].min()))
    if not loss.mean_cosine >= LEAST:
        raise BackboneError(
            f"{thing}: layer {layers[worst]!r} does not survive int8 ({loss}), expected a cosine "
            f"of at least {LEAST} on average; use precision 'bfloat16' or 'float32'"
        )
    return small, loss


def _quantised(graph: Any, samples: NDArray[Any]) -> Any:
    with warnings.catch_warnings(), without_telemetry(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # It imports what builds torch's extensions, which misses a GPU's compiler aloud.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        nncf = require("nncf", extra="int8", purpose="precision 'int8'")
        # Not nncf.set_log_level, which sets the level of the program's own handlers too.
        logging.getLogger("nncf").setLevel(logging.ERROR)
        with Progress(len(samples), "quantise") as bar:

            def one(sample: NDArray[Any]) -> NDArray[Any]:
                if bar.done < len(samples):  # nncf goes through them more than once
                    bar.advance()
                return sample[None]

            return nncf.quantize(
                graph,
                nncf.Dataset(list(samples), one),
                subset_size=len(samples),
                preset=nncf.QuantizationPreset.MIXED,
            )


def load_quantised(
    openvino: Any, key: Mapping[str, Any], make: Callable[[], tuple[Any, Loss]]
) -> tuple[Any, Loss]:
    """Return the graph kept under a key, or make it and keep it.

    Parameters
    ----------
    openvino : module
        The package.
    key : mapping
        Everything that the graph depends on.
    make : callable
        Makes it, and says what was lost.
    """
    folder = Path(torch.hub.get_dir()) / "featx-int8" / json_digest(dict(key))[:32]
    if folder.is_dir():
        try:
            loss = _loss_of(folder)  # first: of a damaged file OpenVINO complains on stderr
            return openvino.Core().read_model(folder / GRAPH), loss
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as err:
            log.warning(
                "int8: %s cannot be read (%s), quantising anew", folder, " ".join(str(err).split())
            )
            shutil.rmtree(folder, ignore_errors=True)
    graph, loss = make()
    try:
        _keep(openvino, graph, loss, folder)
    except (OSError, RuntimeError) as err:
        log.warning(
            "int8: %s cannot be written (%s), so the next start quantises again", folder,
            " ".join(str(err).split()),
        )  # fmt: skip
    return graph, loss


def _keep(openvino: Any, graph: Any, loss: Loss, folder: Path) -> None:
    """Write beside and rename: what is there is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
    try:
        openvino.save_model(graph, beside / GRAPH, compress_to_fp16=False)
        digests = {name: file_digest(beside / name) for name in (GRAPH, NUMBERS)}
        (beside / LOSS).write_text(json.dumps({"loss": asdict(loss), "digests": digests}))
        for path in beside.iterdir():
            seal(path)
        beside.chmod(0o755)
        with contextlib.suppress(FileExistsError):
            beside.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _loss_of(folder: Path) -> Loss:
    """Return what a kept graph loses, once its files are what was written."""
    kept = json.loads((folder / LOSS).read_text())
    for name, digest in kept["digests"].items():
        if file_digest(folder / name) != digest:
            raise ValueError(f"{name} is not what was written")
    return Loss(**kept["loss"])


def cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows, 1 where both are zeros."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    products = np.einsum("nd,nd->n", a, b)
    found: NDArray[np.float64] = np.where(both_zero, 1.0, products / np.where(lengths, lengths, 1))
    return found
