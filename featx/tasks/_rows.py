"""Where a store has given images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featx.images.paths import absolute_path
from featx.store import FeatureStore

__all__ = ["find_rows"]


def find_rows(
    store: FeatureStore, paths: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of images that were read, and their positions among the paths."""
    row_of = {path: i for i, path in enumerate(store.paths.tolist())}
    bad = {failure.path for failure in store.failures}
    absolute = [absolute_path(path) for path in paths]
    kept = [i for i, path in enumerate(absolute) if path in row_of and path not in bad]
    rows = [row_of[absolute[i]] for i in kept]
    return np.array(rows, np.intp), np.array(kept, np.intp)
