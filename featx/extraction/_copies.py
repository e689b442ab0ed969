"""Exact copies within one extraction: the first goes through the network, the others follow it.

A copy is known by the digest of its content, which is only there once it has been read; so copies
are decoded, and left out just before the network. Padding makes a vector the same to the last bit
whatever stands beside it in a batch, so that a copy's own would have been the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from featx.images.loader import ImageBatch

__all__ = ["Copies"]


class Copies:
    """The contents that one extraction has met, and the images that repeat them."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}  # content -> position of the first image that has it
        self._first_of: dict[int, int] = {}  # position of a copy -> that of the first
        self._refused: set[int] = set()

    def views(self, batch: ImageBatch) -> tuple[NDArray[Any], ...]:
        """Return the views of a batch without those of copies; batches come in their order."""
        for position, image in zip(batch.good.tolist(), batch.good_read, strict=True):
            first = self._first.setdefault(bytes.fromhex(image.digest), position)
            if first != position:
                self._first_of[position] = first
        is_first = ~self.among(batch)
        if is_first.all():
            return batch.views
        return tuple(view[is_first] for view in batch.views) if is_first.any() else ()

    def among(self, batch: ImageBatch) -> NDArray[np.bool_]:
        """Tell which of the good images of a batch are copies, (n_good,)."""
        return np.array([i in self._first_of for i in batch.good.tolist()], bool)

    def refuse(self, positions: Iterable[int]) -> None:
        """Take note of images that have no vector, though an older row of theirs may have one."""
        self._refused.update(positions)

    def fill_in(
        self,
        batch: ImageBatch,
        features: NDArray[np.float32],
        vector_of: Callable[[int], NDArray[Any] | None],
    ) -> NDArray[np.float32]:
        """Return the vectors of all good images of a batch, from those of its first ones.

        Parameters
        ----------
        batch : ImageBatch
            One that `views` has been given.
        features : ndarray of shape (n_first, n_features), float32
            What the network made of what `views` returned.
        vector_of : callable
            Given the position of a first image of an earlier batch, returns its vector. Copies of
            one that was refused get NaN, to be refused as well.
        """
        is_copy = self.among(batch)
        if not is_copy.any():
            return features
        filled = np.full((len(is_copy), features.shape[1]), np.nan, np.float32)
        filled[~is_copy] = features
        place_of = {position: k for k, position in enumerate(batch.good.tolist())}
        for k in np.flatnonzero(is_copy).tolist():
            first = self._first_of[int(batch.good[k])]
            here = place_of.get(first)
            if here is not None:
                filled[k] = filled[here]
            elif first not in self._refused and (vector := vector_of(first)) is not None:
                filled[k] = vector
        return filled
