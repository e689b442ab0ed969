"""The datasets of a table and of the failures: made, grown, and written to row by row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.recipe import Recipe
from featx.store._records import NUMERIC, Records
from featx.store._text import TEXT, dataset_name, write_attribute

__all__ = [
    "OUTSIDE",
    "append_rows",
    "as_rows",
    "create_failures",
    "create_table",
    "grow",
    "recipe_json",
    "replace_text",
    "table_key",
    "write_rows",
]

# The key of the table whose features were made outside featx, so that it has no recipe.
OUTSIDE = "outside"
# An append rewrites each column's last chunk, and a small table is one chunk: 256 KiB reads as
# fast as 1 MiB and halves the time of small commits (docs/decisions/store-crash-safety.md).
CHUNK_BYTES = 256 * 1024
CHUNK_ROWS = 1024


def table_key(recipe: Recipe | None) -> str:
    """Return the name of a recipe's group below /tables."""
    return OUTSIDE if recipe is None else recipe.fingerprint


def recipe_json(recipe: Recipe | None) -> str:
    """Return the canonical JSON of a recipe, "null" for none."""
    fields = None if recipe is None else recipe.to_dict()
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


def create_table(tables: Any, key: str, recipe: Recipe | None, width: int, dtype: str) -> Any:
    """Make the group and its empty datasets."""
    group = tables.create_group(key)
    write_attribute(group, "recipe", recipe_json(recipe))
    rows = min(max(CHUNK_BYTES // (width * np.dtype(dtype).itemsize), 1), CHUNK_ROWS)
    _create(group, "features", np.dtype(dtype).newbyteorder("<"), (width,), rows)
    _create(group, "row_crc", "<u4", (), CHUNK_ROWS)
    for name, (kind, shape) in NUMERIC.items():
        _create(group, name, kind, shape, CHUNK_ROWS)
    for name in ("path", "label"):
        _create(group, name, TEXT, (), CHUNK_ROWS)
    group.create_group("metadata")
    return group


def create_failures(h5: Any) -> Any:
    """Make /failures."""
    group = h5.create_group("failures")
    for name in ("path", "reason"):
        _create(group, name, TEXT, (), CHUNK_ROWS)
    for name in ("digest", "size_bytes", "mtime_ns"):
        _create(group, name, *NUMERIC[name], CHUNK_ROWS)
    _create(group, "row_crc", "<u4", (), CHUNK_ROWS)
    return group


def append_rows(group: Any, records: Records, features: NDArray[Any]) -> None:
    """Add rows at the end of every dataset."""
    start = group["features"].shape[0]
    for name in records.metadata:
        _require_column(group["metadata"], name, start)
    columns: dict[str, Any] = {
        "features": features,
        "path": records.path,
        "label": records.label,
        "row_crc": records.crcs(),
        **{name: records.numbers[name] for name in NUMERIC},
    }
    for name, values in columns.items():
        grow(group[name], values)
    for name, dataset in group["metadata"].items():
        by_name = {dataset_name(column): values for column, values in records.metadata.items()}
        grow(dataset, by_name.get(name, [b""] * len(records)))


def grow(dataset: Any, values: Any) -> None:
    """Append to one dataset."""
    start = dataset.shape[0]
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = _as_array(dataset, values)


def write_rows(dataset: Any, rows: NDArray[np.int64], values: Any) -> None:
    """Replace rows in place; `rows` rise. A run of neighbours is one write."""
    array = _as_array(dataset, values)
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for run, part in zip(np.split(rows, breaks), np.split(array, breaks), strict=True):
        if len(run):
            dataset[int(run[0]) : int(run[-1]) + 1] = part


def replace_text(group: Any, column: str, rows: NDArray[np.int64], values: list[bytes]) -> None:
    """Replace values of a metadata column, which may be new."""
    n = group["features"].shape[0]
    write_rows(_require_column(group["metadata"], column, n), rows, values)


def _require_column(metadata: Any, column: str, n_rows: int) -> Any:
    """Return a metadata column; a new one is empty in all rows so far, at no cost on disk."""
    name = dataset_name(column)
    if name not in metadata:
        _create(metadata, name, TEXT, (), CHUNK_ROWS).resize(n_rows, axis=0)
    return metadata[name]


def _create(group: Any, name: str, dtype: Any, shape: tuple[int, ...], chunk_rows: int) -> Any:
    return group.create_dataset(
        name,
        shape=(0, *shape),
        maxshape=(None, *shape),
        chunks=(chunk_rows, *shape),
        dtype=dtype,
        fletcher32=dtype is not TEXT,  # HDF5 refuses filters on text; row_crc covers it
    )


def _as_array(dataset: Any, values: Any) -> NDArray[Any]:
    if isinstance(values, list) and dataset.dtype == TEXT:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    result: NDArray[Any] = np.asarray(values)
    return result


def as_rows(rows: Sequence[int] | int) -> NDArray[np.int64]:
    """Return row numbers as an array."""
    return np.atleast_1d(np.asarray(rows, np.int64))
