"""What a store holds, without choosing a table."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from featx._repr import OneLine
from featx.store._container import Opened
from featx.store._failures import Failure, read_failures
from featx.store._layout import read_attribute
from featx.store._state import SettledFile
from featx.store._tables import TableInfo, read_tables

__all__ = ["StoreInfo", "store_info", "table_notes"]


@dataclass(frozen=True, repr=False)
class StoreInfo(OneLine):
    """Tables and failures of a store.

    Parameters
    ----------
    tables : tuple of TableInfo
        One for each recipe.
    failures : tuple of Failure
        Images that could not be read.
    creator : str
        The version of featx that made the file.
    """

    tables: tuple[TableInfo, ...]
    failures: tuple[Failure, ...]
    creator: str


def store_info(path: str | os.PathLike[str]) -> StoreInfo:
    """Say what a store holds, also while a writer adds to it; reads no features.

    Raises
    ------
    FileFormatError
        As `open_store`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featx.store import write_features
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
    >>> _ = write_features(path, [[1.0, 0.0]], paths=["a.jpg"])
    >>> [str(table) for table in store_info(path).tables]
    ['outside (made outside featx, 1 x 2)']
    """
    with SettledFile(path) as file:
        return file.read(_read, of_one_commit=True)


def _read(opened: Opened) -> StoreInfo:
    creator = read_attribute(opened.h5, "creator")
    return StoreInfo(read_tables(opened.h5), read_failures(opened.h5, opened.file), creator)


def table_notes(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Return what each table of a store is made with, by key; see `FeatureStore.made_with`.

    Raises
    ------
    FileFormatError
        As `open_store`.
    """

    def read(opened: Opened) -> dict[str, dict[str, Any]]:
        tables = opened.h5["tables"].items()
        return {key: dict(json.loads(read_attribute(g, "made_with"))) for key, g in tables}

    with SettledFile(path) as file:
        return file.read(read)
