"""SQLite with sqlite-vec: an exact search in one file."""

from __future__ import annotations

import sqlite3
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.databases._sql import SqlDatabase
from featx.databases.base import Address, Rows

__all__ = ["SqliteDatabase"]


class SqliteDatabase(SqlDatabase):
    """Vectors are blobs of float32, which sqlite-vec's functions take as they are.

    A plain table, since the virtual table of sqlite-vec has at most 16 columns beside the vector
    and none that may be missing.
    """

    types: ClassVar[dict[str, str]] = {
        "text": "TEXT",
        "integer": "INTEGER",
        "number": "REAL",
        "vector": "BLOB",
    }
    distance = "vec_distance_cosine(vector, ?)"

    def connect(self, address: Address) -> Any:
        """Open the file; Python's own sqlite3 where it can load extensions."""
        vec = require("sqlite_vec", extra="sqlite", purpose="sqlite://")
        module: Any = sqlite3
        if not hasattr(sqlite3.Connection, "enable_load_extension"):
            module = require("pysqlite3", extra="sqlite", purpose="sqlite://")
        self.errors = (module.Error,)
        connection = module.connect(address.path, isolation_level=None, timeout=60)
        try:
            connection.enable_load_extension(True)
            vec.load(connection)
            connection.enable_load_extension(False)
            connection.execute("PRAGMA mmap_size = 1099511627776")
        except BaseException:
            connection.close()
            raise
        return connection

    def has_table(self, name: str) -> bool:
        """Look it up, without case, as SQLite does."""
        found = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)"
        return bool(self.run(found, [name]))

    def insert(self, rows: Rows) -> None:
        """Insert row by row."""
        blobs = (vector.tobytes() for vector in rows.vectors)
        marks = ", ".join("?" * len(self.names))
        self.many(self.upsert(f"VALUES ({marks})"), rows.tuples(blobs))

    def as_parameter(self, vector: NDArray[np.float32]) -> bytes:
        """Return the bytes."""
        return vector.tobytes()
