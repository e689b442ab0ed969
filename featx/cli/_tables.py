"""A table of results in a CSV or Parquet file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from featx._optional import require
from featx.files.outputs import write_output
from featx.files.paths import show_path

__all__ = ["TABLES", "write_table"]

TABLES = {".csv": "predictions", ".parquet": "predictions"}


def write_table(path: str, columns: dict[str, list[Any]]) -> None:
    """Write columns of one length; the ending is the format.

    Raises
    ------
    StoreWriteError
        If the file cannot be written, or is another kind of file.
    MissingDependencyError
        If Parquet is asked for and pyarrow is not installed.
    """
    shown = {show_path(name): [_shown(v) for v in values] for name, values in columns.items()}
    with write_output(path, "predictions") as beside:
        if Path(path).suffix.lower() == ".csv":
            with beside.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(shown)
                writer.writerows(zip(*shown.values(), strict=True))
            return
        arrow = require("pyarrow", extra="parquet", purpose="writing .parquet")
        parquet = require("pyarrow.parquet", extra="parquet", purpose="writing .parquet")
        table = arrow.table(shown)
        # how an older file of ours is known from one of other origin
        notes = {**(table.schema.metadata or {}), b"featx_predictions": b"1"}
        with beside.open("wb") as file:  # since Arrow takes no name that is not UTF-8
            parquet.write_table(table.replace_schema_metadata(notes), file)


def _shown(value: Any) -> Any:
    return show_path(value) if isinstance(value, str) else value
