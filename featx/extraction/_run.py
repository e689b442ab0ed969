"""One extraction: take over what is known, send the rest through the network, commit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx.extraction._copies import Copies
from featx.extraction._failures import Failures
from featx.extraction._finite import drop_infinite
from featx.extraction._remembered import AnyEncoder
from featx.extraction._rows import adopt_rows, put_rows, refresh_rows
from featx.extraction._shards import Shards
from featx.extraction.items import Items
from featx.extraction.plan import Plan, make_plan
from featx.extraction.summary import ExtractionSummary
from featx.store import (
    KnownRow,
    StoreWriter,
    TableWriter,
    is_gone,
    known_images,
    remove_images,
)

if TYPE_CHECKING:
    from featx.engines import EngineChoice
    from featx.images import ImageBatch

__all__ = ["Run"]

COMMIT_EVERY_S = 2.0
# A commit is also due when this much waits in memory, so that memory stays bounded on a fast GPU.
COMMIT_EVERY_BYTES = 64 * 2**20
# Batches that may wait for the writer: one being written, one ready; where they are small, as many
# as come while it commits.
WRITES_AHEAD, MOST_AHEAD = 2, 16
MERGED_AT_ONCE = 1024
NOTHING_READ = "no image had to go through the network"


@dataclass
class Run:
    """State of one extraction: the open tables and the counts.

    Parameters
    ----------
    loaded : LoadedEncoder
        The network and what is read from it.
    items : Items
        The images.
    writer : StoreWriter
        The open store.
    failures : Failures
        What could not be read, and how much of that there may be.
    n_images : int, optional
        Of the whole extraction, by which the engine is chosen; default those of `items`.
    engine : EngineChoice, optional
        What ran the network; None until something is read.
    """

    loaded: AnyEncoder
    items: Items
    writer: StoreWriter
    failures: Failures
    n_images: int | None = None
    extracted: int = 0
    reused: int = 0
    pruned: int = 0
    read_s: float = 0.0
    interrupted: bool = False
    engine: EngineChoice | None = None
    tables: list[TableWriter] = field(init=False)
    known: list[dict[str, KnownRow]] = field(init=False)
    _bad: set[int] = field(default_factory=set)
    _pending_bytes: int = 0
    _committed_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tables = [
            self.writer.table(
                recipe,
                has_labels=self.items.labels is not None,
                made_with=self.loaded.made_with,
            )
            for recipe in self.loaded.recipes
        ]
        self.known = [table.known() for table in self.tables]

    def fill(self) -> None:
        """Take over what is known and read the rest; Ctrl-C ends it well."""
        try:
            plan = make_plan(self.items, self.tables)
            self.take_over(plan)
            self.read(plan.read)
        except KeyboardInterrupt:  # before or after the reading, which stops by itself
            self.interrupted = True

    # -- what the network need not see ----------------------------------------------------------

    def take_over(self, plan: Plan) -> None:
        """Keep what is known: refresh labels, follow renames, copy vectors of copies."""
        self.reused = len(plan.unchanged) + len(plan.adopt)
        for table, known in zip(self.tables, self.known, strict=True):
            refresh_rows(table, self.items, known, plan.unchanged)
            if plan.adopt:
                adopt_rows(table, self.items, known, plan)
        self._follow_in_other_tables(plan)
        good = [*plan.unchanged, *(i for i, _ in plan.adopt)]
        self.writer.remove_failures(self.items.names[i] for i in good)
        self.failures.add_folders(self.items.unreadable, self.writer)
        self._commit()
        if plan.adopt:  # rows may have moved up
            self.known = [table.known() for table in self.tables]
        self.failures.check()

    def _follow_in_other_tables(self, plan: Plan) -> None:
        """Let rows of other recipes follow their files, too, so that none keeps an old label."""
        if not plan.adopt:
            return
        for table in self.writer.tables():
            if table in self.tables:
                continue
            digests = table.rows_by_digest()
            adopt = [(i, digest) for i, digest in plan.adopt if digest in digests]
            part = Plan(adopt=adopt, stats=plan.stats)
            adopt_rows(table, self.items, table.known(), part)

    def collect(self, positions: list[int], shards: Shards) -> list[int]:
        """Take over what other processes have read; return the positions that none has."""
        names = self.items.names
        there = [i for i in positions if names[i] in shards]
        with Progress(len(there), "merge", enabled=self.loaded.run.progress) as bar:
            for start in range(0, len(there), MERGED_AT_ONCE):
                part = there[start : start + MERGED_AT_ONCE]
                good = [i for i in part if shards.has_rows(names[i])]
                found = [names[i] for i in good]
                for k, (table, known) in enumerate(zip(self.tables, self.known, strict=True)):
                    if good:
                        rows = shards.known(found)
                        put_rows(
                            table,
                            self.items,
                            known,
                            good,
                            shards.features(found, k),
                            digests=[row.digest for row in rows],
                            sizes=[row.size_bytes for row in rows],
                            mtimes=[row.mtime_ns for row in rows],
                        )
                        self._pending_bytes += 4 * len(good) * table.n_features
                bad = [f for i in part if (f := shards.failure(names[i])) is not None]
                self.failures.add(bad)
                self.writer.remove_failures(set(found) - {failure.path for failure in bad})
                self.extracted += len(part) - len(bad)
                if self._pending_bytes >= COMMIT_EVERY_BYTES:
                    self._commit()
                bar.advance(len(part))
        if there and shards.notes:
            from featx.engines import EngineChoice

            self.engine = EngineChoice(shards.notes["engine"], shards.notes["engine_reason"])
            for recipe in self.loaded.recipes:
                self.writer.table(recipe, has_labels=False, made_with=shards.notes)
        self._commit()
        self.failures.check()
        return [i for i in positions if names[i] not in shards]

    # -- what is gone ---------------------------------------------------------------------------

    def prune(self) -> None:
        """Remove images that are neither in the source nor on the disk any more."""
        names = set(self.items.names)
        others = known_images(self.writer) - names
        self.pruned = remove_images(self.writer, [name for name in others if is_gone(name)])

    # -- what it must see -----------------------------------------------------------------------

    def read(self, positions: list[int]) -> None:
        """Decode, run the network and write, all three at once; stop well on Ctrl-C."""
        if not positions:
            return
        start = time.monotonic()
        # By all images, not by those that are left, so that a run that was killed and goes on
        # takes the same engine.
        self.engine = self.loaded.choose_engine(self.n_images or len(self.items.names))
        self._note(self.engine)
        copies = Copies()
        sources = [self.items.sources[i] for i in positions]
        waiting: deque[Future[None]] = deque()
        self._committed_at = start
        with (
            Progress(len(positions), "extract", enabled=self.loaded.run.progress) as bar,
            ThreadPoolExecutor(1, thread_name_prefix="featx-writer") as thread,
        ):
            try:
                batches = self.loaded.embed(
                    sources, pad=True, engine=self.engine.name, views_of=copies.views
                )
                for batch, features in batches:
                    waiting.append(thread.submit(self._write, positions, batch, features, copies))
                    n_bytes = sum(vectors.nbytes for vectors in features)
                    most = min(MOST_AHEAD, COMMIT_EVERY_BYTES // max(n_bytes, 1))
                    ahead = max(WRITES_AHEAD, most) if self.failures.most is None else 0
                    while len(waiting) > ahead:
                        waiting.popleft().result()
                    if self.failures.are_too_many:
                        break
                    bar.advance(len(batch.rows))
            except KeyboardInterrupt:
                self.interrupted = True
            while waiting:
                waiting.popleft().result()
            thread.submit(self._commit).result()
        self.read_s = time.monotonic() - start
        self.failures.check()

    def _note(self, engine: EngineChoice) -> None:
        made_with = {
            **self.loaded.made_with,
            "engine": engine.name,
            "engine_version": engine.version,
            "engine_reason": engine.reason,
        }
        for recipe in self.loaded.recipes:
            self.writer.table(recipe, has_labels=False, made_with=made_with)

    def _write(
        self,
        positions: list[int],
        batch: ImageBatch,
        features: list[NDArray[np.float32]],
        copies: Copies,
    ) -> None:
        """Put one batch into every table; runs on the writer's thread."""
        found = [
            copies.fill_in(batch, vectors, self._reader_of(table, positions))
            for table, vectors in zip(self.tables, features, strict=True)
        ]
        dtypes = [table.dtype for table in self.tables]
        batch, found = drop_infinite(batch, found, self.loaded.recipes, dtypes)
        rows = [positions[i] for i in batch.rows]
        bad = {i: image for i, image in zip(rows, batch.read, strict=True) if image.error}
        self._bad |= bad.keys()
        self.failures.add_images({self.items.names[i]: image for i, image in bad.items()})
        good = [positions[i] for i in batch.good]
        read = batch.good_read
        for table, known, vectors in zip(self.tables, self.known, found, strict=True):
            put_rows(
                table,
                self.items,
                known,
                good,
                vectors,
                digests=[image.digest for image in read],
                sizes=[image.size_bytes for image in read],
                mtimes=[image.mtime_ns for image in read],
            )
            self._pending_bytes += vectors.nbytes
        self.writer.remove_failures(self.items.names[i] for i in good)
        n_copies = int(copies.among(batch).sum())
        self.extracted += len(good) - n_copies
        self.reused += n_copies
        waited_s = time.monotonic() - self._committed_at
        if waited_s >= COMMIT_EVERY_S or self._pending_bytes >= COMMIT_EVERY_BYTES:
            self._commit()

    def _reader_of(
        self, table: TableWriter, positions: list[int]
    ) -> Callable[[int], NDArray[Any] | None]:
        """Return what reads the vector of an image that this run has written."""

        def read(position: int) -> NDArray[Any] | None:
            i = positions[position]
            row = None if i in self._bad else table.row_of(self.items.names[i])
            return None if row is None else table.read([row])[0]

        return read

    def _commit(self) -> None:
        self.failures.write(self.writer)
        self.writer.commit()
        self._committed_at, self._pending_bytes = time.monotonic(), 0

    def _n_in_source(self) -> int:
        names = set(self.items.names)
        return sum(name in names for name in self.tables[0].paths)

    def summary(self, start: float) -> ExtractionSummary:
        """Return the figures of a run that began at `start` on the monotonic clock."""
        return ExtractionSummary(
            images=len(self.items.names),
            extracted=self.extracted,
            reused=self.reused,
            failed=self.failures.n,
            pruned=self.pruned,
            seconds=time.monotonic() - start,
            images_per_second=self.extracted / self.read_s if self.read_s else 0.0,
            fingerprints=tuple(recipe.fingerprint for recipe in self.loaded.recipes),
            elsewhere=self.tables[0].n_samples - self._n_in_source(),
            device=self.loaded.device,
            precision=self.loaded.recipes[0].precision,
            precision_reason=self.loaded.precision_reason,
            preprocessing=self.loaded.recipes[0].preprocessing.summary,
            preprocessing_reason=self.loaded.preprocessing_reason,
            engine="none" if self.engine is None else self.engine.name,
            engine_reason=NOTHING_READ if self.engine is None else self.engine.reason,
            interrupted=self.interrupted,
            ignored=self.items.ignored,
        )
