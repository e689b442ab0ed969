"""Another file in the place of the one that is served: read beside it, and served if it can be."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from featx.errors import FeatxError, FingerprintMismatchError
from featx.retrieval import RetrievalIndex, load_index
from featx.serve._database import Database, FileState, file_state
from featx.serve._instances import LocalNetwork, fits
from featx.serve._options import ServeOptions

if TYPE_CHECKING:
    from featx.extraction import LoadedEncoder

__all__ = ["Follower"]

logger = logging.getLogger(__name__)


class Follower:
    """Looks at the file of an index now and then.

    Parameters
    ----------
    network : LoadedEncoder or LocalNetwork
        What a new index must have been made with.
    state : tuple of int, optional
        `file_state` of the file that is served first.
    options : ServeOptions
        Whether the index may be changed.

    Attributes
    ----------
    problem : str or None
        Why a changed file is not served, for clients.
    """

    def __init__(
        self,
        network: LoadedEncoder | LocalNetwork,
        state: FileState | None,
        options: ServeOptions,
    ) -> None:
        self._network, self._options = network, options
        self._seen = state
        self._refused: FileState | None = None
        self.problem: str | None = None

    def look(self, database: Database) -> Database:
        """Return what is to be served from now on: the same, or what the file holds by now.

        A file is read once nobody has written to it since the last look.
        """
        state = file_state(database.path)
        is_settled, self._seen = state == self._seen, state
        if state == database.file_state:
            self.problem = None
        elif state is None:
            self.problem = "the index's file is gone; what it held is served on"
        elif is_settled and state != self._refused:
            return self._read(database, state)
        return database

    def _read(self, database: Database, state: FileState) -> Database:
        path = database.path
        try:
            index = load_index(path, mmap=not self._options.writable)
            if isinstance(index, RetrievalIndex):
                index.set_params(weights=database.weights)
            if not fits(index, self._network):
                raise FingerprintMismatchError(
                    f"index {path!r}: was built again with another network, kind or settings, "
                    "expected those of before; start the server again to serve it"
                )
            found = database.follow(index, state)
        except FeatxError as err:
            logger.error("the changed index is not served: %s", err)  # noqa: TRY400
            self._refused = state
            self.problem = (
                "the index's file has changed and cannot be served, so what it held before is "
                "served on; the log says why"
            )
            return database
        self.problem = None
        logger.warning("the index's file has changed: %d images are served now", found.n_samples)
        return found
