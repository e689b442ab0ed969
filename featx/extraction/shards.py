"""Shards: parts of a store that other processes fill, beside it, until they become one with it.

A shard is a store like any other, in the folder ``F.h5.shards``, with its own lock and journal, so
that a process that dies loses nothing it has committed. An image is looked for by name in all of
them: how the work was shared out last time does not matter.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.recipe import Recipe
from featx.store import Failure, StoreWriter, open_store
from featx.store.table_writer import RowInfo, TableWriter

__all__ = ["Shards", "shards_folder"]

NOTES = ("engine", "engine_version", "engine_reason")


def shards_folder(store: str | os.PathLike[str]) -> Path:
    """Return the folder of a store's shards; it need not exist."""
    path = Path(store).resolve()
    return path.with_name(f"{path.name}.shards")


class Shards:
    """What a folder of shards holds of some recipes, by image; a context manager.

    Parameters
    ----------
    folder : Path
        Of `shards_folder`.
    recipes : sequence of Recipe
        An image counts where there is a row for all of them.

    Raises
    ------
    StoreWriteError
        If a process still writes one of them.
    FileFormatError
        If one is damaged.
    """

    def __init__(self, folder: Path, recipes: Sequence[Recipe]) -> None:
        self._folder, self._recipes = folder, recipes
        self._names: dict[Path, set[str]] = {}  # of each shard that has no other recipes
        self._writers: list[StoreWriter] = []
        self._tables: list[list[TableWriter]] = []
        self._rows: dict[str, tuple[int, list[RowInfo]]] = {}
        self._failures: dict[str, tuple[int, Failure]] = {}
        self.notes: dict[str, Any] = {}
        paths = sorted(folder.glob("*.h5")) if folder.is_dir() else []
        try:
            for path in paths:
                self._add(path)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._writers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self._failures

    def close(self) -> None:
        """Let go of the files, without writing."""
        for writer in self._writers:
            writer.close()

    def remove(self, held: AbstractSet[str]) -> None:
        """Remove those that have no other recipes, and whose images are all in the store."""
        self.close()
        for path in [path for path, names in self._names.items() if names <= held]:
            for beside in (path, path.with_name(f".{path.name}.lock")):
                beside.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are still there
            self._folder.rmdir()

    def read(
        self, names: Sequence[str]
    ) -> tuple[list[int], list[NDArray[Any]], list[RowInfo], list[Failure]]:
        """Return what the shards hold of some images, each of which is in one.

        Returns
        -------
        good : list of int
            Positions of the images that have vectors.
        features : list of ndarray of shape (n_good, n_features), float32
            One array for each recipe.
        files : list of RowInfo
            What each of `good` was made from.
        failures : list of Failure
            Images that could not be read; an older vector of theirs may still be there.
        """
        good = [k for k, name in enumerate(names) if name in self._rows]
        places = [self._rows[names[k]] for k in good]
        features = [self._vectors(places, k) for k in range(len(self._recipes))]
        failures = [f for name in names if (f := self._failure(name)) is not None]
        return good, features, [rows[0] for _, rows in places], failures

    def _vectors(self, places: Sequence[tuple[int, list[RowInfo]]], table: int) -> NDArray[Any]:
        """Return the vectors at some places, (n, n_features), for one recipe."""
        shards = np.array([shard for shard, _ in places], int)
        rows = np.array([known[table].row for _, known in places], int)
        found = np.empty((len(places), self._recipes[table].n_features), np.float32)
        for shard in np.unique(shards).tolist():
            mine = shards == shard
            found[mine] = self._tables[shard][table].read(rows[mine])
        return found

    def _failure(self, name: str) -> Failure | None:
        """Return why an image could not be read; None where it could be, by whoever came later."""
        shard, failure = self._failures.get(name, (-1, None))
        if failure is not None and name in self._rows:
            where, (row, *_) = self._rows[name]
            if where != shard and failure.mtime_ns <= row.mtime_ns:
                return None
        return failure

    def _add(self, path: Path) -> None:
        recipes, writer = self._recipes, StoreWriter(path)
        self._writers.append(writer)
        self._tables.append([])
        wanted, held = {recipe.fingerprint for recipe in recipes}, set(writer.table_keys)
        if held <= wanted:
            self._names[path] = {failure.path for failure in writer.failures}
        if not wanted <= held:
            return
        tables = [writer.table(recipe, has_labels=False) for recipe in recipes]
        self._tables[-1] = tables
        with open_store(path, table=recipes[0].fingerprint) as opened:
            self.notes |= {k: v for k, v in opened.made_with.items() if k in NOTES}
        number, known = len(self._writers) - 1, [table.rows_by_path() for table in tables]
        if path in self._names:
            self._names[path].update(*known)
        for name, rows in _join_tables(known):
            before = self._rows.get(name)
            # of a file that changed between two ways of sharing out, the later one
            if before is None or before[1][0].mtime_ns <= rows[0].mtime_ns:
                self._rows[name] = number, rows
        self._failures |= {failure.path: (number, failure) for failure in writer.failures}


def _join_tables(known: Sequence[dict[str, RowInfo]]) -> Iterator[tuple[str, list[RowInfo]]]:
    for name in known[0]:
        rows = [table[name] for table in known if name in table]
        if len(rows) == len(known):
            yield name, rows
