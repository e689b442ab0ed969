"""What an engine must do, and what travels to and from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.databases.conditions import Clause
from featx.errors import ParameterError

__all__ = ["Address", "Database", "Hit", "Rows"]


@dataclass(frozen=True)
class Address:
    """Where a table is.

    Parameters
    ----------
    engine : str
        The URL's scheme.
    host : str
        ``user:password@host:port``, or "" where there is a path alone.
    path : str
        Of a file or folder, else what stands behind the host.
    table : str
        The table, or the collection.
    options : str
        What else stood behind the question mark.
    """

    engine: str
    host: str
    path: str
    table: str
    options: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"table {self.table!r} of '{self.engine}://{self.host}{self.path}'"

    def not_ours(self) -> ParameterError:
        """Return the error about a table without a note."""
        return ParameterError(
            f"{self.name}: was not made by featx, expected one that was, or a new name; name "
            "another table with ?table=NAME"
        )


@dataclass(frozen=True)
class Rows:
    """Some rows of a store, as an engine takes them.

    Parameters
    ----------
    ids : list of str
    vectors : ndarray of shape (n, n_features), float32
    columns : dict of str to list
        `revision`, `path`, `label` and the metadata, in the order of the note's columns: text, or
        numbers with None for what is missing.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    columns: dict[str, list[Any]]

    def select(self, rows: Sequence[int]) -> Rows:
        """Return some of the rows."""
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        return Rows([self.ids[i] for i in rows], self.vectors[list(rows)], columns)

    def split(self, n_rows: int) -> Iterable[Rows]:
        """Yield parts of at most `n_rows`, for engines that limit a message."""
        for start in range(0, len(self.ids), n_rows):
            yield self.select(range(start, min(start + n_rows, len(self.ids))))

    def tuples(self, vectors: Iterable[Any]) -> Iterable[tuple[Any, ...]]:
        """Yield each row as (id, columns..., vector), with the vectors as the engine has them."""
        return zip(self.ids, *self.columns.values(), vectors, strict=True)

    def dicts(self) -> list[dict[str, Any]]:
        """Return the columns of each row by name."""
        names = list(self.columns)
        return [
            dict(zip(names, values, strict=True))
            for values in zip(*self.columns.values(), strict=True)
        ]


@dataclass(frozen=True)
class Hit:
    """A row that was found: its id, its cosine distance, and its columns by name."""

    id: str
    distance: float
    columns: dict[str, Any]


class Database(Protocol):
    """One table of an engine, with a note beside the rows: what they were made with.

    Each row is written whole or not at all, and table and note are made in one step. So the next
    run finishes what a killed one began.
    """

    errors: tuple[type[Exception], ...]  # what the engine's package raises
    efforts: tuple[int, ...]  # of an approximate search, the least first; none to choose from
    effort: int  # the one that `search` takes, which goes with the note

    def read_note(self) -> dict[str, Any] | None:
        """Return the note; None where there is no such table.

        Raises
        ------
        ParameterError
            If the table is there and has none: it is not featx's.
        """
        ...

    def create(self, note: dict[str, Any]) -> None:
        """Make the table for the note's columns and width, with the note."""
        ...

    def write_note(self, note: dict[str, Any]) -> None:
        """Replace the note by one of the same columns and width."""
        ...

    def drop(self) -> None:
        """Remove the table."""
        ...

    def revisions(self) -> dict[str, str]:
        """Return each row's revision by its id."""
        ...

    def write(self, rows: Rows) -> None:
        """Insert rows, or replace those with the same ids."""
        ...

    def remove(self, ids: list[str]) -> None:
        """Remove rows."""
        ...

    def build_index(self) -> None:
        """Bring the engine's index up to date, where it has one and the rows are many."""
        ...

    def count(self) -> int:
        """Return the number of rows."""
        ...

    def search(
        self,
        vector: NDArray[np.float32],
        k: int,
        clauses: Sequence[Clause] = (),
        *,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the nearest rows that fit all clauses, nearest first."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
