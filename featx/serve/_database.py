"""The index as clients see it: rows by number, labels, neighbours, never a path.

A row keeps its number as long as the server runs, whatever is added or removed, so that a click
always opens the image that was shown. Readers hold one state, which is never changed, only
replaced: they need no lock.
"""

from __future__ import annotations

import copy
import ntpath
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from featx._arrays import scale_to_unit
from featx.errors import StoreWriteError, nearest
from featx.files.paths import show_path
from featx.files.remote import is_url
from featx.retrieval import RetrievalIndex
from featx.serve._refusal import RefusalError

__all__ = ["Database", "Example", "LabelCount", "Match", "file_state"]

MAX_TO_SUGGEST = 1000  # else a client could keep the search for near labels busy
Floats = NDArray[np.float32]
FileState: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Match:
    """One neighbour. `name` only with --show-names; `copy_of` is an earlier match's row."""

    row: int
    distance: float
    label: str | None = None
    name: str | None = None
    is_copy: bool = False
    copy_of: int | None = None


@dataclass(frozen=True)
class Example:
    """A row to begin with. `name` only with --show-names."""

    row: int
    label: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class LabelCount:
    """A label of the index and its number of images."""

    label: str
    n_samples: int


def file_state(path: str) -> FileState | None:
    """Return what identifies a file and changes when it is written to."""
    try:
        status = os.stat(path)  # noqa: PTH116 - any path that was given
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _State:
    """One index with the numbers of its rows; never changed."""

    def __init__(self, index: RetrievalIndex, numbers: NDArray[np.int64]) -> None:
        self.index, self.numbers = index, numbers
        labels = index.labels_
        self.names: list[str] = []
        self._stored: dict[str, str] = {}
        self.codes: NDArray[np.intp] | None = None
        if labels is not None:
            found, codes = np.unique(labels.astype(str), return_inverse=True)
            shown = [show_path(name) for name in found.tolist()]
            names, again = np.unique(shown, return_inverse=True)
            self.names, self.codes = names.tolist(), again[codes]
            self._stored = dict(zip(shown, found.tolist(), strict=True))

    def position(self, row: int) -> int:
        """Return where in the index a row is."""
        at = int(np.searchsorted(self.numbers, row)) if 0 <= row < 2**63 else -1
        if at < 0 or at == len(self.numbers) or self.numbers[at] != row:
            raise RefusalError(404, f"row {row}: is not in the index")
        return at

    def label(self, position: Any) -> str | None:
        """Return a row's label, where rows have some."""
        return None if self.codes is None else self.names[int(self.codes[position])]

    def stored(self, label: str) -> str:
        """Return a label as the index has it, of the spelling that answers show."""
        return self._stored.get(label, label)

    def of_label(self, label: str) -> NDArray[np.bool_]:
        """Say which positions are a label's."""
        if label not in self.names:
            raise RefusalError(
                422,
                f"label: got {label!r}, expected a label of the index."
                f"{nearest(label, self.names[:MAX_TO_SUGGEST])}",
            )
        is_label: NDArray[np.bool_] = np.equal(np.asarray(self.codes), self.names.index(label))
        return is_label


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
    show_names : bool, default False
        Give the images' file names.
    copy_distance : float, default 0
        Cosine distance up to which images count as copies.

    Examples
    --------
    >>> index = RetrievalIndex().fit([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], ids=["a", "b", "c"])
    >>> database = Database(index, "index")
    >>> [match.row for match in database.nearest(database.vector(0), 2, leave_out=0)]
    [2, 1]
    """

    def __init__(
        self,
        index: RetrievalIndex,
        path: str,
        *,
        state: FileState | None = None,
        show_names: bool = False,
        copy_distance: float = 0.0,
    ) -> None:
        self.path, self._show_names, self._copy_distance = path, show_names, copy_distance
        self._file_state = state
        n = index.n_samples_fit_
        self._state = _State(index, np.arange(n, dtype=np.int64))
        self._next = n

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
        return [
            Example(int(state.numbers[at]), state.label(at), self._name(state, at))
            for at in positions
        ]

    def _name(self, state: _State, position: Any) -> str | None:
        if not self._show_names:
            return None
        name = str(state.index.ids_[position].item())
        if is_url(name):
            name = urlsplit(name).path  # what follows may sign it
        # a store may have been made on Windows: both kinds of separator end a folder
        return show_path(ntpath.basename(name))

    def image_of(self, row: int) -> Any:
        """Return a row's id in the index: the path of its image, where it was made from a store.

        Raises
        ------
        RefusalError
            If there is no such row.
        """
        state = self._state
        return state.index.ids_[state.position(row)].item()

    def vector(self, row: int) -> Floats:
        """Return a row's vector, (n_features,).

        Raises
        ------
        RefusalError
            If there is no such row.
        """
        state = self._state
        return state.index.vectors(state.position(row))

    def nearest(
        self, vector: Floats, k: int, label: str | None = None, *, leave_out: int | None = None
    ) -> list[Match]:
        """Return the k nearest rows of a label, or of all, one row left out.

        Raises
        ------
        RefusalError
            If there is no such label.
        """
        state = self._state
        n = k + (leave_out is not None)
        among = None if label is None else state.of_label(label)
        found = state.index.query(vector, n, filter=among)
        left_out = -1 if leave_out is None else leave_out
        kept = np.flatnonzero(state.numbers[found.indices] != left_out)[:k]
        return self._make_matches(state, vector, found.indices[kept], found.distances[kept])

    def _make_matches(
        self, state: _State, vector: Floats, positions: NDArray[np.intp], distances: Floats
    ) -> list[Match]:
        is_copy, copy_of = _find_copies(
            vector, state.index.vectors(positions), self._copy_distance
        )
        rows = state.numbers[positions].tolist()
        found = []
        for i, (row, at) in enumerate(zip(rows, positions, strict=True)):
            first = copy_of[i]
            found.append(
                Match(
                    row=row,
                    distance=float(distances[i]),
                    label=state.label(at),
                    name=self._name(state, at),
                    is_copy=is_copy[i],
                    copy_of=None if first is None else rows[first],
                )
            )
        return found

    def add(self, vector: Floats, path: str, label: str | None) -> int:
        """Add a row, write the index's file, and return the row's number. One caller at a time.

        Raises
        ------
        RefusalError
            If the image is there already.
        StoreWriteError
            If the file cannot be written; nothing has changed then.
        """
        state = self._state
        found = np.flatnonzero(state.index.ids_.astype(str) == path)
        if len(found):
            row = int(state.numbers[found[0]])
            raise RefusalError(409, f"this image is in the index already, as row {row}")
        index = copy.copy(state.index)  # `add` replaces its arrays and changes none
        unknown = {name: [""] for name in index.metadata_}
        labels = None if label is None else [state.stored(label)]
        index.add(vector[None], ids=[path], labels=labels, metadata=unknown)
        self._save(index)
        row, self._next = self._next, self._next + 1
        self._state = _State(index, np.append(state.numbers, row))
        return row

    def _save(self, index: RetrievalIndex) -> None:
        """Write the file, unless it is no longer the one that was read or written here."""
        if file_state(self.path) != self._file_state:
            raise StoreWriteError(
                f"index {self.path!r}: another program has changed the file since it was read, "
                "and what that wrote would be lost; start the server again to serve it as it is"
            )
        index.save(self.path)
        self._file_state = file_state(self.path)

    def remove(self, row: int) -> Any:
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
        self._state = _State(index, np.delete(state.numbers, at))
        return name


def _find_copies(
    query: Floats, found: Floats, distance: float
) -> tuple[list[bool], Sequence[int | None]]:
    """Tell which vectors are copies of the query, and of which earlier one the others are."""
    unit = scale_to_unit(np.concatenate([query[None], found]))
    is_near = 1 - unit @ unit.T <= max(distance, 1e-6)  # the rounding of a product in float32
    is_copy = is_near[0, 1:].tolist()
    first: list[int | None] = []
    for i, copies_query in enumerate(is_copy):
        heads = (
            j for j in range(i) if first[j] is None and not is_copy[j] and is_near[i + 1, j + 1]
        )
        first.append(None if copies_query else next(heads, None))
    return is_copy, first
