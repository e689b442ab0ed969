"""What a store holds, without choosing a table."""

from __future__ import annotations

import os
from dataclasses import dataclass

from featx.store._container import open_for_reading, readable, store_path
from featx.store._failures import Failure, read_failures
from featx.store._tables import TableInfo, table_info
from featx.store._text import read_attribute

__all__ = ["StoreInfo", "store_info"]


@dataclass(frozen=True)
class StoreInfo:
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
    """Say what a store holds; reads no features.

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
    place = store_path(path)
    opened = open_for_reading(place)
    try:
        with readable(place):
            tables = tuple(table_info(key, group) for key, group in opened.h5["tables"].items())
            creator = read_attribute(opened.h5, "creator")
            return StoreInfo(tables, read_failures(opened.h5), creator)
    finally:
        opened.close()
