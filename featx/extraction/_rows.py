"""Put images into a table: what it knows of them stays, what is new or changed is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.extraction.items import Items
from featx.extraction.plan import Plan
from featx.store import KnownRow, TableWriter, is_gone

__all__ = ["adopt_rows", "put_rows", "refresh_rows"]


def refresh_rows(
    table: TableWriter, items: Items, known: dict[str, KnownRow], positions: list[int]
) -> None:
    """Bring labels and further columns of unchanged images up to date."""
    columns = table.metadata() if items.metadata else {}
    blank = [""] * table.n_samples
    changed = []
    for i in positions:
        row = known[items.names[i]]
        is_new = items.labels is not None and row.label != items.labels[i]
        if is_new or any(
            columns.get(name, blank)[row.row] != values[i]
            for name, values in items.metadata.items()
        ):
            changed.append(i)
    if changed:
        rows = [known[items.names[i]].row for i in changed]
        table.update(rows, **items.columns(changed))


def adopt_rows(table: TableWriter, items: Items, known: dict[str, KnownRow], plan: Plan) -> None:
    """Take vectors over for contents that the table has under another name or time."""
    names, digests = items.names, dict(plan.adopt)
    rows_of, paths = table.rows_by_digest(), table.paths
    vacated = {
        digest: deque(row for row in rows_of[digest] if is_gone(paths[row]))
        for digest in digests.values()
    }
    moved: dict[int, int] = {}  # row -> position of the image that takes it
    copied: list[int] = []
    for i, digest in plan.adopt:
        mine = known.get(names[i])
        if mine is not None and mine.digest == digest:
            moved[mine.row] = i  # touched only
        elif mine is None and vacated[digest]:
            moved[vacated[digest].popleft()] = i  # renamed: copies move one for one
        else:
            copied.append(i)
    features = table.read([rows_of[digests[i]][0] for i in copied])
    # Renamed onto an image that the table knows, whose row takes the vector.
    taken = [vacated[digests[i]] for i in copied if names[i] in known]
    table.remove([rows.popleft() for rows in taken if rows])
    if moved:
        rows = list(moved)
        table.update(rows, paths=[names[moved[r]] for r in rows], **_file(moved, items, plan))
    put_rows(
        table,
        items,
        known,
        copied,
        features,
        digests=[digests[i] for i in copied],
        sizes=[plan.stats[i].size_bytes for i in copied],
        mtimes=[plan.stats[i].mtime_ns for i in copied],
    )


def put_rows(
    table: TableWriter,
    items: Items,
    known: dict[str, KnownRow],
    positions: list[int],
    features: NDArray[np.float32],
    **file: Sequence[Any],
) -> None:
    """Append new images; replace the rows of those whose content changed."""
    names = items.names
    for is_known in (True, False):
        part = [k for k, i in enumerate(positions) if (names[i] in known) is is_known]
        if not part:
            continue
        at = [positions[k] for k in part]
        columns: dict[str, Any] = items.columns(at)
        columns |= {name: [values[k] for k in part] for name, values in file.items()}
        if is_known:
            table.update([known[names[i]].row for i in at], features=features[part], **columns)
        else:
            table.append([names[i] for i in at], features[part], **columns)


def _file(moved: dict[int, int], items: Items, plan: Plan) -> dict[str, Any]:
    positions = list(moved.values())
    return {
        "sizes": [plan.stats[i].size_bytes for i in positions],
        "mtimes": [plan.stats[i].mtime_ns for i in positions],
        **items.columns(positions),
    }
