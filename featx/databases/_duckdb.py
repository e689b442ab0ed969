"""DuckDB: an exact search in one file.

Its `vss` extension is not used: it writes an index to a file only as an experiment that a crash
may damage, and with it rows are lost under a filter (docs/databases.md).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.databases._arrow import rows_to_arrow
from featx.databases._sql import SqlDatabase
from featx.databases.base import Address, Rows

__all__ = ["DuckDatabase"]


class DuckDatabase(SqlDatabase):
    """Vectors are arrays of fixed size, which come in through Arrow."""

    types: ClassVar[dict[str, str]] = {
        "text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "vector": "FLOAT[{n}]",
    }  # fmt: skip

    def connect(self, address: Address) -> Any:
        """Open the file."""
        duckdb = require("duckdb", extra="duckdb", purpose="duckdb://")
        require("pyarrow", extra="duckdb", purpose="duckdb://")
        self.errors = (duckdb.Error,)
        return duckdb.connect(address.path)

    @property
    def distance(self) -> str:  # type: ignore[override]
        """The parameter needs its width."""
        return f"array_cosine_distance(vector, ?::FLOAT[{self.n_features}])"

    def has_table(self, name: str) -> bool:
        """Look it up, without case, as DuckDB does."""
        found = "SELECT 1 FROM information_schema.tables WHERE lower(table_name) = lower(?)"
        return bool(self.run(found, [name]))

    def insert(self, rows: Rows) -> None:
        """Insert a block at once."""
        self.connection.register("featx_rows", rows_to_arrow(rows, {}))
        try:
            self.run(f"INSERT OR REPLACE INTO {self.table} SELECT * FROM featx_rows")
        finally:
            self.connection.unregister("featx_rows")

    def remove(self, ids: list[str]) -> None:
        """Remove a block at once."""
        statement = f"DELETE FROM {self.table} WHERE id IN (SELECT unnest(?::VARCHAR[]))"
        self._commit(lambda: self.run(statement, [ids]))

    def as_parameter(self, vector: NDArray[np.float32]) -> list[float]:
        """Return a list."""
        numbers: list[float] = vector.tolist()
        return numbers
