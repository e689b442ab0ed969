"""Decide, before any pixel is decoded, which images of a manifest the network must see.

An image that the store knows under the same path, size and modification time is taken as unchanged
without opening it. One that is new or looks changed is hashed: where the content is known (the
file was touched, renamed or copied) its vector is taken over. Only the rest is decoded. An image
that is in no file is known by its name, which holds its digest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from featx._repr import OneLine
from featx.extraction.items import MEMORY, Items
from featx.files.remote import RemoteFile, is_url
from featx.fingerprint import file_digest
from featx.store import TableWriter

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True)
class Stat:
    """Size and modification time of a file, as far as it could be looked at."""

    size_bytes: int
    mtime_ns: int


@dataclass(repr=False)
class Plan(OneLine):
    """Positions of images, by what is to be done with them.

    Parameters
    ----------
    unchanged : list of int
        Known by path, size and modification time.
    adopt : list of (int, str)
        Position and digest of images whose content a table holds under another path, or under the
        same path with another modification time.
    read : list of int
        Everything else: the network must see it.
    stats : dict
        Position → size and time, for the positions in `adopt`.
    """

    unchanged: list[int] = field(default_factory=list)
    adopt: list[tuple[int, str]] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    stats: dict[int, Stat] = field(default_factory=dict)


def look(path: str) -> Stat | None:
    """Return a regular file's size and modification time, None where they cannot be had."""
    try:
        status = os.stat(path)  # noqa: PTH116 - ten times as fast as Path.stat on many files
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Stat(status.st_size, status.st_mtime_ns)


def _told(file: RemoteFile | None) -> Stat | None:
    """Return what a listing told of a file, None where that cannot show a change."""
    if file is None or file.size_bytes < 0 or not file.mtime_ns:
        return None
    return Stat(file.size_bytes, file.mtime_ns)


def make_plan(
    items: Items, tables: Sequence[TableWriter], *, elsewhere: Container[str] = ()
) -> Plan:
    """Sort images into what is known and what must be read.

    Parameters
    ----------
    items : Items
        All images.
    tables : sequence of TableWriter
        Every table that the extraction fills; an image counts as known where all of them know it.
    elsewhere : container of str, default ()
        Names of images that a shard holds: these are to be read (from there) without a look at
        their content.

    Returns
    -------
    Plan
    """
    names, remote = items.names, items.remote
    known = [table.known() for table in tables]
    plan = Plan()
    if not any(known):
        plan.read = list(range(len(names)))
        return plan
    suspects: list[int] = []
    for i, name in enumerate(names):
        rows = [k.get(name) for k in known]
        if name.startswith(MEMORY) and not is_url(name):
            (plan.unchanged if all(rows) else plan.read).append(i)
            continue
        seen = _told(remote.get(name)) if is_url(name) else look(name)
        if seen is not None and all(
            row is not None and (row.size_bytes, row.mtime_ns) == (seen.size_bytes, seen.mtime_ns)
            for row in rows
        ):
            plan.unchanged.append(i)
        elif seen is None or name in elsewhere or is_url(name):
            # Reading it gives the reason for the failures table; what is far away is read once,
            # not also to look its content up.
            plan.read.append(i)
        else:
            plan.stats[i] = seen
            suspects.append(i)
    _sort_by_content(plan, suspects, names, tables)
    plan.read.sort()
    return plan


def _sort_by_content(
    plan: Plan, suspects: list[int], paths: Sequence[str], tables: Sequence[TableWriter]
) -> None:
    """Hash the suspects (hashing releases the interpreter lock) and look their content up."""
    by_digest = [table.rows_by_digest() for table in tables]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for i, digest in zip(
            suspects, pool.map(_digest_or_none, [paths[i] for i in suspects]), strict=True
        ):
            if digest is not None and all(digest in rows for rows in by_digest):
                plan.adopt.append((i, digest))
            else:
                plan.read.append(i)


def _digest_or_none(path: str) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None
