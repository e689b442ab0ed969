"""The index as clients see it: rows by number or content, labels, columns, neighbours.

A row keeps its number as long as the server runs, whatever is added or removed, so that a click
always opens the image that was shown; the rows of another file have numbers of their own. Readers
hold one state, which is never changed, only replaced: they need no lock.
"""

from __future__ import annotations

import copy
import functools
import ntpath
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from featx._arrays import scale_to_unit
from featx._values import float_array, is_missing
from featx.errors import FeatxError, ParameterError, StoreWriteError, choose, hide_secrets, nearest
from featx.extraction.words import WordQuery, ask_words
from featx.files.paths import read_shown, show_path
from featx.files.remote import is_url
from featx.retrieval import InstanceIndex, Matches, RetrievalIndex
from featx.serve._options import ServeOptions
from featx.serve._refusal import RefusalError
from featx.serve._schema import Column, Example, LabelCount, Match

__all__ = ["Database", "Shown", "file_state"]

MAX_TO_SUGGEST = 1000  # else a client could keep the search for near labels busy
Floats = NDArray[np.float32]
FileState: TypeAlias = tuple[int, int, int, int]
Index: TypeAlias = RetrievalIndex | InstanceIndex
MAX_CHOICES = 50  # different values of a column that a page offers to choose from
LINKS = ("http://", "https://")


@dataclass(frozen=True)
class Shown:
    """What clients may see of the index.

    Parameters
    ----------
    names, paths : bool, default False
        The images' file names, and their whole paths (which implies names).
    columns : tuple of str, optional
        Further columns; default all.
    link_column : str, optional
        The column with each image's own page; default the first that holds such.
    """

    names: bool = False
    paths: bool = False
    columns: tuple[str, ...] | None = None
    link_column: str | None = None

    @classmethod
    def of(cls, options: ServeOptions) -> Shown:
        """Take what options say."""
        names = options.show_names or options.show_paths
        return cls(names, options.show_paths, options.columns, options.link_column)


def file_state(path: str) -> FileState | None:
    """Return what identifies a file and changes when it is written to."""
    try:
        status = os.stat(path)  # noqa: PTH116 - any path that was given
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _State:
    """One index with the numbers of its rows; never changed."""

    def __init__(self, index: Index, numbers: NDArray[np.int64], shown: Shown) -> None:
        self.index, self.numbers = index, numbers
        known = index.metadata_
        visible = list(known if shown.columns is None else shown.columns)
        self.metadata = {name: known[choose("columns", name, list(known))] for name in visible}
        self.columns = [_describe(name, values) for name, values in self.metadata.items()]
        self.collection = secrets.token_hex(8)
        labels = index.labels_
        self.names: list[str] = []
        self._stored: dict[str, str] = {}
        self.codes: NDArray[np.intp] | None = None
        if labels is not None:
            found, codes = np.unique(labels.astype(str), return_inverse=True)
            readable = [show_path(name) for name in found.tolist()]
            names, again = np.unique(readable, return_inverse=True)
            self.names, self.codes = names.tolist(), again[codes]
            self._stored = dict(zip(readable, found.tolist(), strict=True))

    @functools.cached_property
    def by_digest(self) -> dict[str, int]:
        """Where the first image of each content is."""
        digests = [] if self.index.digests_ is None else self.index.digests_.tolist()
        return {name: at for at, name in reversed(list(enumerate(digests))) if name}

    def digest(self, position: Any) -> str | None:
        """Return the SHA-256 of a row's image, where it is known."""
        digests = self.index.digests_
        return None if digests is None else (str(digests[position]) or None)

    def position(self, row: int | str) -> int:
        """Return where in the index a row is, or the first image of a digest."""
        if isinstance(row, str):
            if row not in self.by_digest:
                raise RefusalError(404, f"image {row}: is not in the index")
            return self.by_digest[row]
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
    index : RetrievalIndex or InstanceIndex
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
        shown: Shown = Shown(),
        copy_distance: float = 0.0,
        first: int = 0,
        has_words: bool | None = None,
    ) -> None:
        self.path, self._shown, self._copy_distance = path, shown, copy_distance
        self.file_state = state
        n = index.n_samples_fit_
        self._state = _State(index, np.arange(first, first + n, dtype=np.int64), shown)
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
        return [Example(**self._describe(state, at)) for at in positions]

    def describe(self, row: int | str) -> Example:
        """Return what clients see of a row.

        Raises
        ------
        RefusalError
            If there is no such row.
        """
        state = self._state
        return Example(**self._describe(state, state.position(row)))

    def _describe(self, state: _State, at: Any) -> dict[str, Any]:
        path = str(state.index.ids_[at].item())
        if is_url(path):
            parts = urlsplit(hide_secrets(path))
            path = parts._replace(query="", fragment="").geturl()  # what may sign it
        # a store may have been made on Windows: both kinds of separator end a folder
        name = ntpath.basename(urlsplit(path).path if is_url(path) else path)
        return {
            "row": int(state.numbers[at]),
            "id": state.digest(at),
            "label": state.label(at),
            "name": show_path(name) if self._shown.names else None,
            "path": show_path(path) if self._shown.paths else None,
            "metadata": {k: show_path(str(v[at])) for k, v in state.metadata.items()},
        }

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

    def vector(self, row: int | str) -> Any:
        """Return a row's vector, (n_features,), or the local features of its image.

        Raises
        ------
        RefusalError
            If there is no such row, or its image cannot be read again.
        """
        state = self._state
        position = state.position(row)
        if isinstance(state.index, RetrievalIndex):
            return state.index.vectors(position)
        source = state.index.ids_[position].item()
        if not isinstance(source, str):
            raise RefusalError(404, f"row {row}: the index knows no image of it")
        found = state.index.describe([source])
        if found.failures:
            raise RefusalError(404, f"row {row}: its image cannot be read")
        return found.features[0]

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
        vector: Any,
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
            If there is no such label or column, a filter cannot be read, or a word is not known.
        """
        state = self._state
        if text is not None:
            self.ask(text)
        n = k + (leave_out is not None)
        among = self._select(state, label, filters)
        if among is not None and not among.any():
            return []
        words = {} if text is None else {"text": text}
        try:
            found = state.index.query(vector, n, filter=among, **words)
        except ParameterError as err:
            raise RefusalError(422, str(err)) from err
        left_out = -1 if leave_out is None else leave_out
        kept = np.flatnonzero(state.numbers[found.indices] != left_out)[:k]
        return self._make_matches(state, vector, found.select(kept))

    def _select(
        self, state: _State, label: str | None, filters: tuple[str, ...]
    ) -> NDArray[np.bool_] | None:
        """Say which rows may be found; None for all."""
        among = None if label is None else state.of_label(label)
        if filters:
            names = [*state.metadata, *(["id"] if self._shown.paths else [])]
            if state.codes is not None:
                names.append("label")
            try:
                fitting = state.index.select_rows(filters, names)
            except ParameterError as err:
                raise RefusalError(422, str(err)) from err
            among = fitting if among is None else among & fitting
        return among

    def _make_matches(self, state: _State, vector: Any, found: Matches) -> list[Match]:
        copies = self._find_copies(state, vector, found)
        rows = state.numbers[found.indices].tolist()
        shown = found.to_dicts()[0]["matches"]
        return [
            Match(
                **self._describe(state, at),
                distance=float(found.distances[i]),
                is_copy=is_copy,
                copy_of=None if first is None else rows[first],
                inliers=shown[i].get("inliers"),
                region=shown[i].get("region"),
            )
            for i, (at, is_copy, first) in enumerate(zip(found.indices, *copies, strict=True))
        ]

    def _find_copies(
        self, state: _State, vector: Any, found: Matches
    ) -> tuple[list[bool], Sequence[int | None]]:
        """Tell which matches are copies of the query, or of an earlier one, by their vectors."""
        if isinstance(state.index, InstanceIndex):
            return [False] * len(found.ids), [None] * len(found.ids)
        if vector is None:  # words have no copies
            vector = np.zeros(state.index.n_features_in_, np.float32)
        return _find_copies(vector, state.index.vectors(found.indices), self._copy_distance)

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
        what = [path] if isinstance(index, InstanceIndex) else vector[None]
        index.add(what, ids=[path], labels=labels, metadata=values, digests=[digest])
        self._save(index)
        row, self._next = self._next, self._next + 1
        self._state = _State(index, np.append(state.numbers, row), self._shown)
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
        self._state = _State(index, state.numbers, self._shown)

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
        self._state = _State(index, np.delete(state.numbers, at), self._shown)
        return name


def _has_words(index: Index) -> bool:
    if isinstance(index, InstanceIndex):
        return False
    try:
        ask_words("dog", index.recipe_, index.made_with_, weights=index.weights)
    except ParameterError:  # it has others
        return True
    except FeatxError:
        return False
    return True


def _describe(name: str, values: NDArray[Any]) -> Column:
    """Say what kind of values a column has."""
    texts = [show_path(str(v)) for v in np.unique(values).tolist() if not is_missing(v)]
    try:
        numbers = float_array(texts)
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) and np.isfinite(numbers).all():
        return Column(name, "number", float(numbers.min()), float(numbers.max()))
    if texts and all(text.startswith(LINKS) for text in texts):
        return Column(name, "link")
    if len(texts) <= MAX_CHOICES:
        return Column(name, "choice", values=texts)
    return Column(name, "text")


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
