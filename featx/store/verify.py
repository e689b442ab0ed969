"""Check every byte of a store that a read could return."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from featx._repr import FieldTable
from featx.errors import FileFormatError
from featx.files.formats import STORE, MissingFileError
from featx.store._chunks import chunk_blocks
from featx.store._container import Opened
from featx.store._failures import read_failures
from featx.store._layout import datasets, feature_crcs, read_attribute
from featx.store._records import Records
from featx.store._state import SettledFile
from featx.store.tables import table_info

__all__ = ["VerifyResult", "verify_store"]

T = TypeVar("T")

BLOCK_ROWS = 8192


@dataclass(frozen=True, repr=False)
class VerifyResult(FieldTable):
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
    try:
        file = SettledFile(path)
    except MissingFileError:
        raise
    except FileFormatError as err:
        if os.path.isdir(path):  # noqa: PTH112
            raise
        return VerifyResult(False, (_without_remedy(err),), 0)
    problems: list[str] = []
    checked = 0
    with file:
        keys = _collect(problems, file, "/tables", lambda opened: list(opened.h5["tables"].keys()))
        for key in keys or []:
            n, found = _table(file, key)
            checked += n
            problems += found
        _collect(problems, file, "/failures", lambda opened: read_failures(opened.h5, opened.file))
    return VerifyResult(not problems, tuple(problems), checked)


def _table(file: SettledFile, key: str) -> tuple[int, list[str]]:
    """Check one table; return the number of rows checked and the problems."""
    problems: list[str] = []
    sizes = _collect(problems, file, f"table {key!r}", partial(_check_head, key))
    if sizes is None:
        return 0, problems
    n, chunk_rows = sizes
    seen: dict[bytes, int] = {}
    for start in range(0, n, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, n)
        what = f"table {key!r}, rows {start}..{stop - 1}"
        _collect(problems, file, what, partial(_check_rows, key, start, stop, seen))
        for a, b in chunk_blocks(start, stop, chunk_rows):
            what = f"features of table {key!r}, rows {a}..{b - 1}"
            _collect(problems, file, what, partial(_check_features, key, a, b))
    return n, problems


def _check_head(key: str, opened: Opened) -> tuple[int, int]:
    """Return the numbers of rows, in all and in a chunk."""
    group = opened.h5["tables"][key]
    info = table_info(key, group)
    if group["features"].chunks is None:
        raise FileFormatError("features: stored in one piece, expected chunks of rows")
    for name, dataset in datasets(group):
        if len(dataset) != info.n_samples:
            raise FileFormatError(
                f"table {key!r}: {name} has {len(dataset)} rows, expected {info.n_samples}"
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
    return info.n_samples, group["features"].chunks[0]


def _check_rows(key: str, start: int, stop: int, seen: dict[bytes, int], opened: Opened) -> None:
    group = opened.h5["tables"][key]
    # Fewer, where rows were removed since it began.
    start, stop, _ = slice(start, stop).indices(len(group["path"]))
    records = Records.read(group, opened.file, slice(start, stop))
    for row, path in enumerate(records["path"].tolist(), start):
        if seen.setdefault(path, row) != row:
            raise FileFormatError(
                f"table {group.name!r}: rows {seen[path]} and {row} have the same path {path!r}"
            )


def _check_features(key: str, start: int, stop: int, opened: Opened) -> None:
    group = opened.h5["tables"][key]
    start, stop, _ = slice(start, stop).indices(len(group["features"]))
    found = feature_crcs(group["features"][start:stop])
    bad = np.flatnonzero(found != group["features_crc"][start:stop])
    if len(bad):
        raise FileFormatError(
            f"{group.name!r}: {len(bad)} vectors do not fit their checksum, first row "
            f"{start + int(bad[0])}"
        )


def _collect(
    problems: list[str], file: SettledFile, what: str, check: Callable[[Opened], T]
) -> T | None:
    """Return what a check returns, made again where a commit came in; add what it refuses."""

    def checked(opened: Opened) -> T:
        with STORE.reading(file.path, what):
            return check(opened)

    try:
        return file.read(checked)
    except FileFormatError as err:
        problems.append(_without_remedy(err))
        return None


def _without_remedy(err: FileFormatError) -> str:
    """Return what does not fit, without the advice to run this very check."""
    return str(err).removesuffix(f": {STORE.remedy}").removesuffix("; the file is damaged")
