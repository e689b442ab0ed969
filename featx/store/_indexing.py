"""What an index into a store means: NumPy's rules for an array of two dimensions.

Only the rows that are asked for are read; where columns of many rows are, a block at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_indexed"]

BLOCK_ROWS = 4096
ALL = slice(None)

Reader = Callable[..., NDArray[Any]]


def read_indexed(index: Any, shape: tuple[int, int], run: Reader, rows: Reader) -> NDArray[Any]:
    """Return what ``array[index]`` gives.

    Parameters
    ----------
    index : int, slice, array of int or bool, ..., or a tuple of up to two of these
        For rows and columns.
    shape : tuple of int
        (n_samples, n_features).
    run, rows : callable
        Read rows from start to stop, and rows by their numbers.

    Raises
    ------
    IndexError
        If a number is out of range, or the index is none of these.
    """
    row, column = _split(index)
    if isinstance(row, slice):
        if not isinstance(column, slice):
            (column,) = _numbers(column, shape[1:], "columns")
        start, stop, step = row.indices(shape[0])
        if step != 1:
            return rows(np.arange(start, stop, step))[:, column]
        stop = max(start, stop)
        if isinstance(column, slice) and column == ALL:
            return run(start, stop)
        edges = range(start, max(stop, start + 1), BLOCK_ROWS)  # one block where there is no row
        return np.concatenate([run(a, min(a + BLOCK_ROWS, stop))[:, column] for a in edges])
    numbers, *rest = _numbers(row, shape if _is_mask_of_all(row, column) else shape[:1], "rows")
    column = rest[0] if rest else column
    if isinstance(column, slice):
        found = rows(numbers.reshape(-1))[:, column]
        return found.reshape(*numbers.shape, found.shape[1])
    (column,) = _numbers(column, shape[1:], "columns")
    numbers, column = np.broadcast_arrays(numbers, column)
    distinct, inverse = np.unique(numbers, return_inverse=True)
    element: NDArray[Any] = rows(distinct)[inverse.reshape(numbers.shape), column]
    return element


def _split(index: Any) -> tuple[Any, Any]:
    """Return the index of rows and the index of columns."""
    parts = list(index) if isinstance(index, tuple) else [index]
    given = [part for part in parts if part is not Ellipsis]
    if len(given) > 2 or len(parts) - len(given) > 1 or any(part is None for part in given):
        raise IndexError(f"store[{index!r}]: expected an index for rows and one for columns")
    if len(given) == 2:
        return given[0], given[1]
    if not given:
        return ALL, ALL
    return (ALL, given[0]) if parts[0] is Ellipsis else (given[0], ALL)


def _is_mask_of_all(row: Any, column: Any) -> bool:
    mask = np.asarray(row)
    return mask.ndim == 2 and mask.dtype == bool and isinstance(column, slice) and column == ALL


def _numbers(index: Any, shape: tuple[int, ...], what: str) -> tuple[NDArray[np.int64], ...]:
    """Return numbers from 0 for numbers that may count from the end, or for a mask."""
    array = np.asarray(index)
    if array.dtype == bool:
        if array.shape != shape:
            raise IndexError(f"store[mask]: got shape {array.shape} for {what}, expected {shape}")
        return np.nonzero(array)
    if array.dtype.kind not in "iu" and array.size:
        raise IndexError(
            f"store[{index!r}]: expected a number, a slice, or an array of numbers or of bool"
        )
    (n,) = shape
    numbers = array.astype(np.int64)
    bad = numbers[(numbers < -n) | (numbers >= n)]
    if bad.size:
        raise IndexError(
            f"store: got {int(bad.flat[0])} among the {what}, expected a number from {-n} to "
            f"{n - 1}, since it has {n} {what}"
        )
    return (np.where(numbers < 0, numbers + n, numbers),)
