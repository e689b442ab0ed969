"""The teachers' features of every view, computed once and kept on disk.

Two files in the work folder for each teacher: ``teacher-0.npy`` (n, n_views, D) float16, and
``teacher-0.json`` with how many photographs are done and what the features were made with. The
second is replaced only after the first has reached the disk, so a killed run repeats one chunk at
most.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx import Encoder
from featx._progress import Progress
from featx.errors import FingerprintMismatchError
from pipelines.distill.config import DistillConfig
from pipelines.distill.photographs import Photographs
from pipelines.distill.views import make_view

__all__ = ["Teacher", "open_teacher", "precompute", "write_json"]

FIELDS = ("n_views", "n_mosaics", "min_scale", "seed")
BATCH_SIZE = 64


@dataclass(frozen=True)
class Teacher:
    """What gives a target.

    Parameters
    ----------
    embed : callable
        Uint8 views (B, px, px, 3) to float32 vectors (B, D).
    key : str
        Changes with everything that changes the vectors.
    px : int
        Side of its input.
    standard : tuple
        Mean and deviation of its input, per channel.
    """

    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    key: str
    px: int
    standard: tuple[tuple[float, ...], tuple[float, ...]]


def open_teacher(name: str, weights: Path, px: int, device: str) -> Teacher:
    """Take a backbone of featx, with weights from a file, as a teacher."""
    encoder = Encoder(name, weights=weights, resize_px=px, crop_px=px)
    (recipe,) = encoder.load().recipes
    standard = (recipe.preprocessing.mean, recipe.preprocessing.std)
    return Teacher(
        lambda views: encoder.encode(views, device=device), recipe.fingerprint, px, standard
    )


def precompute(
    teacher: Teacher,
    photographs: Photographs,
    config: DistillConfig,
    *,
    stem: Path,
    progress: bool | None = None,
) -> NDArray[np.float16]:
    """Return a teacher's features, computing those that are not on disk.

    Parameters
    ----------
    stem : Path
        The two files' path without their suffix.

    Returns
    -------
    ndarray of float16, (n_photographs, n_views, D)
        A read-only memory map.

    Raises
    ------
    FingerprintMismatchError
        If the files hold features of other photographs, views or another teacher.
    """
    array_path, note_path = stem.with_suffix(".npy"), stem.with_suffix(".json")
    key = f"{config.digest(*FIELDS)[:16]}-{teacher.key[:16]}-{photographs.digest[:16]}"
    done = _done(note_path, key)
    step = max(1, 4 * BATCH_SIZE // config.n_views)
    with Progress(len(photographs), stem.name, enabled=progress) as bar:
        bar.advance(done)
        while done < len(photographs):
            rows = range(done, min(done + step, len(photographs)))
            views = [
                make_view(photographs, config, i, v, teacher.px)
                for i in rows
                for v in range(config.n_views)
            ]
            chunk = teacher.embed(np.stack(views)).reshape(len(rows), config.n_views, -1)
            _write(array_path, chunk.astype(np.float16), rows, len(photographs))
            done = rows.stop
            write_json(note_path, {"key": key, "done": done})
            bar.advance(len(rows))
    found: NDArray[np.float16] = np.load(array_path, mmap_mode="r")
    return found


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write beside and rename, so that a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _done(note_path: Path, key: str) -> int:
    if not note_path.exists():
        return 0
    note = json.loads(note_path.read_text())
    if note["key"] != key:
        raise FingerprintMismatchError(
            f"{note_path}: teacher features were made with {note['key']}, expected {key} "
            "(settings, teacher weights, photographs); give another --work folder"
        )
    return int(note["done"])


def _write(path: Path, chunk: NDArray[np.float16], rows: range, n: int) -> None:
    if rows.start == 0:
        kept = np.lib.format.open_memmap(path, "w+", np.float16, (n, *chunk.shape[1:]))
    else:
        kept = np.lib.format.open_memmap(path, "r+")
    kept[rows.start : rows.stop] = chunk
    kept.flush()
