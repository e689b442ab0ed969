"""Room for what is computed once: in memory, else in an unnamed file on disk, within bounds."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["DISK", "MEMORY", "NOWHERE", "Room"]

MEMORY, DISK, NOWHERE = "memory", "disk", "none"


@dataclass(frozen=True)
class Room:
    """How much may be kept.

    Parameters
    ----------
    memory_bytes, disk_bytes : int
        Most bytes in memory and in the folder for temporary files; all tensors of one call of
        `allocate` lie in one of the two.
    """

    memory_bytes: int
    disk_bytes: int

    def allocate(
        self, shapes: list[tuple[int, ...]], dtype: torch.dtype
    ) -> tuple[str, list[torch.Tensor | None]]:
        """Return where they lie and empty tensors, each None where there is no room.

        Notes
        -----
        The file has no name, so that it goes with the process, however that ends; its blocks are
        reserved first, so that a disk that fills up later does no harm.

        Examples
        --------
        >>> place, (kept,) = Room(0, 100).allocate([(5, 4)], torch.float32)
        >>> place, kept.shape
        ('disk', torch.Size([5, 4]))
        """
        size = torch.empty((), dtype=dtype).element_size()
        n_bytes = sum(math.prod(shape) for shape in shapes) * size
        if n_bytes <= self.memory_bytes:
            return MEMORY, [torch.empty(shape, dtype=dtype) for shape in shapes]
        if n_bytes <= self.disk_bytes:
            try:
                return DISK, [_allocate_on_disk(shape, dtype) for shape in shapes]
            except OSError:  # the disk is full: the caller says so
                pass
        return NOWHERE, [None] * len(shapes)


def _allocate_on_disk(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    kind = torch.empty((), dtype=dtype).numpy().dtype
    n_bytes = max(1, math.prod(shape) * kind.itemsize)
    with tempfile.TemporaryFile(prefix="featx-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        mapped = np.memmap(file, kind, "r+" if hasattr(os, "posix_fallocate") else "w+",
                           shape=(n_bytes // kind.itemsize,))  # fmt: skip
    return torch.from_numpy(mapped)[: math.prod(shape)].view(shape)
