"""What looks like this: nearest neighbours of feature vectors, and of images through them."""

from featx.retrieval._index import RetrievalIndex
from featx.retrieval._matches import Matches

__all__ = ["Matches", "RetrievalIndex"]
