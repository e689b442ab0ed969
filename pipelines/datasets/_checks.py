"""Checks that the kinds of data set and their readers share."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ManifestError, ParameterError

__all__ = ["as_boxes", "require_flag", "require_partition", "require_paths"]


def require_paths(thing: str, what: str, paths: tuple[str, ...]) -> None:
    """Refuse an empty tuple of paths, and a path that is not absolute.

    Raises
    ------
    ManifestError
        With the first that is wrong.
    """
    if not paths:
        raise ManifestError(f"{thing}: got no {what}, expected at least one image")
    relative = next((p for p in paths if not os.path.isabs(p)), None)  # noqa: PTH117 - many
    if relative is not None:
        raise ManifestError(f"{thing}: {what} has {relative!r}, expected absolute paths")


def as_boxes(thing: str, what: str, boxes: Any, n_images: int) -> NDArray[np.float64]:
    """Return boxes of shape (n_images, 4), float64, each with an area.

    Raises
    ------
    ManifestError
        If they have another shape, or one has no area; with its row.
    """
    found = np.asarray(boxes, dtype=np.float64)
    if found.shape != (n_images, 4):
        raise ManifestError(
            f"{thing}: {what} has the shape {found.shape}, expected {(n_images, 4)}: left, top, "
            "right, bottom of each image"
        )
    # Written so that NaN is bad too.
    is_good = (found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])
    is_good &= np.isfinite(found).all(axis=1)
    if not is_good.all():
        row = int(np.flatnonzero(~is_good)[0])
        raise ManifestError(
            f"{thing}: {what} has {found[row].tolist()} in row {row}, expected left < right and "
            "top < bottom, in pixels"
        )
    return found


def require_partition(name: str, partition: Any, n_partitions: int) -> None:
    """Refuse what is no whole number from 1 to `n_partitions`."""
    is_number = isinstance(partition, int) and not isinstance(partition, bool)
    if not is_number or not 1 <= partition <= n_partitions:
        raise ParameterError(
            f"dataset {name!r}: got partition={partition!r}, expected 1 to {n_partitions}"
        )


def require_flag(name: str, option: str, value: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise ParameterError(f"dataset {name!r}: got {option}={value!r}, expected True or False")
