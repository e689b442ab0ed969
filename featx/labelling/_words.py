"""What words say of the images of a store: those that fit, and which of some names fits best."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featx.backbones.words import embedded_words
from featx.errors import ParameterError
from featx.extraction.words import ask_words
from featx.retrieval import RetrievalIndex
from featx.store.reader import FeatureStore

__all__ = ["WordFinder"]

Rows = NDArray[np.intp]


class WordFinder:
    """Words for the vectors of a store, as the network gave them.

    Parameters
    ----------
    store : FeatureStore
    names : sequence of str
        Classes, whose names may be words.
    """

    def __init__(self, store: FeatureStore, names: Sequence[str]) -> None:
        self._store, self._names = store, list(names)

    @cached_property
    def _index(self) -> RetrievalIndex:
        return RetrievalIndex(kind="exact", storage="store").fit(self._store)

    def find(self, text: str, n: int, taken: Rows) -> Rows:
        """Return rows that words describe, best first, without those that are taken."""
        is_free = np.ones(len(self._store), bool)
        is_free[taken] = False
        if not is_free.any():
            return np.empty(0, np.intp)
        return self._index.query(text=text, k=n, filter=is_free).indices

    @cached_property
    def knows_names(self) -> bool:
        """Whether all names are words, and no network need be loaded to tell."""
        recipe = self._store.recipe
        if recipe is None or len(self._names) < 2 or embedded_words(recipe) is None:
            return False
        try:
            for name in self._names:
                ask_words([name], recipe, {})
        except ParameterError:
            return False
        return True

    def guess(self, rows: Rows) -> list[str] | None:
        """Return the name that fits each row best; None where not all names are words."""
        if not self.knows_names:
            return None
        X = self._store[np.asarray(rows)]
        asked = [ask_words([name], self._store.recipe, {}) for name in self._names]
        distances = np.stack([one.distances(X) for one in asked], axis=1)
        return [self._names[k] for k in distances.argmin(axis=1)]
