"""What is found by words, in the order of the network's own classifier.

The vector of a word names candidates in any index; the classifier, which weighs the word's classes
against all others, puts them in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featx.retrieval._vectors import Floats
from featx.retrieval.ranking import Ranking, RankingInput, reorder

if TYPE_CHECKING:
    from featx.extraction.words import WordQuery

__all__ = ["WordRanking", "rank_by_words"]

# Their rows times a thousand classes take some 50 ms on a core.
N_CANDIDATES = 1000


@dataclass(frozen=True)
class WordRanking:
    """Put candidates in the order of `featx.extraction.words.WordQuery.distances`.

    Parameters
    ----------
    asked : WordQuery
        In words of a classifier.
    images : ndarray of shape (n_queries, n_features), or None
        Vectors of what was asked beside the words.
    """

    asked: WordQuery
    images: Floats | None = None

    def rank(self, given: RankingInput) -> Ranking:
        """Return `given.k` rows; distances are 1 - p, and above 1 behind the candidates."""
        found = given.nearest(max(given.k, N_CANDIDATES))
        candidates = found.rows[:, :N_CANDIDATES]
        distances = np.empty(candidates.shape, np.float32)
        for i, rows in enumerate(candidates):
            image = None if self.images is None else self.images[i]
            distances[i] = self.asked.distances(given.vectors.rows(rows), image)
        return reorder(found, distances).first(given.k)


def rank_by_words(asked: WordQuery, images: Floats | None = None) -> tuple[WordRanking, ...]:
    """Return what orders the answer; nothing where the network reads text: vectors do it all."""
    return (WordRanking(asked, images),) if asked.words.has_classes else ()
