"""A store from arrays: features that were made elsewhere, in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from featx._remote import is_url
from featx.errors import ParameterError
from featx.recipe import Recipe
from featx.store._container import store_path
from featx.store._remote import working_copy
from featx.store.reader import FeatureStore
from featx.store.writer import StoreWriter

__all__ = ["write_features"]


def write_features(
    path: str | os.PathLike[str],
    X: ArrayLike,
    *,
    paths: Sequence[str],
    labels: Sequence[str] | None = None,
    metadata: Mapping[str, Sequence[str]] | None = None,
    recipe: Recipe | None = None,
) -> FeatureStore:
    """Write a feature table into a new store.

    Parameters
    ----------
    path : path or URL
        The file to make; an existing store is taken only while it has no table.
    X : array_like of shape (n_samples, n_features)
        Finite. Stored as float16 if that is its type, else as float32, or as `recipe` says.
    paths : sequence of str
        One for each row, each once: what the rows are called from here on.
    labels : sequence of str, optional
        One for each row, "" where there is none.
    metadata : dict of str to sequence of str, optional
        Further columns.
    recipe : Recipe, optional
        What the features were made with, where it is known. Without it they are taken to fit any
        model of the same width.

    Returns
    -------
    FeatureStore
        Open for reading.

    Raises
    ------
    ParameterError
        If shapes do not fit, a path comes twice, a value is not finite, or the file has a table.
    StoreWriteError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
    >>> store = write_features(path, np.eye(3), paths=["a", "b", "c"], labels=["x", "y", "x"])
    >>> store.shape, store.labels.tolist()
    ((3, 3), ['x', 'y', 'x'])
    """
    array = np.asarray(X)
    if array.ndim != 2 or not array.shape[1]:
        raise ParameterError(
            f"X: got shape {array.shape}, expected (n_samples, n_features) with at least 1 feature"
        )
    if is_url(path):
        with working_copy(str(path)) as copy:
            write_features(
                copy, array, paths=paths, labels=labels, metadata=metadata, recipe=recipe
            )
        return FeatureStore(path)
    place = store_path(path)
    is_new = not os.path.lexists(place)
    try:
        with StoreWriter(place) as writer:
            _require_empty(writer, path)
            table = writer.table(
                recipe,
                has_labels=labels is not None,
                n_features=array.shape[1],
                dtype="float16" if array.dtype == np.float16 else "float32",
            )
            n = len(paths)
            table.append(
                list(paths),
                array,
                digests=[""] * n,
                sizes=[0] * n,
                mtimes=[0] * n,
                labels=None if labels is None else [str(label) for label in labels],
                metadata=metadata,
            )
            writer.commit()
    except ParameterError:
        if is_new:
            place.unlink(missing_ok=True)
        raise
    return FeatureStore(path)


def _require_empty(writer: StoreWriter, path: str | os.PathLike[str]) -> None:
    if writer.table_keys:
        raise ParameterError(
            f"store {os.fspath(path)!r} has {len(writer.table_keys)} tables "
            f"({', '.join(writer.table_keys)}), expected a new file; choose another name, or "
            "remove it first"
        )
