"""Take the images that a user passes, and deal the images that are held out."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError
from featx.images import as_sources

__all__ = ["held_out", "sources_of"]


def sources_of(X: Any) -> tuple[list[Any], list[str]]:
    """Return the images of `X` in any form, and their names for messages."""
    sources = as_sources(X, name="X")
    if not sources:
        raise ParameterError("X: got no images, expected at least one")
    full = [os.path.expanduser(s) if isinstance(s, str) else s for s in sources]  # noqa: PTH111
    return full, [s if isinstance(s, str) else f"X[{i}]" for i, s in enumerate(full)]


def held_out(codes: NDArray[np.intp], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose the images that are held out: of every class its share.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,), int
        Classes, numbered from 0.
    fraction : float
        Share of each class, rounded; of two images and more at least one is held out and one
        kept, a single one is kept.
    seed : int

    Returns
    -------
    ndarray of shape (n_samples,), bool

    Raises
    ------
    ParameterError
        If every class has a single image.

    Examples
    --------
    >>> held_out(np.array([0, 0, 0, 0, 0, 1, 1]), 0.2, 0).sum()
    np.int64(2)
    """
    mask = np.zeros(len(codes), bool)
    if fraction == 0:
        return mask
    rng = np.random.default_rng((seed, 0))
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        n = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        mask[rows[:n]] = True
    if not mask.any():
        raise ParameterError(
            f"validation_fraction: got {fraction!r}, but every class has a single image, expected "
            "some with two: label more images, or pass 0 to hold nothing out"
        )
    return mask
