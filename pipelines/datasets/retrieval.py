"""A set to search in: database, queries, and what is right for each query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ManifestError
from featx.evaluation import Relevance
from pipelines.datasets._checks import as_boxes, require_paths

__all__ = ["RetrievalDataset"]


@dataclass(frozen=True, eq=False, repr=False)
class RetrievalDataset:
    """Images to search in, and queries with the rows that they should find.

    Parameters
    ----------
    name : str
        As `read_dataset` takes it.
    database : tuple of str
        Absolute paths, each once.
    queries : tuple of str
        Absolute paths; some sets take their queries from the database.
    query_boxes : ndarray of shape (n_queries, 4), float64, or None
        Left, top, right, bottom of the object that is asked for, in pixels; the protocols of
        Oxford and Paris show a network no more than that (`write_crops`).
    protocols : mapping of str to Relevance
        Which database rows are right for each query and which do not count: "easy", "medium" and
        "hard" of the revisited sets, "default" of the others.

    Raises
    ------
    ManifestError
        If a protocol has another number of queries or a row that the database lacks.

    Examples
    --------
    >>> from featx.evaluation import Relevance
    >>> relevance = Relevance((np.array([1]),), (np.array([0]),))
    >>> paths = ("/d/0.jpg", "/d/1.jpg")
    >>> RetrievalDataset("lamps", paths, paths[:1], None, {"default": relevance})
    RetrievalDataset('lamps': 1 queries in 2 images; default)
    """

    name: str
    database: tuple[str, ...]
    queries: tuple[str, ...]
    query_boxes: NDArray[np.float64] | None
    protocols: Mapping[str, Relevance]

    def __post_init__(self) -> None:
        thing = f"dataset {self.name!r}"
        for what in ("database", "queries"):
            object.__setattr__(self, what, tuple(getattr(self, what)))
            require_paths(thing, what, getattr(self, what))
        if len(set(self.database)) < len(self.database):
            raise ManifestError(f"{thing}: an image is twice in the database, expected once")
        if self.query_boxes is not None:
            boxes = as_boxes(thing, "query_boxes", self.query_boxes, len(self.queries))
            object.__setattr__(self, "query_boxes", boxes)
        if not self.protocols:
            raise ManifestError(f"{thing}: got no protocol, expected at least 'default'")
        for protocol, relevance in self.protocols.items():
            self._check(f"{thing}: protocol {protocol!r}", "positives", relevance.positives)
            self._check(f"{thing}: protocol {protocol!r}", "junk", relevance.junk)

    def __repr__(self) -> str:
        boxes = ", with boxes" if self.query_boxes is not None else ""
        return (
            f"RetrievalDataset({self.name!r}: {len(self.queries)} queries{boxes} in "
            f"{len(self.database)} images; {', '.join(self.protocols)})"
        )

    def _check(self, thing: str, what: str, rows: tuple[Any, ...]) -> None:
        if len(rows) != len(self.queries):
            raise ManifestError(
                f"{thing}: got {what} of {len(rows)} queries, expected {len(self.queries)}"
            )
        n = len(self.database)
        for query, found in enumerate(rows):
            if len(found) and not 0 <= np.min(found) <= np.max(found) < n:
                raise ManifestError(
                    f"{thing}: {what} of query {query} has the rows {np.min(found)} to "
                    f"{np.max(found)}, expected 0 to {n - 1}"
                )
