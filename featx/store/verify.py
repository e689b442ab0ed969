"""Check every byte of a store that a read could return."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import FileFormatError
from featx.store._container import Opened, StoreNotFoundError, readable, store_path
from featx.store._crc import feature_crcs
from featx.store._failures import read_failures
from featx.store._patched import PatchedFile
from featx.store._records import NUMERIC, Records
from featx.store._remote import readable_copy
from featx.store._rows import chunk_blocks
from featx.store._settled import open_settled
from featx.store._tables import table_info
from featx.store._text import read_attribute

__all__ = ["VerifyResult", "verify_store"]

BLOCK_ROWS = 8192


@dataclass(frozen=True)
class VerifyResult:
    """What a check of a store found.

    Parameters
    ----------
    ok : bool
        Whether everything fits.
    problems : tuple of str
        One line each: what does not fit, and where.
    n_rows_checked : int
        Rows of all tables whose checksums were computed.
    """

    ok: bool
    problems: tuple[str, ...]
    n_rows_checked: int


def verify_store(path: str | os.PathLike[str]) -> VerifyResult:
    """Read a whole store and compare it with its checksums.

    Every vector, path, label, further column, digest and failure is read; recipes are compared
    with their fingerprints, and the columns' lengths with each other. Holds a few MiB and the
    paths.

    Parameters
    ----------
    path : path
        The store.

    Returns
    -------
    VerifyResult
        A file that is damaged beyond opening is a result with that problem.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is a folder.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featx.store import write_features
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
    >>> _ = write_features(path, [[1.0, 0.0]], paths=["a.jpg"])
    >>> verify_store(path)
    VerifyResult(ok=True, problems=(), n_rows_checked=1)
    """
    place = store_path(readable_copy(path))
    try:
        opened = open_settled(place)
    except StoreNotFoundError:
        raise
    except FileFormatError as err:
        if place.is_dir():
            raise
        return VerifyResult(False, (str(err),), 0)
    problems: list[str] = []
    checked = 0
    try:
        keys: list[str] = []
        _collect(problems, place, "/tables", lambda: keys.extend(opened.h5["tables"].keys()))
        for key in keys:
            n, found = _table(place, opened, key)
            checked += n
            problems += found
        _collect(problems, place, "/failures", lambda: read_failures(opened.h5, opened.file))
    finally:
        opened.close()
    return VerifyResult(not problems, tuple(problems), checked)


def _table(place: Path, opened: Opened, key: str) -> tuple[int, list[str]]:
    """Check one table; return the number of rows checked and the problems."""
    problems: list[str] = []
    if not _collect(
        problems, place, f"table {key!r}", lambda: _check_head(opened.h5["tables"][key], key)
    ):
        return 0, problems
    group = opened.h5["tables"][key]
    n = group["features"].shape[0]
    seen: dict[bytes, int] = {}
    for start in range(0, n, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, n)
        what = f"table {key!r}, rows {start}..{stop - 1}"
        check = partial(_check_rows, group, opened.file, start, stop, seen)
        _collect(problems, place, what, check)
        for a, b in chunk_blocks(start, stop, group["features"].chunks[0]):
            what = f"features of table {key!r}, rows {a}..{b - 1}"
            _collect(problems, place, what, partial(_check_features, group, a, b))
    return n, problems


def _check_head(group: Any, key: str) -> None:
    info = table_info(key, group)
    if group["features"].chunks is None:
        raise FileFormatError("features: stored in one piece, expected chunks of rows")
    lengths = {name: len(group[name]) for name in ("path", "label", "row_crc", *NUMERIC)}
    lengths |= {f"metadata/{name}": len(column) for name, column in group["metadata"].items()}
    for name, length in lengths.items():
        if length != info.n_samples:
            raise FileFormatError(
                f"table {key!r}: {name} has {length} rows, expected {info.n_samples}"
            )
    if info.recipe and (info.n_features, info.dtype) != (
        info.recipe.n_features,
        info.recipe.dtype,
    ):
        raise FileFormatError(
            f"table {key!r}: features are {info.n_features} x {info.dtype}, expected "
            f"{info.recipe.n_features} x {info.recipe.dtype} by the recipe"
        )
    json.loads(read_attribute(group, "made_with"))
    bool(group.attrs["has_labels"])


def _check_rows(
    group: Any, file: PatchedFile, start: int, stop: int, seen: dict[bytes, int]
) -> None:
    records = Records.read_checked(group, file, start, stop)
    for row, path in enumerate(records.path, start):
        if seen.setdefault(path, row) != row:
            raise FileFormatError(
                f"table {group.name!r}: rows {seen[path]} and {row} have the same path {path!r}"
            )


def _check_features(group: Any, start: int, stop: int) -> None:
    found = feature_crcs(group["features"][start:stop])
    bad = np.flatnonzero(found != group["features_crc"][start:stop])
    if len(bad):
        raise FileFormatError(
            f"{group.name!r}: {len(bad)} vectors do not fit their checksum, first row "
            f"{start + int(bad[0])}"
        )


def _collect(problems: list[str], place: Path, what: str, check: Callable[[], object]) -> bool:
    try:
        with readable(place, what):
            check()
    except FileFormatError as err:
        problems.append(str(err))
        return False
    return True
