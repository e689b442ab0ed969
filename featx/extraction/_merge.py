"""Fill the tables of one store from itself, from shards, and from the network."""

from __future__ import annotations

import os

from featx.errors import StoreWriteError
from featx.extraction._failures import Failures
from featx.extraction._remembered import AnyEncoder
from featx.extraction._run import Run
from featx.extraction._shards import Shards, shards_folder
from featx.extraction.items import Items
from featx.extraction.plan import Plan, make_plan
from featx.store import StoreWriter

__all__ = ["NotYetError", "fill_table"]


class NotYetError(Exception):
    """Other processes have not done their parts; the store stays as it is."""

    def __init__(self, n_missing: int) -> None:
        super().__init__(n_missing)
        self.n_missing = n_missing


def fill_table(
    loaded: AnyEncoder,
    items: Items,
    store: str | os.PathLike[str],
    failures: Failures,
    prune: bool,
    lock_timeout_s: float,
    own: Run | None,
) -> Run:
    """Take over what the store and its shards have, and read the rest.

    Parameters
    ----------
    own : Run or None
        What this process has filled its own shard with, where it is one of several.

    Raises
    ------
    NotYetError
        If other processes have not done their parts.
    """
    with StoreWriter(store, timeout_s=lock_timeout_s) as writer:
        run = Run(loaded, items, writer, failures)
        try:
            with _shards(loaded, items, store, is_shard=own is not None) as shards:
                plan = make_plan(items, run.tables, elsewhere=shards)
                if own is not None:
                    _require_all(run, plan, shards)
                run.take_over(plan)
                left = run.collect(plan.read, shards)
            run.read(left)
            if not run.interrupted:
                shards.remove({*run.tables[0].paths, *(f.path for f in writer.failures)})
                if prune:
                    run.prune()
        except KeyboardInterrupt:  # before or after the reading, which stops by itself
            run.interrupted = True
    return run


def _shards(
    loaded: AnyEncoder, items: Items, store: str | os.PathLike[str], *, is_shard: bool
) -> Shards:
    """Open what other processes have read."""
    try:
        return Shards(shards_folder(store), loaded.recipes)
    except StoreWriteError:  # somebody is at work on one of them
        if is_shard:
            raise NotYetError(len(items.names)) from None
        raise


def _require_all(run: Run, plan: Plan, shards: Shards) -> None:
    """Leave it to another shard to put together what is not complete yet."""
    names = run.items.names
    tried = {failure.path for failure in run.writer.failures}
    n_missing = sum(names[i] not in shards and names[i] not in tried for i in plan.read)
    if n_missing:
        raise NotYetError(n_missing)
