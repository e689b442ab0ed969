"""The tables that one extraction fills: keep what they know, put in what is new or changed."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featx.extraction.embed import drop_infinite
from featx.extraction.failures import Failures, failure_of
from featx.extraction.plan import FileState, Plan
from featx.extraction.summary import Tally
from featx.images import ImageManifest
from featx.images.reader import ReadImage
from featx.recipe import Recipe
from featx.store import Failure, StoreWriter
from featx.store.prune import is_gone
from featx.store.table_writer import RowInfo, TableWriter

if TYPE_CHECKING:
    from featx.extraction._copies import Copies
    from featx.images.loader import ImageBatch

__all__ = ["TableSet"]

COMMIT_EVERY_S = 2.0
# A commit is also due when this much waits in memory, so that memory stays bounded on a fast GPU.
COMMIT_EVERY_BYTES = 64 * 2**20


# What a row remembers of the file that it is made from: digest, size and modification time.
File: TypeAlias = FileState | RowInfo | ReadImage


class TableSet:
    """The open tables of one extraction, one for each recipe, and what was done so far.

    Parameters
    ----------
    writer : StoreWriter
        The open store.
    images : ImageManifest
        What is extracted; all positions are positions in it.
    recipes : sequence of Recipe
        One for each table.
    made_with : mapping
        What is to be noted of the network.
    failures : Failures
        Takes what cannot be read.

    Attributes
    ----------
    tables : list of TableWriter
    tally : Tally
    """

    def __init__(
        self,
        writer: StoreWriter,
        images: ImageManifest,
        recipes: Sequence[Recipe],
        made_with: Mapping[str, Any],
        failures: Failures,
    ) -> None:
        self.writer, self.images, self.failures = writer, images, failures
        self._recipes = recipes
        has_labels = images.labels is not None
        self.tables = [
            writer.table(recipe, has_labels=has_labels, made_with=made_with) for recipe in recipes
        ]
        self._known = [table.rows_by_path() for table in self.tables]
        self.tally = Tally()
        self._pending_bytes, self._committed_at = 0, time.monotonic()

    def note(self, made_with: Mapping[str, Any]) -> None:
        """Note what the tables are made with."""
        self.tally.made_with = made_with
        for table in self.tables:
            self.writer.table(table.recipe, has_labels=False, made_with=made_with)

    def keep(self, plan: Plan) -> None:
        """Keep what is known: refresh labels, follow renames, copy the vectors of copies."""
        self.tally.reused = len(plan.unchanged) + len(plan.adopt)
        for table, known in zip(self.tables, self._known, strict=True):
            _refresh_rows(table, self.images, known, plan.unchanged)
            _adopt_rows(table, self.images, known, plan.adopt)
        if plan.adopt:
            self._follow_in_other_tables(plan.adopt)
        good = [*plan.unchanged, *plan.adopt]
        self.writer.remove_failures(self.images.paths[i] for i in good)
        self.failures.add_folders(self.images.unreadable, self.writer)
        self.commit()
        if plan.adopt:  # rows may have moved up
            self._known = [table.rows_by_path() for table in self.tables]
        self.failures.check()

    def put(
        self,
        positions: Sequence[int],
        features: Sequence[NDArray[Any]],
        files: Sequence[File],
        failures: Iterable[Failure] = (),
    ) -> None:
        """Put images into every table, and commit what has been put where that is due.

        Parameters
        ----------
        positions : sequence of int
            Of the good images.
        features : sequence of ndarray of shape (n_good, n_features)
            One array for each table.
        files : sequence of File
            What each was made from.
        failures : iterable of Failure
            Images that were tried in vain.
        """
        failures = tuple(failures)
        for table, known, vectors in zip(self.tables, self._known, features, strict=True):
            _put_rows(table, self.images, known, positions, vectors, files)
            self._pending_bytes += len(positions) * table.row_bytes
        self.failures.add(failures)
        good = {self.images.paths[i] for i in positions}
        self.writer.remove_failures(good - {failure.path for failure in failures})
        waited_s = time.monotonic() - self._committed_at
        if waited_s >= COMMIT_EVERY_S or self._pending_bytes >= COMMIT_EVERY_BYTES:
            self.commit()

    def put_batch(
        self,
        positions: Sequence[int],
        batch: ImageBatch,
        features: Sequence[NDArray[np.float32]],
        copies: Copies,
    ) -> None:
        """Put in what the network has made of a batch, of which `positions` are the sources."""
        paths = self.images.paths
        found = [
            copies.fill_in(
                batch, vectors, functools.partial(_read_vector, table, paths, positions)
            )
            for table, vectors in zip(self.tables, features, strict=True)
        ]
        dtypes = [table.dtype for table in self.tables]
        batch, found = drop_infinite(batch, found, self._recipes, dtypes)
        bad = {
            int(row): failure_of(paths[positions[row]], image)
            for row, image in zip(batch.rows, batch.read, strict=True)
            if image.error
        }
        copies.refuse(bad)
        n_copies = int(copies.among(batch).sum())
        self.tally.extracted += len(batch.good) - n_copies
        self.tally.reused += n_copies
        self.put([positions[i] for i in batch.good], found, batch.good_read, bad.values())

    def commit(self) -> None:
        """Make durable what has been put."""
        self.failures.write(self.writer)
        self.writer.commit()
        self._committed_at, self._pending_bytes = time.monotonic(), 0

    def list_paths(self) -> set[str]:
        """Return the images that the first table has, or the failures table."""
        return {failure.path for failure in self.writer.failures}.union(self.tables[0].paths)

    def n_elsewhere(self) -> int:
        """Return how many rows of the first table are of no image of the manifest."""
        names = set(self.images.paths)
        return sum(path not in names for path in self.tables[0].paths)

    def _follow_in_other_tables(self, adopt: Mapping[int, FileState]) -> None:
        """Let rows of other recipes follow their files, too, so that none keeps an old label."""
        for table in self.writer.tables():
            if table not in self.tables:
                there = table.rows_by_digest()
                part = {i: file for i, file in adopt.items() if file.digest in there}
                _adopt_rows(table, self.images, table.rows_by_path(), part)


def _read_vector(
    table: TableWriter, paths: Sequence[str], positions: Sequence[int], source: int
) -> NDArray[Any] | None:
    """Return the vector of a source that has been put in before."""
    row = table.row_of(paths[positions[source]])
    return None if row is None else table.read([row])[0]


def _take_columns(images: ImageManifest, positions: Sequence[int]) -> dict[str, Any]:
    """Return labels and further columns of some images, as a table's methods take them."""
    chosen: dict[str, Any] = {}
    if images.labels is not None:
        chosen["labels"] = [images.labels[i] for i in positions]
    if images.columns:
        chosen["metadata"] = {
            name: [values[i] for i in positions] for name, values in images.columns.items()
        }
    return chosen


def _describe_files(files: Sequence[File]) -> dict[str, Any]:
    return {
        "digests": [file.digest for file in files],
        "sizes": [file.size_bytes for file in files],
        "mtimes": [file.mtime_ns for file in files],
    }


def _refresh_rows(
    table: TableWriter, images: ImageManifest, known: dict[str, RowInfo], positions: list[int]
) -> None:
    """Bring labels and further columns of unchanged images up to date."""
    columns = table.metadata() if images.columns else {}
    blank = [""] * table.n_samples
    changed = []
    for i in positions:
        row = known[images.paths[i]]
        is_new = images.labels is not None and row.label != images.labels[i]
        if is_new or any(
            columns.get(name, blank)[row.row] != values[i]
            for name, values in images.columns.items()
        ):
            changed.append(i)
    if changed:
        rows = [known[images.paths[i]].row for i in changed]
        table.update(rows, **_take_columns(images, changed))


def _adopt_rows(
    table: TableWriter,
    images: ImageManifest,
    known: dict[str, RowInfo],
    adopt: Mapping[int, FileState],
) -> None:
    """Take vectors over for contents that the table has under another name or time."""
    if not adopt:
        return
    names = images.paths
    rows_of, paths = table.rows_by_digest(), table.paths
    vacated = {
        file.digest: deque(row for row in rows_of[file.digest] if is_gone(paths[row]))
        for file in adopt.values()
    }
    moved: dict[int, int] = {}  # row -> position of the image that takes it
    copied: list[int] = []
    for i, file in adopt.items():
        mine = known.get(names[i])
        if mine is not None and mine.digest == file.digest:
            moved[mine.row] = i  # touched only
        elif mine is None and vacated[file.digest]:
            moved[vacated[file.digest].popleft()] = i  # renamed: copies move one for one
        else:
            copied.append(i)
    features = table.read([rows_of[adopt[i].digest][0] for i in copied])
    # Renamed onto an image that the table knows, whose row takes the vector.
    taken = [vacated[adopt[i].digest] for i in copied if names[i] in known]
    table.remove([rows.popleft() for rows in taken if rows])
    if moved:
        at = list(moved.values())
        columns = {**_take_columns(images, at), **_describe_files([adopt[i] for i in at])}
        table.update(list(moved), paths=[names[i] for i in at], **columns)
    _put_rows(table, images, known, copied, features, [adopt[i] for i in copied])


def _put_rows(
    table: TableWriter,
    images: ImageManifest,
    known: dict[str, RowInfo],
    positions: Sequence[int],
    features: NDArray[Any],
    files: Sequence[File],
) -> None:
    """Append new images; replace the rows of those whose content changed."""
    names = images.paths
    for is_known in (True, False):
        part = [k for k, i in enumerate(positions) if (names[i] in known) is is_known]
        if not part:
            continue
        at = [positions[k] for k in part]
        columns = {**_take_columns(images, at), **_describe_files([files[k] for k in part])}
        if is_known:
            table.update([known[names[i]].row for i in at], features=features[part], **columns)
        else:
            table.append([names[i] for i in at], features[part], **columns)
