"""Memory that a reader process and its parent both see: pixels go through it instead of a pipe.

A pipe takes 64 KiB at a time, a view of 224 px has 150 kB, and pickling copies it twice more. With
many readers that costs the parent, which has one interpreter lock, more than decoding costs them.
The memory has no name, so that nothing stays behind whoever is killed.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._repr import OneLine
from featx.files.atomic import above_stderr

__all__ = ["Placed", "SharedMemory"]

# Room, of which only what has been written takes memory: sixteen views of 800 px.
N_BYTES = 32 * 2**20
ALIGNMENT = 64


@dataclass(frozen=True, repr=False)
class Placed(OneLine):
    """Where an array lies."""

    start: int
    shape: tuple[int, ...]
    dtype: str


class SharedMemory:
    """A block of memory, filled from its beginning by one side and copied from by the other.

    Parameters
    ----------
    descriptor : int
        Of a file that both have open; see `create`.
    """

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, N_BYTES)
        self._end = ALIGNMENT

    @staticmethod
    def create() -> int:
        """Return the descriptor of a new block, which has no name.

        The reader gets it under the same number, and 0, 1 and 2 are its pipes.
        """
        if hasattr(os, "memfd_create"):
            descriptor = above_stderr(os.memfd_create("featx-reader"))
        else:
            made, name = tempfile.mkstemp(prefix="featx-reader-")
            descriptor = above_stderr(made)
            os.unlink(name)  # noqa: PTH108 - mkstemp gives a string
        os.ftruncate(descriptor, N_BYTES)
        return descriptor

    @property
    def position(self) -> int:
        """A number for the other side to see: the image that is being read, of those asked for."""
        return int.from_bytes(self._map[:8], "little")

    @position.setter
    def position(self, value: int) -> None:
        self._map[:8] = value.to_bytes(8, "little")

    def clear(self) -> None:
        """Begin anew; the other side must have taken what there was."""
        self._end = ALIGNMENT

    def put(self, arrays: Iterable[NDArray[Any]]) -> tuple[Placed, ...] | None:
        """Copy arrays in, after those that lie there; None if they do not fit.

        Parameters
        ----------
        arrays : iterable of ndarray
            C-contiguous.
        """
        placed, end = [], self._end
        for array in arrays:
            start = -(-end // ALIGNMENT) * ALIGNMENT
            end = start + array.nbytes
            if end > N_BYTES:
                return None
            at = Placed(start, array.shape, array.dtype.str)
            self._at(at)[...] = array
            placed.append(at)
        self._end = end
        return tuple(placed)

    def take(self, placed: Iterable[Placed]) -> tuple[NDArray[Any], ...]:
        """Return copies of what was put there."""
        return tuple(self._at(at).copy() for at in placed)

    def close(self) -> None:
        """Unmap it here."""
        self._map.close()

    def _at(self, at: Placed) -> NDArray[Any]:
        flat = np.frombuffer(self._map, at.dtype, math.prod(at.shape), at.start)
        return flat.reshape(at.shape)
