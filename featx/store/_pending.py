"""What waits in memory for a table's next commit: new rows, and new values for old ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.store._records import NUMERIC, Records

__all__ = ["Batch", "Change", "join_batches", "merge"]

WRITTEN_AT_ONCE = 8 * 2**20  # bytes of vectors, which are copied once more for it


@dataclass
class Batch:
    """New rows, of which the first is row `start`."""

    start: int
    records: Records
    features: NDArray[Any]


@dataclass
class Change:
    """New values for a committed row; `fields` says which of `record` count."""

    record: Records = field(default_factory=lambda: Records.empty(1))
    fields: set[str] = field(default_factory=set)
    features: NDArray[Any] | None = None


def join_batches(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Join small batches: HDF5 takes as long for a row as for a thousand."""
    waiting: list[Batch] = []
    n_bytes = 0
    for batch in batches:
        waiting.append(batch)
        n_bytes += batch.features.nbytes
        if n_bytes >= WRITTEN_AT_ONCE:
            yield _join(waiting)
            waiting, n_bytes = [], 0
    if waiting:
        yield _join(waiting)


def merge(records: Records, i: int, change: Change) -> None:
    """Set row `i` of `records` to the values that `change` gives."""
    for name in change.fields:
        if name.startswith("metadata "):
            column = name.removeprefix("metadata ")
            values = records.metadata.setdefault(column, [b""] * len(records))
            values[i] = change.record.metadata[column][0]
        elif name in NUMERIC:
            records.numbers[name][i] = change.record.numbers[name][0]
        else:
            getattr(records, name)[i] = getattr(change.record, name)[0]


def _join(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    return Batch(
        batches[0].start,
        Records.joined([batch.records for batch in batches]),
        np.concatenate([batch.features for batch in batches]),
    )
