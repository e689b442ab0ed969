"""A store from arrays: features that were made elsewhere, in one call."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from featx._values import as_columns, as_texts, is_missing, plain_values
from featx.errors import ParameterError
from featx.files.remote import is_url
from featx.recipe import Recipe
from featx.store._container import store_path
from featx.store.reader import FeatureStore
from featx.store.remote import working_copy
from featx.store.writer import StoreWriter

__all__ = ["write_features"]


def write_features(
    path: str | os.PathLike[str],
    X: ArrayLike,
    *,
    paths: Iterable[str | os.PathLike[str]],
    labels: Iterable[Any] | None = None,
    metadata: Any = None,
    recipe: Recipe | None = None,
) -> FeatureStore:
    """Write a feature table into a new store.

    Parameters
    ----------
    path : path or URL
        The file to make; an existing store is taken only while it has no table.
    X : array_like of shape (n_samples, n_features)
        Finite. Stored as float16 if that is its type, else as float32, or as `recipe` says.
    paths : sequence of path
        One for each row, each once: what the rows are called from here on.
    labels : sequence, optional
        One for each row, text or numbers; None, NaN and "" where there is none.
    metadata : data frame, or dict of str to sequence, optional
        Further columns, likewise. All are kept as text: 1.0 as "1".
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
        If shapes do not fit, a path is missing or comes twice, a value is not finite, or the file
        has a table.
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
    names = _names(paths)
    texts = None if labels is None else as_texts(labels, "labels")
    columns = {name: as_texts(v, f"metadata {name!r}") for name, v in as_columns(metadata).items()}
    if is_url(path):
        with working_copy(str(path)) as copy:
            write_features(copy, array, paths=names, labels=texts, metadata=columns, recipe=recipe)
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
            n = len(names)
            table.append(
                names,
                array,
                digests=[""] * n,
                sizes=[0] * n,
                mtimes=[0] * n,
                labels=texts,
                metadata=columns,
            )
            writer.commit()
    except ParameterError:
        if is_new:
            place.unlink(missing_ok=True)
        raise
    return FeatureStore(path)


def _names(paths: Iterable[Any]) -> list[str]:
    names = [
        os.fspath(p) if isinstance(p, os.PathLike) else p for p in plain_values(paths, "paths")
    ]
    for row, name in enumerate(names):
        if is_missing(name):
            raise ParameterError(f"paths: row {row} has {name!r}, expected a path for each row")
    return names


def _require_empty(writer: StoreWriter, path: str | os.PathLike[str]) -> None:
    if writer.table_keys:
        raise ParameterError(
            f"store {os.fspath(path)!r} has {len(writer.table_keys)} tables "
            f"({', '.join(writer.table_keys)}), expected a new file; choose another name, or "
            "remove it first"
        )
