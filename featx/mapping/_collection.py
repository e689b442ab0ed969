"""What is drawn: the rows of a store or of an index, as one thing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from featx.errors import ParameterError
from featx.files.kinds import kind_of
from featx.files.remote import is_url, plain_path
from featx.retrieval import InstanceIndex, RetrievalIndex, load_index
from featx.store import FeatureStore, open_store

__all__ = ["Collection", "collect", "open_collection"]

BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Collection:
    """Images with features.

    Parameters
    ----------
    name : str
        The file.
    ids : tuple of str
        Paths, or what the rows of an index are called.
    labels : tuple of str
        "" where an image has none.
    digests : tuple of str
        SHA-256 of the images' content, "" where unknown.
    recipe : str
        Fingerprint of the features' recipe.
    rows : FeatureStore or RetrievalIndex
        The vectors.
    """

    name: str
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    digests: tuple[str, ...]
    recipe: str
    rows: FeatureStore | RetrievalIndex

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def iter_blocks(self) -> Iterator[NDArray[Any]]:
        """Go through the vectors, holding one block."""
        for start in range(0, len(self), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            rows = self.rows
            yield rows[part] if isinstance(rows, FeatureStore) else rows.vectors(part)


@contextlib.contextmanager
def open_collection(
    source: FeatureStore | RetrievalIndex | str | os.PathLike[str], *, table: str | None = None
) -> Iterator[Collection]:
    """Open a store or an index.

    Raises
    ------
    ParameterError
        If it has no images, or a table is chosen of an index.
    FileFormatError
        If it is neither, or is damaged.
    """
    if isinstance(source, (FeatureStore, RetrievalIndex)):
        yield collect(source, getattr(source, "path", "index"))
    elif _is_index(name := os.fspath(source)):
        if table is not None:
            raise ParameterError(f"table: got {table!r} for the index {name!r}, expected none")
        index = load_index(name, mmap=True)
        if isinstance(index, InstanceIndex):
            raise ParameterError(
                f"index {name!r}: is of instances and has no vectors to draw, expected a store or "
                "another kind of index; draw the store that it was made of"
            )
        yield collect(index, name)
    else:
        with open_store(name, table=table) as store:
            yield collect(store, name)


def _is_index(name: str) -> bool:
    place = Path(plain_path(name))
    with contextlib.suppress(OSError, ValueError):  # whoever opens it says why
        return not is_url(name) and place.is_file() and kind_of(place)[0] == "index"
    return False


def collect(rows: FeatureStore | RetrievalIndex, name: str) -> Collection:
    """Return what a store or an index has.

    Raises
    ------
    ParameterError
        If it has no images.
    """
    if isinstance(rows, FeatureStore):
        rows.require_images()
        ids, labels, digests = rows.paths, rows.labels, rows.digests
        recipe = rows.fingerprint or f"{rows.n_features} features"
    else:
        if not rows.n_samples_fit_:
            raise ParameterError(f"index {name!r}: has no images, expected at least one")
        ids, labels, digests = rows.ids_, rows.labels_, rows.digests_
        known = rows.recipe_
        recipe = f"{rows.n_features_in_} features" if known is None else known.fingerprint
    n = len(ids)
    return Collection(
        name,
        tuple(map(str, ids.tolist())),
        ("",) * n if labels is None else tuple(map(str, labels.tolist())),
        ("",) * n if digests is None else tuple(digests.tolist()),
        recipe,
        rows,
    )
