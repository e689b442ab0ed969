"""What looks like this: nearest neighbours of feature vectors, and of images through them.

Better rankings are small objects that `RetrievalIndex.query` takes as ``rerank``, one or several.
A new one is a module with a class that has a method `rank` (see `featx.retrieval.ranking`), and
a line in `rerankings.RERANKINGS`.
"""

from featx.retrieval._diffusion import DiffusionReranking
from featx.retrieval._expansion import (
    AlphaQueryExpansion,
    AverageQueryExpansion,
    augment_database,
)
from featx.retrieval._homography import clip_region, find_in_query
from featx.retrieval._index import RetrievalIndex
from featx.retrieval._instances import InstanceIndex
from featx.retrieval._k_reciprocal import KReciprocalReranking
from featx.retrieval._load import load_index
from featx.retrieval._matches import Matches, fuse_matches
from featx.retrieval._patches import SpatialSearch
from featx.retrieval._verification import SpatialVerification

__all__ = [
    "AlphaQueryExpansion",
    "AverageQueryExpansion",
    "DiffusionReranking",
    "InstanceIndex",
    "KReciprocalReranking",
    "Matches",
    "RetrievalIndex",
    "SpatialSearch",
    "SpatialVerification",
    "augment_database",
    "clip_region",
    "find_in_query",
    "fuse_matches",
    "load_index",
]
