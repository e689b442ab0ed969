"""The map of the collection: of the images that the index has now."""

from __future__ import annotations

import threading

from featx.errors import FeatxError
from featx.mapping.served import ServedMap, read_map
from featx.serve._database import Database
from featx.serve._refusal import RefusalError

__all__ = ["Map"]


class Map:
    """A page of `featx.mapping.draw_map`, read again whenever the collection has changed.

    Parameters
    ----------
    page : str
        The file.
    database : Database
        What it was drawn of.

    Raises
    ------
    ParameterError, FingerprintMismatchError, FileFormatError
        If the file is no map of the database.
    """

    def __init__(self, page: str, database: Database) -> None:
        self._page, self._lock = page, threading.Lock()
        self._read = database.collection, _read(page, database)

    def of(self, database: Database) -> ServedMap:
        """Return the map of what is there now.

        Raises
        ------
        RefusalError
            If the file is gone, or has none of the images any more.
        """
        with self._lock:
            if self._read[0] != database.collection:
                try:
                    self._read = database.collection, _read(self._page, database)
                except FeatxError as err:
                    raise RefusalError(503, "the map does not fit the index any more") from err
            return self._read[1]


def _read(page: str, database: Database) -> ServedMap:
    index, numbers = database.rows

    def describe(row: int) -> tuple[str, str | None]:
        image = database.describe(int(numbers[row]))
        return image.id or str(image.row), image.path or image.name

    return read_map(page, index, describe=describe)
