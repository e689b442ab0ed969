"""Rows as a table of Arrow."""

from __future__ import annotations

from typing import Any

from featx._optional import require
from featx.databases.base import Rows

__all__ = ["rows_to_arrow"]


def rows_to_arrow(rows: Rows, types: dict[str, str]) -> Any:
    """Return id, columns and vector; `types` are those of columns that may be all missing."""
    arrow = require("pyarrow", extra="parquet", purpose="a table of Arrow")
    of = {"text": arrow.string(), "integer": arrow.int64(), "number": arrow.float64()}
    flat = arrow.array(rows.vectors.reshape(-1))
    columns = {
        "id": arrow.array(rows.ids, arrow.string()),
        **{
            name: arrow.array(values, of[types[name]] if name in types else None)
            for name, values in rows.columns.items()
        },
        "vector": arrow.FixedSizeListArray.from_arrays(flat, rows.vectors.shape[1]),
    }
    return arrow.table(columns)
