"""The line that every extraction goes along: plan, keep what is known, read, embed, write.

Three stages overlap. Reader processes decode ahead of the network, within a bounded number of
batches; this thread runs the network; one writer thread appends and commits. What was committed
stays whatever happens next, and a second run starts from there.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from featx._progress import Progress
from featx.extraction._copies import Copies
from featx.extraction.failures import Failures
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.notes import NotedEncoder, forget_request
from featx.extraction.plan import make_plan
from featx.extraction.shards import Shards, shards_folder
from featx.extraction.summary import ExtractionSummary
from featx.extraction.tables import COMMIT_EVERY_BYTES, TableSet
from featx.images import ImageManifest
from featx.store import StoreWriter
from featx.store.prune import is_gone, list_images, remove_images

__all__ = ["fill"]

# Batches that may wait for the writer: one being written, one ready; where they are small, as many
# as come while it commits.
WRITES_AHEAD, MOST_AHEAD = 2, 16
MERGED_AT_ONCE = 1024


def fill(
    images: ImageManifest,
    writer: StoreWriter,
    encoder: LoadedEncoder | NotedEncoder,
    *,
    max_failures: int | None = None,
    prune: bool = False,
    n_images: int | None = None,
) -> ExtractionSummary:
    """Fill the tables of an open store; only what is new, changed or failed is read.

    Parameters
    ----------
    images : ImageManifest
        All images of the source.
    writer : StoreWriter
        Of the store; what its shards hold is taken over.
    encoder : LoadedEncoder or NotedEncoder
        One that is noted is loaded when an image has to be read.
    max_failures : int, optional
        As `most_failures` gives it.
    prune : bool, default False
        Whether to remove images that are gone.
    n_images : int, optional
        Of the whole extraction, by which the engine is chosen; default those of `images`.

    Returns
    -------
    ExtractionSummary
        `interrupted` where Ctrl-C ended it, after everything finished has been committed.
    """
    start = time.monotonic()
    failures = Failures(max_failures)
    tables = TableSet(writer, images, encoder.recipes, encoder.made_with, failures)
    try:
        with Shards(shards_folder(writer.path), encoder.recipes) as shards:
            plan = make_plan(images, tables.tables, in_shards=shards)
            tables.keep(plan)
            left = _merge(shards, tables, plan.read, progress=encoder.run.progress)
        if left:
            loaded = encoder.load() if isinstance(encoder, NotedEncoder) else encoder
            if loaded.recipes != encoder.recipes:  # those noted are out of date: start again
                forget_request(writer, encoder.recipes)
                return fill(
                    images, writer, loaded,
                    max_failures=max_failures, prune=prune, n_images=n_images,
                )  # fmt: skip
            encoder = loaded
            _read(encoder, tables, left, n_images or len(images))
        shards.remove(tables.list_paths() if len(shards) else set())
        if prune:
            others = list_images(writer).difference(images.paths)
            tables.tally.pruned = remove_images(writer, [name for name in others if is_gone(name)])
    except KeyboardInterrupt:
        tables.tally.interrupted = True
    return ExtractionSummary.of(
        images, encoder, tables.tally, failed=failures.n, elsewhere=tables.n_elsewhere(),
        seconds=time.monotonic() - start,
    )  # fmt: skip


def _merge(
    shards: Shards, tables: TableSet, positions: list[int], *, progress: bool | None
) -> list[int]:
    """Take over what other processes have read; return the positions that none has."""
    if not len(shards):
        return positions
    names = tables.images.paths
    there = [i for i in positions if names[i] in shards]
    with Progress(len(there), "merge", enabled=progress) as bar:
        for start in range(0, len(there), MERGED_AT_ONCE):
            part = there[start : start + MERGED_AT_ONCE]
            good, features, files, bad = shards.read([names[i] for i in part])
            tables.tally.extracted += len(part) - len(bad)
            tables.put([part[k] for k in good], features, files, bad)
            bar.advance(len(part))
    if there and shards.notes:
        tables.note(shards.notes)
    tables.commit()
    tables.failures.check()
    return [i for i in positions if names[i] not in shards]


def _read(encoder: LoadedEncoder, tables: TableSet, positions: list[int], n_images: int) -> None:
    """Decode, run the network and write, all three at once; end in order on Ctrl-C."""
    start = time.monotonic()
    # By all images, not by those that are left, so that a run that was killed and goes on takes
    # the same engine.
    engine = encoder.choose_engine(n_images)
    tables.note(
        {
            **encoder.made_with,
            "engine": engine.name,
            "engine_version": engine.version,
            "engine_reason": engine.reason,
        }
    )
    copies, failures = Copies(), tables.failures
    held = tables.images.sources
    sources = [held[i] for i in positions]
    writes: deque[Future[None]] = deque()
    interrupt: KeyboardInterrupt | None = None
    with (
        Progress(len(positions), "extract", enabled=encoder.run.progress) as bar,
        ThreadPoolExecutor(1, thread_name_prefix="featx-writer") as thread,
    ):
        try:
            for batch, features in encoder.embed(
                sources, pad=True, engine=engine.name, views_of=copies.views
            ):
                writes.append(thread.submit(tables.put_batch, positions, batch, features, copies))
                n_bytes = sum(vectors.nbytes for vectors in features)
                most = min(MOST_AHEAD, COMMIT_EVERY_BYTES // max(n_bytes, 1))
                ahead = max(WRITES_AHEAD, most) if failures.most is None else 0
                while len(writes) > ahead:
                    writes.popleft().result()
                if failures.are_too_many:
                    break
                bar.advance(len(batch.rows))
        except KeyboardInterrupt as err:
            interrupt = err
        while writes:
            writes.popleft().result()
        thread.submit(tables.commit).result()
    tables.tally.read_s = time.monotonic() - start
    if interrupt is not None:
        raise interrupt
    failures.check()
