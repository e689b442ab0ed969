"""The index as clients see it: rows by number or content, labels, columns, neighbours.

A row keeps its number as long as the server runs, whatever is added or removed, so that a click
always opens the image that was shown; the rows of another file have numbers of their own. Readers
hold one state, which is never changed, only replaced: they need no lock.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featx.errors import FeatxError, ParameterError, StoreWriteError, choose
from featx.extraction.words import WordQuery, ask_words
from featx.files.paths import read_shown
from featx.retrieval import (
    InstanceIndex,
    Matches,
    RetrievalIndex,
    clip_region,
    find_in_query,
)
from featx.retrieval.descriptors import LocalFeatures
from featx.serve._copies import find_copies
from featx.serve._refusal import RefusalError
from featx.serve._schema import Column, Example, LabelCount, Match
from featx.serve._state import Index, Shown, State

__all__ = ["Database", "FileState", "file_state"]

Floats = NDArray[np.float32]
FileState: TypeAlias = tuple[int, int, int, int]


def file_state(path: str) -> FileState | None:
    """Return what identifies a file and changes when it is written to."""
    try:
        status = os.stat(path)  # noqa: PTH116 - any path that was given
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Database:
    """An index whose rows have numbers.

    Parameters
    ----------
    index : RetrievalIndex
        Taken over.
    path : str
        Its file, which `add` and `remove` rewrite.
    state : tuple of int, optional
        `file_state` of that file, from before the index was read.
    shown : Shown
        What clients see of it.
    copy_distance : float, default 0
        Cosine distance up to which images count as copies.
    first : int, default 0
        Number of the first row.
    has_words : bool, optional
        Whether the index's network has words. Default: it is asked.

    Attributes
    ----------
    link_column : str or None
        The one with each image's own page.

    Raises
    ------
    ParameterError
        If a column that is to be shown is not in the index, with the nearest one.

    Examples
    --------
    >>> index = RetrievalIndex().fit([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], ids=["a", "b", "c"])
    >>> database = Database(index, "index")
    >>> [match.row for match in database.nearest(database.vector(0), 2, leave_out=0)]
    [2, 1]
    """

    def __init__(
        self,
        index: Index,
        path: str,
        *,
        state: FileState | None = None,
        shown: Shown = Shown(),  # noqa: B008 - frozen
        copy_distance: float = 0.0,
        first: int = 0,
        has_words: bool | None = None,
    ) -> None:
        self.path, self._shown, self._copy_distance = path, shown, copy_distance
        self.file_state = state
        n = index.n_samples_fit_
        self._state = State(index, np.arange(first, first + n, dtype=np.int64), shown)
        self._next = first + n
        self.has_words = _has_words(index) if has_words is None else has_words
        self.link_column = self._choose_link()

    def _choose_link(self) -> str | None:
        if self._shown.link_column is not None:
            names = [column.name for column in self.columns]
            return choose("link_column", self._shown.link_column, names)
        return next((c.name for c in self.columns if c.kind == "link"), None)

    @property
    def columns(self) -> list[Column]:
        """Further columns that clients see."""
        return self._state.columns

    def follow(self, index: Index, state: FileState | None) -> Database:
        """Return what is served after this, of another file; its rows have new numbers."""
        return Database(
            index,
            self.path,
            state=state,
            shown=self._shown,
            copy_distance=self._copy_distance,
            first=self._next,
            has_words=self.has_words,  # of the network, which is the same
        )

    @property
    def collection(self) -> str:
        """What changes whenever a row does."""
        return self._state.collection

    @property
    def n_samples(self) -> int:
        """Rows."""
        return len(self._state.numbers)

    @property
    def metric(self) -> str:
        """Of the distances."""
        return str(self._state.index.metric)

    @property
    def has_labels(self) -> bool:
        """Whether every row has one."""
        return self._state.codes is not None

    def labels(self) -> list[LabelCount]:
        """Return the labels in alphabetical order."""
        state = self._state
        if state.codes is None:
            return []
        counts = np.bincount(state.codes, minlength=len(state.names)).tolist()
        return [LabelCount(name, n) for name, n in zip(state.names, counts, strict=True)]

    def examples(self, n: int) -> list[Example]:
        """Return up to n rows from all over the index."""
        state = self._state
        count = len(state.numbers)
        positions = np.unique(np.linspace(0, max(count - 1, 0), min(n, count)).astype(np.intp))
        return [Example(**state.describe(at)) for at in positions]

    def describe(self, row: int | str) -> Example:
        """Return what clients see of a row.

        Raises
        ------
        RefusalError
            If there is no such row.
        """
        state = self._state
        return Example(**state.describe(state.position(row)))

    @property
    def rows(self) -> tuple[Index, NDArray[np.int64]]:
        """The index, and the number of each of its rows."""
        return self._state.index, self._state.numbers

    def image_of(self, row: int | str) -> Any:
        """Return a row's id in the index: the path of its image, where it was made from a store.

        Raises
        ------
        RefusalError
            If there is no such row.
        """
        state = self._state
        return state.index.ids_[state.position(row)].item()

    def vector(self, row: int | str) -> Floats:
        """Return a row's vector, (n_features,).

        Raises
        ------
        RefusalError
            If there is no such row.
        """
        state = self._state
        assert isinstance(state.index, RetrievalIndex)
        return state.index.vectors(state.position(row))

    @property
    def weights(self) -> Any:
        """Where the network's weights are, if they moved."""
        return self._state.index.weights

    def ask(self, text: str) -> WordQuery:
        """Return what words were taken as.

        Raises
        ------
        RefusalError
            If the network has no words, or not these.
        """
        if not self.has_words:
            raise RefusalError(
                422, "text: the network of this index has no words; ask with an image"
            )
        index = self._state.index
        try:
            return ask_words(text, index.recipe_, index.made_with_, weights=index.weights)
        except ParameterError as err:
            raise RefusalError(422, str(err)) from err

    def nearest(
        self,
        vector: Floats | LocalFeatures | None,
        k: int,
        label: str | None = None,
        *,
        text: str | None = None,
        filters: tuple[str, ...] = (),
        leave_out: int | None = None,
    ) -> list[Match]:
        """Return the k nearest rows of a label and within filters, or of all, one row left out.

        Words are added to the vector, or stand alone where there is none.

        Raises
        ------
        RefusalError
            If there is no such label or column, or a filter cannot be read; of words, `ask` says
            before whether they can be asked.
        """
        state = self._state
        n = k + (leave_out is not None)
        among = state.select(label, filters)
        if among is not None and not among.any():
            return []
        words: dict[str, Any] = {} if text is None else {"text": text}
        try:
            found = state.index.query(vector, n, filter=among, **words)
        except ParameterError as err:
            raise RefusalError(422, str(err)) from err
        left_out = -1 if leave_out is None else leave_out
        kept = np.flatnonzero(state.numbers[found.indices] != left_out)[:k]
        return self._make_matches(state, vector, found, kept)

    def _make_matches(
        self,
        state: State,
        vector: Floats | LocalFeatures | None,
        found: Matches,
        kept: NDArray[np.intp],
    ) -> list[Match]:
        positions = found.indices[kept]
        is_copy, copy_of = self._find_copies(state, vector, positions)
        rows = state.numbers[positions].tolist()
        matches = []
        for i, (place, at) in enumerate(zip(kept.tolist(), positions, strict=True)):
            first = copy_of[i]
            region = None if found.regions is None else found.regions[place]
            match = Match(
                **state.describe(at),
                distance=float(found.distances[place]),
                is_copy=is_copy[i],
                copy_of=None if first is None else rows[first],
                inliers=None if found.inliers is None else int(found.inliers[place]),
                **_describe_region(region),
            )
            matches.append(match)
        return matches

    def _find_copies(
        self, state: State, vector: Floats | LocalFeatures | None, positions: NDArray[np.intp]
    ) -> tuple[list[bool], Sequence[int | None]]:
        if isinstance(vector, LocalFeatures) or isinstance(state.index, InstanceIndex):
            return [False] * len(positions), [None] * len(positions)
        if vector is None:  # words have no copies
            vector = np.zeros(state.index.n_features_in_, np.float32)
        return find_copies(vector, state.index.vectors(positions), self._copy_distance)

    def add(
        self,
        vector: Any,
        path: str,
        label: str | None,
        *,
        digest: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> int:
        """Add a row, write the index's file, and return the row's number. One caller at a time.

        Raises
        ------
        RefusalError
            If the image is there already, or there is no such column.
        StoreWriteError
            If the file cannot be written; nothing has changed then.
        """
        state = self._state
        found = np.flatnonzero(state.index.ids_.astype(str) == path)
        if len(found):
            row = int(state.numbers[found[0]])
            raise RefusalError(409, f"this image is in the index already, as row {row}")
        try:
            given = {
                choose("column", k, state.metadata): read_shown(v) for k, v in metadata.items()
            }
        except ParameterError as err:
            raise RefusalError(422, str(err)) from err
        index = copy.copy(state.index)  # `add` replaces its arrays and changes none
        values = {name: [given.get(name, "")] for name in index.metadata_}
        labels = None if label is None else [state.stored(label)]
        new = [path] if isinstance(index, InstanceIndex) else vector[None]
        index.add(new, ids=[path], labels=labels, metadata=values, digests=[digest])
        self._save(index)
        row, self._next = self._next, self._next + 1
        self._state = State(index, np.append(state.numbers, row), self._shown)
        return row

    def relabel(self, row: int | str, label: str) -> None:
        """Give a row another label and write the index's file. One caller at a time.

        Raises
        ------
        RefusalError
            If there is no such row, or the index has no labels.
        StoreWriteError
            If the file cannot be written; nothing has changed then.
        """
        state = self._state
        name = state.index.ids_[state.position(row)].item()
        if state.codes is None:
            raise RefusalError(422, "label: got one, expected none, since the index has no labels")
        index = copy.copy(state.index).relabel([name], [state.stored(label)])
        self._save(index)
        self._state = State(index, state.numbers, self._shown)

    def _save(self, index: Index) -> None:
        """Write the file, unless it is no longer the one that was read or written here."""
        if file_state(self.path) != self.file_state:
            raise StoreWriteError(
                f"index {self.path!r}: another program has changed the file since it was read, "
                "and what that wrote would be lost; try again once it is served"
            )
        index.save(self.path)
        self.file_state = file_state(self.path)

    def remove(self, row: int | str) -> Any:
        """Remove a row, write the index's file, and return the row's id. One caller at a time.

        Raises
        ------
        RefusalError
            If there is no such row.
        StoreWriteError
            If the file cannot be written; nothing has changed then.
        """
        state = self._state
        at = state.position(row)
        name = state.index.ids_[at].item()
        index = copy.copy(state.index)
        index.remove([name])
        self._save(index)
        self._state = State(index, np.delete(state.numbers, at), self._shown)
        return name


def _describe_region(region: Floats | None) -> dict[str, Any]:
    """Return a region, and what is to be drawn of it, by field of `Match`."""
    if region is None or not np.isfinite(region).all():
        return {}
    outline, in_query = clip_region(region), clip_region(find_in_query(region))
    return {
        "region": region.tolist(),
        "outline": outline.tolist() or None,
        "outline_in_query": in_query.tolist() or None,
    }


def _has_words(index: Index) -> bool:
    try:
        ask_words("dog", index.recipe_, index.made_with_, weights=index.weights)
    except ParameterError:  # it has others
        return True
    except FeatxError:
        return False
    return True
