"""What databases that speak SQL have in common."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from featx.databases.base import Address, Hit, Rows
from featx.databases.conditions import Clause, write_clauses

__all__ = ["SqlDatabase", "quote"]


class SqlDatabase:
    """A table and, beside it, ``TABLE_featx`` with the note in one row.

    An engine sets `types`, `mark` (what stands for a parameter) and `distance` (the expression of
    the cosine distance to it), and says how vectors are written.
    """

    types: ClassVar[dict[str, str]]
    mark = "?"
    distance: str
    errors: tuple[type[Exception], ...] = ()
    efforts: tuple[int, ...] = ()
    effort = 0

    def __init__(self, address: Address) -> None:
        self.address = address
        self.table = quote(address.table)
        self.note_table = quote(f"{address.table}_featx")
        self.connection = self.connect(address)
        self.columns: list[str] = []
        self.n_features = 0

    # -- what differs ----------------------------------------------------------------------------

    def connect(self, address: Address) -> Any:
        """Open the database, such that each statement is committed unless in a transaction."""
        raise NotImplementedError

    def has_table(self, name: str) -> bool:
        """Say whether there is a table."""
        raise NotImplementedError

    def insert(self, rows: Rows) -> None:
        """Insert or replace rows, within a transaction."""
        raise NotImplementedError

    def as_parameter(self, vector: NDArray[np.float32]) -> Any:
        """Return a vector as a parameter of a query."""
        raise NotImplementedError

    def prepare_search(self, k: int, *, exact: bool, has_filter: bool) -> None:
        """Set what holds for the transaction of a search."""

    def build_index(self) -> None:
        """Have none: the search is exact."""

    # -- the same everywhere -----------------------------------------------------------------

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        cursor = self.connection.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []

    def many(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of some parameters."""
        self.connection.executemany(statement, parameters)

    def _commit(self, *steps: Any) -> None:
        """Do all of some steps, or none."""
        self.run("BEGIN")
        try:
            for step in steps:
                step()
        except BaseException:
            with contextlib.suppress(*self.errors):  # a full disk may have ended it already
                self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    def read_note(self) -> dict[str, Any] | None:
        """Return the note; None where there is no such table."""
        if not self.has_table(self.address.table):
            return None
        if not self.has_table(f"{self.address.table}_featx"):
            raise self.address.not_ours()
        note: dict[str, Any] = json.loads(self.run(f"SELECT note FROM {self.note_table}")[0][0])
        self._take(note)
        return note

    def _take(self, note: dict[str, Any]) -> None:
        self.columns = ["revision", *(ours for ours, _, _ in note["columns"])]
        self.n_features = note["n_features"]

    def create(self, note: dict[str, Any]) -> None:
        """Make both tables at once."""
        self._take(note)
        columns = "".join(
            f", {quote(ours)} {self.types[kind]}" for ours, _, kind in note["columns"]
        )
        vector = self.types["vector"].format(n=self.n_features)
        text = self.types["text"]
        self._commit(
            lambda: self.run(
                f"CREATE TABLE {self.table} (id {text} PRIMARY KEY, revision {text}{columns}, "
                f"vector {vector})"
            ),
            lambda: self.run(f"CREATE TABLE {self.note_table} (note {text})"),
            lambda: self._insert_note(note),
        )

    def _insert_note(self, note: dict[str, Any]) -> None:
        self.run(f"INSERT INTO {self.note_table} VALUES ({self.mark})", [json.dumps(note)])

    def write_note(self, note: dict[str, Any]) -> None:
        """Replace the only row of the table beside."""
        self._commit(
            lambda: self.run(f"DELETE FROM {self.note_table}"), lambda: self._insert_note(note)
        )

    def drop(self) -> None:
        """Remove both tables."""
        self._commit(
            lambda: self.run(f"DROP TABLE {self.table}"),
            lambda: self.run(f"DROP TABLE {self.note_table}"),
        )

    def revisions(self) -> dict[str, str]:
        """Return each row's revision by its id."""
        return dict(self.run(f"SELECT id, revision FROM {self.table}"))

    def write(self, rows: Rows) -> None:
        """Insert or replace, all rows or none."""
        self._commit(lambda: self.insert(rows))

    def remove(self, ids: list[str]) -> None:
        """Remove, all rows or none."""
        statement = f"DELETE FROM {self.table} WHERE id = {self.mark}"
        self._commit(lambda: self.many(statement, [(one,) for one in ids]))

    def count(self) -> int:
        """Return the number of rows."""
        return int(self.run(f"SELECT count(*) FROM {self.table}")[0][0])

    def search(
        self,
        vector: NDArray[np.float32],
        k: int,
        clauses: Sequence[Clause] = (),
        *,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the nearest rows that fit."""
        parameters = [self.as_parameter(vector)]

        def literal(value: Any) -> str:
            parameters.append(value)
            return self.mark

        where = write_clauses(clauses, literal)
        names = ", ".join(map(quote, self.columns))
        statement = (
            f"SELECT id, {self.distance} AS distance, {names} FROM {self.table}"
            f"{f' WHERE {where}' if where else ''} ORDER BY distance LIMIT {int(k)}"
        )
        found: list[tuple[Any, ...]] = []

        def ask() -> None:
            self.prepare_search(k, exact=exact, has_filter=bool(clauses))
            found.extend(self.run(statement, parameters))

        self._commit(ask)
        hits = [
            Hit(name, float(distance), dict(zip(self.columns, values, strict=True)))
            for name, distance, *values in found
            if distance is not None
        ]
        return sorted(hits, key=lambda hit: hit.distance)

    @property
    def names(self) -> list[str]:
        """All columns, quoted, in the order of `Rows.tuples`."""
        return [quote(name) for name in ("id", *self.columns, "vector")]

    def upsert(self, source: str) -> str:
        """Return the statement that inserts or replaces the rows of ``VALUES`` or ``SELECT``."""
        update = ", ".join(f"{name} = excluded.{name}" for name in self.names[1:])
        return (
            f"INSERT INTO {self.table} ({', '.join(self.names)}) {source} "
            f"ON CONFLICT (id) DO UPDATE SET {update}"
        )

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def quote(name: str) -> str:
    """Return a name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'
