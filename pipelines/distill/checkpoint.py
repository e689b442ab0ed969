"""Checkpoints that survive a kill at any instant: the old one stands until the new is whole."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from featx.errors import FingerprintMismatchError

__all__ = ["restore", "save"]


def save(
    path: Path, key: str, step: int, student: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Write weights, moments and the count beside, flush to disk, rename."""
    partial = path.with_suffix(".partial")
    state = {"key": key, "step": step, "student": student.state_dict()}
    with partial.open("wb") as file:
        torch.save({**state, "optimiser": optimiser.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def restore(path: Path, key: str, student: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load what `save` wrote, in place, and return the count; 0 where there is no file.

    Raises
    ------
    FingerprintMismatchError
        If the checkpoint belongs to a run with another `key`.
    """
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")  # noqa: TID251
    if state["key"] != key:
        raise FingerprintMismatchError(
            f"{path}: checkpoint of run {state['key']}, expected {key} (settings, photographs); "
            "repeat the settings it was made with, or give another --work folder"
        )
    student.load_state_dict(state["student"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
