"""`sync`: make a table of a database hold what a store holds."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx.databases.base import Database
from featx.databases.catalogue import open_database, parse_url
from featx.databases.notes import StoreRows, as_begun, is_finished, require_fitting
from featx.errors import StoreWriteError
from featx.store import FeatureStore, open_store

__all__ = ["SyncResult", "sync"]

BLOCK_BYTES = 32 * 2**20
N_CHECKED = 20
K_CHECKED = 10
TARGET = 0.98  # rows of the table are found more easily than new images: these get about 0.95
# By how much a distance may be farther than the farthest of the nearest: float32 and its rounding.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class SyncResult:
    """What a sync did.

    Parameters
    ----------
    added, updated, removed : int
        Rows.
    n_samples : int
        Rows of the table afterwards, as the database counts them.
    recall : float
        Share of the 10 nearest of up to 20 rows that the database finds, against exact search.
    """

    added: int
    updated: int
    removed: int
    n_samples: int
    recall: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures."""
        return dict(vars(self))


def sync(
    store: str | os.PathLike[str] | FeatureStore,
    url: str,
    *,
    table: str | None = None,
    anew: bool = False,
) -> SyncResult:
    """Write to a database what it lacks of a store, and remove what the store lacks.

    Parameters
    ----------
    store : path or FeatureStore
        What is written: each image's vector, path, label and metadata. Columns of numbers become
        columns of numbers.
    url : str
        As for `open_database`.
    table : str, optional
        Of the store, as for `featx.open_store`.
    anew : bool, default False
        Remove the table first, if it was made by featx.

    Returns
    -------
    SyncResult

    Raises
    ------
    FingerprintMismatchError
        If the table holds features of another recipe.
    ParameterError
        If it was not made by featx, or has another width or other columns.
    StoreWriteError
        If the database cannot be reached, refuses, or does not hold the store's rows afterwards.

    Notes
    -----
    An image is known by the digest of its content. A row that is there already is written again
    only where its vector, path, label or metadata differ. The next run finishes one that was
    killed; until then whoever asks the table is warned. Memory grows with the rows: the ids of
    both sides are held, about 300 bytes per image.

    Examples
    --------
    >>> sync("photos.h5", "sqlite:///photos.db")  # doctest: +SKIP
    SyncResult(added=1200, updated=0, removed=0, n_samples=1200, recall=1.0)
    """
    if not isinstance(store, FeatureStore):
        with open_store(store, table=table) as opened:
            return sync(opened, url, anew=anew)
    store.require_images()
    thing = parse_url(url).name
    with open_database(url) as database:
        rows = StoreRows(store)
        _prepare(database, rows.note, anew, store=store.path, thing=thing)
        added, updated, removed = _write_differences(database, rows, store)
        database.build_index()
        n = database.count()
        if n != len(store):
            raise StoreWriteError(
                f"{thing}: has {n} rows after the sync, expected the store's {len(store)}; "
                "somebody else writes to it: run again when nobody does"
            )
        is_new = not is_finished(database.read_note())
        recall = _measure_recall(database, rows.ids, store, is_new=is_new)
        if is_new:
            effort = {"effort": database.effort} if database.efforts else {}
            database.write_note({**rows.note, **effort})
        return SyncResult(added, updated, removed, n, recall)


def _prepare(
    database: Database, note: dict[str, Any], anew: bool, *, store: str, thing: str
) -> None:
    """Make the table, or see that the one that is there fits."""
    there = database.read_note()
    if there is not None and anew:
        database.write_note(as_begun(there))  # some engines drop rows and table one by one
        database.drop()
        there = None
    if there is None:
        database.create(as_begun(note))
    else:
        require_fitting(there, note, store=store, thing=thing)


def _write_differences(
    database: Database, rows: StoreRows, store: FeatureStore
) -> tuple[int, int, int]:
    """Return how many rows were added, updated and removed."""
    known = database.revisions()
    gone = list(known.keys() - set(rows.ids))

    @functools.cache  # once, and only where something is written
    def begin() -> None:
        database.write_note(as_begun(rows.note))

    added = updated = 0
    n_rows = max(1, BLOCK_BYTES // (4 * store.n_features))
    with Progress(len(store), "sync", unit="rows") as progress:
        for start in range(0, len(store), n_rows):
            block = rows.read(start, start + n_rows)
            revisions = zip(block.ids, block.columns["revision"], strict=True)
            differ = [i for i, (name, own) in enumerate(revisions) if known.get(name) != own]
            if differ:
                begin()
                database.write(block.select(differ))
            n_known = sum(block.ids[i] in known for i in differ)
            added, updated = added + len(differ) - n_known, updated + n_known
            progress.advance(len(block.ids))
    if gone:
        begin()
        database.remove(gone)
    return added, updated, len(gone)


def _measure_recall(
    database: Database, ids: list[str], store: FeatureStore, *, is_new: bool
) -> float:
    """Ask for the neighbours of some rows, and compare with those of an exact search.

    A new or changed table takes the least effort that reaches `TARGET`; the note keeps it.
    """
    asked = np.linspace(0, len(store) - 1, min(N_CHECKED, len(store))).astype(np.intp)
    queries = _unit(store[asked])
    distances = np.concatenate(
        [1 - queries @ _unit(block).T for _, block in store.iter_blocks()], axis=1
    )
    row_of = {name: row for row, name in enumerate(ids)}
    k = min(K_CHECKED, len(store))
    limits = np.partition(distances, k - 1, axis=1)[:, k - 1] + TOLERANCE
    for effort in database.efforts if is_new and database.efforts else (database.effort,):
        database.effort = effort
        n_right = 0
        for query, mine, limit in zip(queries, distances, limits, strict=True):
            found = database.search(query, k)
            n_right += sum(mine[row_of[hit.id]] <= limit for hit in found if hit.id in row_of)
        recall = float(n_right / (k * len(asked)))
        if recall >= TARGET:
            break
    return recall


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)
