"""LanceDB: a folder of columns, with an index over clusters once the rows are many."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.databases._arrow import rows_to_arrow
from featx.databases.base import Address, Hit, Rows
from featx.databases.conditions import Clause, write_clauses

__all__ = ["LanceDatabase"]

INDEX_FROM = 50_000  # rows; below, comparing with all takes some tens of milliseconds
REFINED = 4  # candidates per row wanted, which are compared again with the vectors
FILTERED_EFFORT = 50  # what fits a filter lies in more lists
NOTE = "featx"
IDS_AT_ONCE = 1000


class LanceDatabase:
    """The note is metadata of the column of ids, which is made with the table."""

    efforts: tuple[int, ...] = (20, 50, 100, 200)  # lists that a search looks into
    effort = 20

    def __init__(self, address: Address) -> None:
        lancedb = require("lancedb", extra="lancedb", purpose="lancedb://")
        self._arrow = require("pyarrow", extra="lancedb", purpose="lancedb://")
        self.errors: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError)
        self.address = address
        self._database = lancedb.connect(address.path)
        self._table: Any = None
        self._types: dict[str, str] = {}

    def read_note(self) -> dict[str, Any] | None:
        """Return the note; None where there is no such table."""
        if self.address.table not in _names(self._database):
            return None
        self._table = self._database.open_table(self.address.table)
        schema = self._table.schema
        metadata = schema.field("id").metadata if "id" in schema.names else None
        found = (metadata or {}).get(NOTE.encode())
        if found is None:
            raise self.address.not_ours()
        note: dict[str, Any] = json.loads(found)
        self._take(note)
        return note

    def _take(self, note: dict[str, Any]) -> None:
        self.effort = note.get("effort", self.efforts[0])
        self._types = {"revision": "text", **{ours: kind for ours, _, kind in note["columns"]}}

    def create(self, note: dict[str, Any]) -> None:
        """Make the table, with the note in its schema."""
        self._take(note)
        empty = Rows(
            [], np.zeros((0, note["n_features"]), np.float32), {n: [] for n in self._types}
        )
        schema = rows_to_arrow(empty, self._types).schema
        ids = schema.field("id").with_metadata({NOTE: json.dumps(note)})
        self._table = self._database.create_table(self.address.table, schema=schema.set(0, ids))

    def write_note(self, note: dict[str, Any]) -> None:
        """Replace the note."""
        self._table.update_field_metadata({"path": "id", "metadata": {NOTE: json.dumps(note)}})

    def drop(self) -> None:
        """Remove the table."""
        self._database.drop_table(self.address.table)

    def revisions(self) -> dict[str, str]:
        """Return each row's revision by its id."""
        found = self._table.search().select(["id", "revision"]).limit(None).to_arrow()
        return dict(zip(found["id"].to_pylist(), found["revision"].to_pylist(), strict=True))

    def write(self, rows: Rows) -> None:
        """Insert or replace in one commit."""
        table = rows_to_arrow(rows, self._types)
        if not self.count():  # quicker, since nothing is looked up
            self._table.add(table)
            return
        merge = self._table.merge_insert("id").when_matched_update_all()
        merge.when_not_matched_insert_all().execute(table)

    def remove(self, ids: list[str]) -> None:
        """Remove rows; ids are hexadecimal digits and dots."""
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = ", ".join(f"'{name}'" for name in ids[start : start + IDS_AT_ONCE])
            self._table.delete(f"id IN ({part})")

    def build_index(self) -> None:
        """Join small files; index once there are enough rows, and then what is new."""
        if self.count() >= INDEX_FROM and not self._table.list_indices():
            from lancedb.index import IvfSq  # with graphs, building takes 50 times as long

            self._table.create_index("vector", config=IvfSq(distance_type="cosine"))
        self._table.optimize()

    def count(self) -> int:
        """Return the number of rows."""
        return int(self._table.count_rows())

    def search(
        self,
        vector: NDArray[np.float32],
        k: int,
        clauses: Sequence[Clause] = (),
        *,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the nearest rows that fit: a filter goes before the search."""
        query = self._table.search(vector, vector_column_name="vector").distance_type("cosine")
        if exact:
            query = query.bypass_vector_index()
        else:
            effort = max(self.effort, FILTERED_EFFORT) if clauses else self.effort
            query = query.nprobes(effort).refine_factor(REFINED)
        if clauses:
            query = query.where(write_clauses(clauses, _literal, quote="`"), prefilter=True)
        found = query.select(["id", *self._types, "_distance"]).limit(k).to_list()
        return [
            Hit(row["id"], row["_distance"], {name: row[name] for name in self._types})
            for row in found
            if row["_distance"] is not None
        ]

    def close(self) -> None:
        """Hold nothing open."""


def _names(database: Any) -> list[str]:
    found = database.list_tables() if hasattr(database, "list_tables") else None
    return list(found.tables) if found is not None else list(database.table_names(limit=10**6))


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
