"""The GPU stage: images through a network into a store, and the same as a transformer.

The transformer is loaded on first use: an extraction that nobody asks for one does not wait for
scikit-learn, and a process of a cluster neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featx.extraction.cluster import RayOptions
from featx.extraction.encoder import Encoder
from featx.extraction.into_store import extract
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.options import RunOptions

if TYPE_CHECKING:
    from featx.extraction.transformer import FeatureExtractor

__all__ = [
    "Encoder",
    "FeatureExtractor",
    "LoadedEncoder",
    "RayOptions",
    "RunOptions",
    "extract",
]


def __getattr__(name: str) -> Any:
    """Load the transformer on first use."""
    if name != "FeatureExtractor":
        raise AttributeError(f"module 'featx.extraction' has no attribute {name!r}")
    from featx.extraction.transformer import FeatureExtractor

    globals()[name] = FeatureExtractor
    return FeatureExtractor
