"""Eight-bit integers: a converted graph, quantised after training and kept beside the weights.

Quantisation is nncf's, calibrated on sample images, so that it is the same on every machine. What
it loses is measured on further sample images, each time that a graph is made, and said.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
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
from featx.engines.engine import cosines
from featx.engines.graphs import compile_graph, import_openvino, without_telemetry
from featx.errors import BackboneError, one_line
from featx.files.atomic import seal, sync_folder
from featx.fingerprint import file_digest, json_digest

__all__ = ["Loss", "load_quantised", "quantise"]

# Every fourth sample image tells what was lost, the others calibrate. With 54 to 432 of them the
# cosines agreed to 0.002 (docs/decisions/engines.md).
HELD_OUT = 4
# Of the mean cosine to float32: with less, what is left is another network.
LEAST = 0.9
GRAPH, NUMBERS, LOSS = "graph.xml", "graph.bin", "loss.json"
log = logging.getLogger(__name__)


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
    graph: Any, samples: NDArray[Any], *, rest: str, layers: Sequence[str], network: str
) -> tuple[Any, Loss]:
    """Quantise a graph and measure what that loses.

    Parameters
    ----------
    graph : openvino.Model
        Float32.
    samples : ndarray
        Views to calibrate with and to measure on.
    rest : {"float32", "bfloat16"}
        What is not quantised is computed in.
    layers : sequence of str
        What the graph's outputs are, for messages.
    network : str
        The network, for messages.

    Raises
    ------
    BackboneError
        If what is left is too far from the network.
    """
    measured = np.arange(len(samples)) % HELD_OUT == 0
    exact = _run_views(graph, samples[measured], "float32")
    small = _quantise_graph(graph, samples[~measured])
    found = _run_views(small, samples[measured], rest)
    losses = [Loss(len(x), float(x.mean()), float(x.min())) for x in map(cosines, exact, found)]
    layer, loss = min(zip(layers, losses, strict=True), key=lambda pair: pair[1].mean_cosine)
    if not loss.mean_cosine >= LEAST:
        raise BackboneError(
            f"{network}: layer {layer!r} does not survive int8 ({loss}), expected a cosine "
            f"of at least {LEAST} on average; use precision 'bfloat16' or 'float32'"
        )
    return small, loss


def _run_views(graph: Any, views: NDArray[Any], dtype: str) -> list[torch.Tensor]:
    """Return each layer's outputs, one view at a time."""
    compiled = compile_graph(graph, dtype, 1)
    parts = [compiled.infer(views[i : i + 1]) for i in range(len(views))]
    return [torch.from_numpy(np.concatenate(of)) for of in zip(*parts, strict=True)]


def _quantise_graph(graph: Any, samples: NDArray[Any]) -> Any:
    with warnings.catch_warnings(), without_telemetry(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # It imports torch's builder of extensions, which warns where it finds no GPU compiler.
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
    key: Mapping[str, Any], make: Callable[[], tuple[Any, Loss]]
) -> tuple[Any, Loss]:
    """Return the graph kept under a key, or make it and keep it.

    Parameters
    ----------
    key : mapping
        Everything that the graph depends on.
    make : callable
        Makes it, and says what was lost.
    """
    openvino = import_openvino()
    folder = Path(torch.hub.get_dir()) / "featx-int8" / json_digest(dict(key))[:32]
    if folder.is_dir():
        try:
            loss = _read_loss(folder)  # first: of a damaged file OpenVINO complains on stderr
            return openvino.Core().read_model(folder / GRAPH), loss
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as err:
            reason = one_line(err)
            log.warning("int8: %s cannot be read (%s), quantising again", folder, reason)
            shutil.rmtree(folder, ignore_errors=True)
    graph, loss = make()
    try:
        _keep(openvino, graph, loss, folder)
    except (OSError, RuntimeError) as err:
        reason = one_line(err)
        log.warning(
            "int8: %s cannot be written (%s), so the next start quantises again", folder, reason
        )
    return graph, loss


def _keep(openvino: Any, graph: Any, loss: Loss, folder: Path) -> None:
    """Write a folder beside and rename it, so that one that exists is complete."""
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


def _read_loss(folder: Path) -> Loss:
    """Return what a kept graph loses, after checking that its files are what was written."""
    kept = json.loads((folder / LOSS).read_text())
    for name, digest in kept["digests"].items():
        if file_digest(folder / name) != digest:
            raise ValueError(f"{name} is not what was written")
    return Loss(**kept["loss"])
