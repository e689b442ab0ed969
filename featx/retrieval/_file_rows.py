"""The vectors of an index, read from its file whenever they are asked for."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError
from featx.files.atomic import read_at

__all__ = ["FileRows"]

PIECE_BYTES = 2**20  # what fits the processor's cache beside what is computed from it


class FileRows:
    """Rows of a matrix that stays in a file.

    Not a memory map: the system ends a process that looks at a mapped page which another program
    has cut off the file, and what another program writes there would show in the middle of a
    search. Reading finds either, and the pages are shared between processes all the same.

    Parameters
    ----------
    descriptor : int
        Of the file, open for reading; taken over.
    place : str
        The file's name, for messages.
    offset : int
        Where the first row begins, in bytes.
    shape : tuple of int
        (n_rows, n_features).
    dtype : dtype
        float32 or float16.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     np.arange(6, dtype="<f4").tofile(file.name)
    ...     rows = FileRows(os.open(file.name, os.O_RDONLY), file.name, 0, (3, 2), np.dtype("<f4"))
    ...     rows[[2, 0]].tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """

    ndim = 2

    def __init__(
        self, descriptor: int, place: str, offset: int, shape: tuple[int, int], dtype: Any
    ) -> None:
        self._file, self._place, self._offset = FileIO(descriptor), place, offset
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = shape[1] * self.dtype.itemsize
        self._state = _state(self._file)
        self.close: Callable[[], Any] = weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return the rows of a number, a slice, a mask or an array of numbers, as numpy does.

        Raises
        ------
        FileFormatError
            If the file was changed after it was opened.
        """
        if isinstance(key, slice) and key.step in (None, 1):
            start, stop, _ = key.indices(len(self))
            found = np.empty((max(stop - start, 0), self.shape[1]), self.dtype)
            self._read(start, found)
        else:
            numbers = np.arange(len(self))[key]
            flat = numbers.reshape(-1)
            found = np.empty((*numbers.shape, self.shape[1]), self.dtype)
            rows = found.reshape(len(flat), self.shape[1])
            # neighbours in the file are read together
            cuts = [0, *(np.flatnonzero(np.diff(flat) != 1) + 1).tolist(), len(flat)]
            for start, stop in itertools.pairwise(cuts):
                if stop > start:
                    self._read(int(flat[start]), rows[start:stop])
        self._check_unchanged()
        return found

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield rows as far as the processor's cache holds them, with the number of the first.

        All are in the same memory: as fast as a map, where new memory takes 3 times as long.
        """
        step = max(1, PIECE_BYTES // max(self._row_bytes, 1))
        room = np.empty((min(step, max(stop - start, 0)), self.shape[1]), self.dtype)
        for first in range(start, stop, step):
            piece = room[: stop - first]
            self._read(first, piece)
            self._check_unchanged()
            yield first, piece

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def __reduce__(self) -> Any:
        return np.asarray, (self[:],)  # another process may not have the file

    def _read(self, row: int, out: NDArray[Any]) -> None:
        """Fill `out` from a row on."""
        if not out.nbytes:
            return
        view = memoryview(out.data).cast("B")
        if read_at(self._file, self._offset + row * self._row_bytes, view) < len(view):
            raise self._change_error()

    def _check_unchanged(self) -> None:
        if _state(self._file) != self._state:
            raise self._change_error()

    def _change_error(self) -> FileFormatError:
        return FileFormatError(
            f"index {self._place!r}: the file was changed while it was open, so that its vectors "
            "are not what they were; load it again, and replace an index by renaming, as featx "
            "index does, rather than by writing into its file"
        )


def _state(file: FileIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
