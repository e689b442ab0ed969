"""Near-duplicates among what was found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featx._arrays import scale_to_unit

__all__ = ["find_copies"]

Floats = NDArray[np.float32]


def find_copies(
    query: Floats, found: Floats, distance: float
) -> tuple[list[bool], Sequence[int | None]]:
    """Tell which vectors are copies of the query, and of which earlier one the others are."""
    unit = scale_to_unit(np.concatenate([query[None], found]))
    is_near = 1 - unit @ unit.T <= max(distance, 1e-6)  # the rounding of a product in float32
    is_copy = is_near[0, 1:].tolist()
    first: list[int | None] = []
    for i, copies_query in enumerate(is_copy):
        heads = (
            j for j in range(i) if first[j] is None and not is_copy[j] and is_near[i + 1, j + 1]
        )
        first.append(None if copies_query else next(heads, None))
    return is_copy, first
