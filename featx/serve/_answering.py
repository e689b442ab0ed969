"""Queries that came together: one pass of the network, then a search for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featx.retrieval.descriptors import LocalFeatures
from featx.serve._database import Database
from featx.serve._decoding import Views
from featx.serve._instances import LocalNetwork
from featx.serve._labeller import Labeller
from featx.serve._refusal import RefusalError
from featx.serve._schema import Answer, Wording

if TYPE_CHECKING:
    from featx.extraction import LoadedEncoder

__all__ = ["Asked", "Floats", "Found", "Query", "answer_queries"]

MAX_NAMES = 100  # "animal" is 398 classes


@dataclass(frozen=True)
class Asked:
    """How much is asked for, and of which rows; k = 0 asks for the vector alone.

    Words are added to what an image asks.
    """

    k: int = 0
    label: str | None = None
    filters: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True)
class Query:
    """A query in line: an image's views, a row that is there already, or words alone."""

    asked: Asked
    views: Views | None = None
    row: int | None = None


Floats: TypeAlias = NDArray[np.float32]
Found: TypeAlias = tuple[Floats | LocalFeatures | None, Answer]


def answer_queries(
    queries: Sequence[Query],
    database: Database,
    network: LoadedEncoder | LocalNetwork,
    labeller: Labeller | None,
) -> list[Found | Exception]:
    """Answer each query, or say why it alone of its batch cannot be answered."""
    images = [query.views for query in queries if query.views is not None]
    embedded = iter(network.embed_views(images) if images else ())
    vectors = [_vector(database, query, embedded) for query in queries]
    good = [vector for vector in vectors if isinstance(vector, np.ndarray)]
    predictions = iter(labeller(np.stack(good)) if labeller and good else ())
    found: list[Found | Exception] = []
    for query, vector in zip(queries, vectors, strict=True):
        if isinstance(vector, RefusalError):
            found.append(vector)
            continue
        prediction, asked = None if vector is None else next(predictions, None), query.asked
        try:
            text = _describe_words(database, asked.text)
            matches = [] if asked.k == 0 else database.nearest(
                vector, asked.k, asked.label, text=asked.text, filters=asked.filters,
                leave_out=query.row,
            )  # fmt: skip
            answer = Answer(matches, prediction, text=text, collection=database.collection)
            found.append((vector, answer))
        except RefusalError as err:
            found.append(err)
    return found


def _describe_words(database: Database, text: str | None) -> list[Wording]:
    meant = [] if text is None else database.ask(text).to_dicts()
    return [Wording(one["text"], one["is_wanted"], one["names"][:MAX_NAMES]) for one in meant]


def _vector(
    database: Database, query: Query, embedded: Iterator[Floats | LocalFeatures]
) -> Floats | LocalFeatures | RefusalError | None:
    """Return the vector of a row, or the next image's; refuse that one alone of its batch."""
    try:
        if query.views is not None:
            vector = next(embedded)
        elif query.row is not None:
            vector = database.vector(query.row)
        else:
            return None
    except RefusalError as err:
        return err
    if isinstance(vector, np.ndarray) and not np.isfinite(vector).all():
        return RefusalError(422, "image: the network's features of it are not finite")
    return vector
