"""One index as clients see it, at one time: the numbers of its rows, what is shown, filters."""

from __future__ import annotations

import functools
import ntpath
import secrets
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from featx._values import float_array, is_missing
from featx.errors import ParameterError, choose, hide_secrets, nearest
from featx.files.paths import show_path
from featx.files.remote import is_url
from featx.retrieval import InstanceIndex, RetrievalIndex
from featx.serve._options import ServeOptions
from featx.serve._refusal import RefusalError
from featx.serve._schema import Column

__all__ = ["Index", "Shown", "State"]

MAX_TO_SUGGEST = 1000  # else a client could keep the search for near labels busy
MAX_CHOICES = 50  # different values of a column that a page offers to choose from
LINKS = ("http://", "https://")
Index: TypeAlias = RetrievalIndex | InstanceIndex


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


class State:
    """One index with the numbers of its rows; never changed."""

    def __init__(self, index: Index, numbers: NDArray[np.int64], shown: Shown) -> None:
        self.index, self.numbers, self.shown = index, numbers, shown
        known = index.metadata_
        visible = list(known if shown.columns is None else shown.columns)
        self.metadata = {name: known[choose("columns", name, list(known))] for name in visible}
        self.columns = [describe_column(name, values) for name, values in self.metadata.items()]
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

    def describe(self, at: Any) -> dict[str, Any]:
        """Return what clients see of a row, by field of `Example`."""
        path = str(self.index.ids_[at].item())
        if is_url(path):
            parts = urlsplit(hide_secrets(path))
            path = parts._replace(query="", fragment="").geturl()  # what may sign it
        # a store may have been made on Windows: both kinds of separator end a folder
        name = ntpath.basename(urlsplit(path).path if is_url(path) else path)
        return {
            "row": int(self.numbers[at]),
            "id": self.digest(at),
            "label": self.label(at),
            "name": show_path(name) if self.shown.names else None,
            "path": show_path(path) if self.shown.paths else None,
            "metadata": {k: show_path(str(v[at])) for k, v in self.metadata.items()},
        }

    def select(self, label: str | None, filters: tuple[str, ...]) -> NDArray[np.bool_] | None:
        """Say which rows may be found; None for all."""
        among = None if label is None else self.of_label(label)
        if filters:
            names = [*self.metadata, *(["id"] if self.shown.paths else [])]
            if self.codes is not None:
                names.append("label")
            try:
                fitting = self.index.select_rows(filters, names)
            except ParameterError as err:
                raise RefusalError(422, str(err)) from err
            among = fitting if among is None else among & fitting
        return among


def describe_column(name: str, values: NDArray[Any]) -> Column:
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
