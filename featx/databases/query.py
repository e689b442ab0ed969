"""`DatabaseIndex`: a table that `sync` wrote, asked as an index is."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from featx.databases.base import Database, Hit
from featx.databases.catalogue import open_database, parse_url
from featx.databases.conditions import Clause, parse_clauses
from featx.databases.notes import is_finished, read_recipe
from featx.errors import FeatxWarning, FileFormatError, ParameterError, require_count
from featx.recipe import Recipe

__all__ = ["DatabaseIndex"]


class DatabaseIndex:
    """The rows of a database's table; a context manager.

    Parameters
    ----------
    url : str
        As for `open_database`.

    Attributes
    ----------
    recipe_ : Recipe or None
        What the vectors were made with.
    made_with_ : dict
    n_features_in_ : int

    Warns
    -----
    FeatxWarning
        If the last sync was cut off, or still runs: rows may be missing or old.

    Raises
    ------
    FileFormatError
        If there is no such table.
    StoreWriteError
        If the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._stack = contextlib.ExitStack()
        self._name = parse_url(url).name
        try:
            self._database: Database = self._stack.enter_context(open_database(url))
            note = self._require_note()
        except BaseException:
            self.close()
            raise
        if not is_finished(note):
            warnings.warn(
                f"{self._name}: the last featx sync was cut off or is still running, so that rows "
                "may be missing or old; run it again",
                FeatxWarning,
                stacklevel=2,
            )
        self._columns: list[tuple[str, str, str]] = [tuple(c) for c in note["columns"]]
        self.recipe_: Recipe | None = read_recipe(note)
        self.made_with_: dict[str, Any] = note["made_with"]
        self.n_features_in_: int = note["n_features"]

    def _require_note(self) -> dict[str, Any]:
        note = self._database.read_note()
        if note is None:
            raise FileFormatError(
                f"{self._name}: is not there, expected a table that featx sync made; check "
                "?table=NAME"
            )
        return note

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def close(self) -> None:
        """Let go of the database."""
        self._stack.close()

    def query(
        self, X: Any, k: int = 10, *, filter: str | Iterable[str] | None = None
    ) -> list[list[dict[str, Any]]]:
        """Return the nearest rows of vectors, nearest first, by cosine distance.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Finite.
        k : int, default 10
            Rows per query.
        filter : str or sequence of str, optional
            Conditions, as `RetrievalIndex.query` takes them.

        Returns
        -------
        list of list of dict
            `path`, `distance`, `label` and `metadata` of each match.

        Raises
        ------
        ParameterError
            If the width differs, a number is not finite, a condition does not fit the columns, or
            no row fits.
        """
        require_count("k", k)
        vectors = np.atleast_2d(np.asarray(X, np.float32))
        if vectors.shape[1] != self.n_features_in_ or not np.isfinite(vectors).all():
            raise ParameterError(
                f"X: got shape {vectors.shape}, expected finite numbers, (n, "
                f"{self.n_features_in_}), as {self._name} has"
            )
        clauses = parse_clauses(filter, self._columns)
        answers = [self._find(vector, k, clauses) for vector in vectors]
        if clauses and not any(answers):
            raise ParameterError(f"filter: no row of the database fits {filter!r}")
        return [[self._as_match(hit) for hit in hits] for hits in answers]

    def _find(self, vector: Any, k: int, clauses: tuple[Clause, ...]) -> list[Hit]:
        found = self._database.search(vector, k, clauses)
        if len(found) < k and clauses:  # the index may have stopped before enough rows fitted
            found = self._database.search(vector, k, clauses, exact=True)
        return found

    def _as_match(self, hit: Hit) -> dict[str, Any]:
        metadata = {theirs: hit.columns[ours] for ours, theirs, _ in self._columns}
        path, label = metadata.pop("path"), metadata.pop("label")
        match = {"path": path, "distance": max(hit.distance, 0.0), "label": label}
        return {**match, "metadata": metadata} if metadata else match
