"""OpenVINO's graphs, compiled for a processor's cores and run there; nothing here needs torch."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.engines._forks import note_use
from featx.errors import BackboneError

__all__ = [
    "Compiled",
    "Streams",
    "compile_graph",
    "count_threads",
    "import_openvino",
    "without_telemetry",
]

HINTS = {"float32": "f32", "bfloat16": "bf16"}
ITEM_BYTES = {"float32": 4, "bfloat16": 2}
# Cores compute images of their own: they need not wait for each other after every step.
MAX_STREAMS = 16
# And few at a time, so that what one step hands to the next stays in a core's cache: bytes of the
# network's input, as it computes, of which 4 images of 224 px in bfloat16 have so many.
AT_ONCE_BYTES = 1_200_000
TELEMETRY = "openvino_telemetry"
SIBLINGS = "topology/thread_siblings_list"

Use = Callable[[list[NDArray[Any]]], None]
Finish = Callable[[], None]


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Keep OpenVINO and nncf from reporting to their makers while they are imported.

    ``import openvino`` as such reports to Google Analytics, unless the user has opted out. Without
    the package for it, it takes a stub that sends nothing. Where a program has imported that
    package before, this does nothing.
    """
    if TELEMETRY in sys.modules:
        yield
        return
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[TELEMETRY]


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    Raises
    ------
    MissingDependencyError
        With the install command.
    """
    with without_telemetry():
        return require("openvino", extra="openvino", purpose="engine 'openvino'")


class Compiled:
    """A graph compiled for the CPU. Any number of batches may be under way, from any thread.

    Parameters
    ----------
    compiled : openvino.CompiledModel
        The graph.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._free: list[Any] = []  # requests, which own their outputs

    def start(self, view: NDArray[Any]) -> Any:
        """Begin a batch; returns the request that `finish` takes."""
        try:
            request = self._free.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.start_async([np.ascontiguousarray(view)], share_inputs=True)
        return request

    def finish(self, request: Any, use: Use) -> None:
        """Wait for a batch, and hand its outputs over, which `use` must copy."""
        request.wait()
        n = len(self._compiled.outputs)
        use([request.get_output_tensor(i).data for i in range(n)])
        self._free.append(request)

    def infer(self, view: NDArray[Any]) -> list[NDArray[Any]]:
        """Run one batch."""
        found: list[NDArray[Any]] = []
        self.finish(self.start(view), lambda outputs: found.extend(x.copy() for x in outputs))
        return found


class Streams:
    """A graph, compiled for as many streams as its batches need.

    Parameters
    ----------
    graph : openvino.Model
        From views (n, ...), of one input.
    dtype : {"float32", "bfloat16"}
        What is computed in, where it is not quantised.
    """

    def __init__(self, graph: Any, dtype: str) -> None:
        self._graph, self._dtype = graph, dtype
        self.compiled: dict[int, Compiled] = {}

    def compile(self, n_images: int) -> Compiled:
        """Return it compiled for batches of so many images; on first use that takes time."""
        n_streams = count_streams(n_images)
        if n_streams not in self.compiled:
            self.compiled[n_streams] = compile_graph(self._graph, self._dtype, n_streams)
        return self.compiled[n_streams]

    def begin(
        self, view: NDArray[Any], use: Use, n_images: int | None = None, *, pad: bool = False
    ) -> Finish:
        """Begin a batch, some images to a stream at a time.

        Parameters
        ----------
        view : ndarray of shape (n, ...)
            Stays as it is until the end.
        use : callable
            Given the outputs of the next images, which it must copy.
        n_images : int, optional
            Of the batches that it was compiled for; default as many as there are.
        pad : bool, default False
            Fill up with blank images, whose outputs follow, so that an image's outputs are the
            same to the last bit however many of `n_images` come with it.

        Returns
        -------
        callable
            Waits for the batch, and hands its outputs over.
        """
        n = n_images or len(view)
        compiled, most = self.compile(n), max(n, len(view))
        size = _count_images_at_once(most, count_streams(n), view.shape[1:], self._dtype)
        if pad and len(view) % size:
            blank = np.zeros((-len(view) % size, *view.shape[1:]), view.dtype)
            view = np.concatenate([view, blank])
        begun = [compiled.start(view[at : at + size]) for at in range(0, max(len(view), 1), size)]

        def finish() -> None:
            for request in begun:
                compiled.finish(request, use)

        return finish


def count_threads() -> int:
    """Return how many threads torch has; before it is imported, how many it would take.

    So `torch.set_num_threads` and OMP_NUM_THREADS hold for every engine.
    """
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else _count_cores()


@functools.cache
def _count_cores() -> int:
    """Return the cores that this process may use; two threads of one core count once on Linux."""
    has_mask = hasattr(os, "sched_getaffinity")
    cores = set()
    for i in os.sched_getaffinity(0) if has_mask else range(os.cpu_count() or 1):
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{i}/{SIBLINGS}").read_text())
        except OSError:
            cores.add(str(i))
    return len(cores)


def count_streams(n_images: int) -> int:
    """Return how many batches are computed at a time: as many as there are threads, or one.

    Of fewer images than threads each is computed by all of them.
    """
    n_streams = min(count_threads(), MAX_STREAMS)
    return n_streams if n_images >= n_streams else 1


def _count_images_at_once(n_images: int, n_streams: int, shape: Sequence[int], dtype: str) -> int:
    """Return how many of a batch's images, each of `shape`, one stream is given at a time."""
    image_bytes = math.prod(shape) * ITEM_BYTES[dtype]
    share = -(-n_images // n_streams)
    return max(min(round(AT_ONCE_BYTES / image_bytes), share), 1)


def compile_graph(graph: Any, dtype: str, n_streams: int) -> Compiled:
    """Compile a converted graph for so many streams.

    Parameters
    ----------
    graph : openvino.Model
    dtype : {"float32", "bfloat16"}
        What is computed in, where the graph is not quantised.
    n_streams : int
        From `count_streams`.

    Raises
    ------
    BackboneError
        If OpenVINO would compute in another precision.
    """
    openvino = import_openvino()
    hints: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": HINTS[dtype],
        "INFERENCE_NUM_THREADS": count_threads(),
        # Readers and other programs need the cores too, and pinned threads wait for theirs.
        "ENABLE_CPU_PINNING": False,
    }
    hints |= {"NUM_STREAMS": n_streams} if n_streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}
    note_use("openvino")
    compiled = openvino.Core().compile_model(graph, "CPU", hints)
    got = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if got != HINTS[dtype]:
        raise BackboneError(
            f"precision: got {dtype!r}, but OpenVINO computes in {got} on this CPU, expected "
            f"{HINTS[dtype]}; use engine 'torch', or precision 'float32'"
        )
    return Compiled(compiled)
