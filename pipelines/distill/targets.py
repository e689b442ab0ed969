"""The teacher's features of every view, computed once and kept on disk.

Two files in the work folder: ``teacher.npy`` (n, n_views, D) float16, and ``teacher.json`` with
how many photographs are done and what the features were made with. The second is replaced only
after the first has reached the disk, so a killed run repeats one chunk at most.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx._progress import Progress
from featx.errors import FingerprintMismatchError
from pipelines.distill.config import DistillConfig
from pipelines.distill.photographs import Photographs
from pipelines.distill.views import crop_view, standardise, to_unit

__all__ = ["precompute", "write_json"]

FIELDS = ("teacher", "n_views", "teacher_px", "min_scale", "seed")


def precompute(
    teacher: nn.Module,
    photographs: Photographs,
    config: DistillConfig,
    *,
    work_dir: Path,
    device: torch.device,
    progress: bool | None = None,
) -> NDArray[np.float16]:
    """Return the teacher's features, computing those that the work folder lacks.

    Returns
    -------
    ndarray of float16, (n_photographs, n_views, D)
        A read-only memory map.

    Raises
    ------
    FingerprintMismatchError
        If the folder holds features of other photographs, views or another teacher.
    """
    array_path, note_path = work_dir / "teacher.npy", work_dir / "teacher.json"
    key = f"{config.digest(*FIELDS)[:16]}-{_weights_digest(teacher)}-{photographs.digest[:16]}"
    done = _done(note_path, key)
    teacher = teacher.to(device).to(memory_format=torch.channels_last)
    step = max(1, 64 // config.n_views)
    with Progress(len(photographs), "teacher", enabled=progress) as bar:
        bar.advance(done)
        while done < len(photographs):
            rows = range(done, min(done + step, len(photographs)))
            chunk = _features(teacher, photographs, rows, config, device)
            _write(array_path, chunk, rows, len(photographs))
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


def _weights_digest(network: nn.Module) -> str:
    from featx.fingerprint import array_digest, json_digest

    state = network.state_dict().items()
    return json_digest({k: array_digest(v.cpu().numpy()) for k, v in state})[:16]


@torch.inference_mode()
def _features(
    teacher: nn.Module,
    photographs: Photographs,
    rows: range,
    config: DistillConfig,
    device: torch.device,
) -> NDArray[np.float16]:
    views = []
    for i in rows:
        pixels = photographs[i]
        views += [
            crop_view(
                pixels, config.teacher_px, min_scale=config.min_scale, key=(config.seed, i, v)
            )
            for v in range(config.n_views)
        ]
    vectors = teacher(standardise(to_unit(np.stack(views), device))).float().cpu().numpy()
    shaped: NDArray[np.float16] = vectors.reshape(len(rows), config.n_views, -1).astype(np.float16)
    return shaped


def _write(path: Path, chunk: NDArray[np.float16], rows: range, n: int) -> None:
    if rows.start == 0:
        kept = np.lib.format.open_memmap(path, "w+", np.float16, (n, *chunk.shape[1:]))
    else:
        kept = np.lib.format.open_memmap(path, "r+")
    kept[rows.start : rows.stop] = chunk
    kept.flush()
