"""Converted networks that are kept on disk, so that a few images need no torch.

A graph is a folder beside torch hub's weights: the network from one view to its vector, as what
runs it reads it; a few views with the vectors that torch gives for them; and a note with the
files' digests. It is compared with those vectors each time that it is opened, and one that is not
what was written, or answers otherwise, is made anew.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._version import __version__
from featx.engines._forks import has_lost_threads
from featx.engines.sessions import (
    GRAPHS,
    Pending,
    Session,
    choose_runtime,
    open_session,
    save_graph,
)
from featx.errors import BackboneError, one_line
from featx.files.atomic import seal, sync_folder
from featx.fingerprint import file_digest

__all__ = [
    "NOTE",
    "N_COMPARED",
    "SWITCH",
    "Graph",
    "Made",
    "graphs_dir",
    "is_wanted",
    "keep_graph",
    "load_graph",
]

SWITCH = "FEATX_GRAPHS"
TRIAL, NOTE = "trial.npz", "note.json"
N_COMPARED = 3
# In float32 the largest difference to torch, as a share of the vectors' largest element.
TOLERANCE = 1e-5
# In bfloat16, 1 - cosine to float32 may be this many times torch's own, and this much more.
TIMES_TORCH, MORE_THAN_TORCH = 2.0, 1e-3
# Of all graphs: some twenty of resnet50. Those opened longest ago make room.
MAX_BYTES = 2 << 30
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """A network converted, and what torch gives for trial views.

    Parameters
    ----------
    graph : openvino.Model or onnx.ModelProto
        As its runtime takes it: views (n, H, W, 3), uint8, to vectors (n, n_features), float32.
    views : ndarray of shape (n, H, W, 3), uint8
    exact, by_torch : ndarray of shape (n, n_features), float32
        Their vectors by torch, in float32 and in the precision that the graph is for.
    """

    graph: Any
    views: NDArray[np.uint8]
    exact: NDArray[np.float32]
    by_torch: NDArray[np.float32]


@dataclass(frozen=True)
class Graph:
    """A kept graph that is ready to run.

    Parameters
    ----------
    session : Session
    runtime : {"openvino", "onnxruntime"}
    """

    session: Session
    runtime: str

    def begin(self, view: NDArray[np.uint8], *, pad: bool = False) -> Pending:
        """Begin views (n, H, W, 3), as `Streams.begin` does; what is returned has the vectors."""
        return self.session.begin(view, pad=pad)


def graphs_dir() -> Path:
    """Return the folder of kept graphs: ``FEATX_GRAPHS``, or beside torch hub's weights."""
    named = os.environ.get(SWITCH)
    if named:
        return Path(named)
    if "torch" in sys.modules:
        return Path(sys.modules["torch"].hub.get_dir()) / "featx-graphs"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"  # as torch.hub.get_dir says
    home = os.environ.get("TORCH_HOME") or str(Path(cache, "torch"))
    return Path(home).expanduser() / "hub" / "featx-graphs"


def is_wanted(precision: str) -> bool:
    """Tell whether a graph in this precision can run here, and is not switched off."""
    runtime = choose_runtime(precision)
    return (
        runtime is not None and os.environ.get(SWITCH) != "off" and not has_lost_threads(runtime)
    )


def load_graph(name: str, precision: str, *, n_images: int = 1) -> Graph | None:
    """Open a kept graph and compare it with torch; None where there is none that fits.

    Parameters
    ----------
    name : str
        What it was kept under.
    precision : {"float32", "bfloat16"}
    n_images : int, default 1
        Of the batches to come, which it is made ready for.
    """
    folder, runtime = graphs_dir() / name, choose_runtime(precision)
    if runtime is None or not folder.is_dir():
        return None
    try:
        note = _read_note(folder)
        if note["made"] != _describe(runtime):
            log.info("kept graph %s: made for %s, made anew", folder, note["made"])
            return None
        if "reason" in note:
            return None
        with np.load(folder / TRIAL) as trial:
            one = {key: trial[key][:1] for key in ("views", "exact", "by_torch")}
    except (OSError, ValueError, KeyError, TypeError) as err:
        log.warning("kept graph %s: cannot be read (%s), made anew", folder, one_line(err))
        return None
    try:
        session = _open_same(folder, runtime, precision, **one, n_images=n_images)
    except BackboneError as err:
        log.warning("kept graph %s: not used on this machine: %s", folder, err)
        return None
    with contextlib.suppress(OSError):  # somebody else's
        os.utime(folder)
    return Graph(session, runtime)


def keep_graph(name: str, precision: str, make: Callable[[str], Made]) -> None:
    """Make a graph and keep it, where there is none that fits.

    Where it cannot be made, the reason is kept instead, so that nobody tries again before featx
    or what runs the graph changes.

    Parameters
    ----------
    name : str
        What to keep it under.
    precision : {"float32", "bfloat16"}
    make : callable
        Given the runtime; raises a BackboneError where the network cannot be converted.
    """
    folder, runtime = graphs_dir() / name, choose_runtime(precision)
    assert runtime is not None
    with contextlib.suppress(OSError, ValueError, KeyError):
        if _read_note(folder)["made"] == _describe(runtime):
            return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
    except OSError as err:
        log.info("kept graph %s: cannot be written (%s)", folder, err)
        return
    try:
        _write(beside, runtime, precision, make)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            beside.rename(folder)
        except OSError:
            if not (folder / NOTE).is_file():  # else another process was faster
                raise
        sync_folder(folder.parent)
        _make_room(folder)
    except OSError as err:
        log.warning("kept graph %s: cannot be written (%s)", folder, err)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(folder: Path, runtime: str, precision: str, make: Callable[[str], Made]) -> None:
    note: dict[str, Any] = {"made": _describe(runtime)}
    try:
        made = make(runtime)
        save_graph(made.graph, folder, runtime)
        views, exact, by_torch = made.views, made.exact, made.by_torch
        np.savez(folder / TRIAL, views=views, exact=exact, by_torch=by_torch)
        _open_same(folder, runtime, precision, views, exact, by_torch)
    except BackboneError as err:
        log.info("kept graph: %s", err)
        for path in folder.iterdir():
            path.unlink()
        note["reason"] = str(err)
    note["digests"] = {path.name: file_digest(path) for path in folder.iterdir()}
    (folder / NOTE).write_text(json.dumps(note))
    for path in folder.iterdir():
        seal(path)
    folder.chmod(0o755)


def _make_room(newest: Path) -> None:
    """Remove other graphs until all fit into `MAX_BYTES`, those opened longest ago first."""
    graphs = [note.parent for note in newest.parent.glob(f"[!.]*/{NOTE}")]
    graphs.sort(key=lambda folder: (folder != newest, -folder.stat().st_mtime))
    left = MAX_BYTES
    for folder in graphs:
        left -= sum(path.stat().st_size for path in folder.iterdir())
        if left < 0 and folder != newest:
            log.info(
                "kept graph %s: removed, since all take more than %d bytes", folder, MAX_BYTES
            )
            shutil.rmtree(folder, ignore_errors=True)


def _read_note(folder: Path) -> dict[str, Any]:
    """Return what is said of a graph, after checking that its files are what was written."""
    note: dict[str, Any] = json.loads((folder / NOTE).read_text())
    for name, digest in note["digests"].items():
        if file_digest(folder / name) != digest:
            raise ValueError(f"{name} is not what was written")
    return note


def _describe(runtime: str) -> dict[str, str]:
    version = importlib.metadata.version(runtime)
    return {"featx": __version__, runtime: version, "file": GRAPHS[runtime]}


def _open_same(
    folder: Path,
    runtime: str,
    precision: str,
    views: NDArray[np.uint8],
    exact: NDArray[np.float32],
    by_torch: NDArray[np.float32],
    n_images: int = N_COMPARED,
) -> Session:
    """Open a graph, and require of it the vectors that torch gives.

    Raises
    ------
    BackboneError
        If they differ or are not of the same shape, or it does not run.
    """
    try:
        session = open_session(folder, runtime, precision, n_images)
        found = session.begin(views, pad=True)()
    except BackboneError:
        raise
    except Exception as err:
        raise BackboneError(f"it does not run ({type(err).__name__}: {one_line(err)})") from err
    if found.shape != exact.shape:
        raise BackboneError(f"it gives vectors of shape {found.shape}, torch of {exact.shape}")
    if precision == "float32":
        off = float(
            np.abs(found - exact).max(initial=0) / max(np.abs(exact).max(initial=0), 1e-30)
        )
        allowed = TOLERANCE
    else:
        off = 1 - _least_cosine(found, exact)
        allowed = TIMES_TORCH * (1 - _least_cosine(by_torch, exact)) + MORE_THAN_TORCH
    if not off <= allowed:
        raise BackboneError(
            f"its vectors are {off:.2g} from torch's in float32, expected at most {allowed:.2g}"
        )
    return session


def _least_cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float(((x * y).sum(axis=1) / np.where(lengths, lengths, 1)).min(initial=1.0))
