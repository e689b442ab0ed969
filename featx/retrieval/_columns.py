"""What goes beside the vectors: one id, one label a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError

__all__ = ["checked_ids", "column"]


def column(name: str, values: Any, n: int) -> NDArray[Any]:
    """Return one value a row.

    Raises
    ------
    ParameterError
        If there are not n of them.
    """
    found = np.asarray(values)
    if found.shape != (n,):
        raise ParameterError(f"{name}: got shape {found.shape}, expected ({n},), one for each row")
    return found


def checked_ids(ids: Any, n: int) -> NDArray[Any]:
    """Return n different ids, text or integers.

    Raises
    ------
    ParameterError
        If they are anything else.
    """
    names = column("ids", [i.item() if isinstance(i, np.generic) else i for i in ids], n)
    if names.dtype.kind not in "iuU":
        raise ParameterError(f"ids: got {names.dtype}, expected text or integers")
    different, counts = np.unique(names, return_counts=True)
    if len(different) < n:
        twice = different[counts > 1][0].item()
        raise ParameterError(f"ids: got {twice!r} more than once, expected each id once")
    return names
