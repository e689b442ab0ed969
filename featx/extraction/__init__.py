"""The GPU stage: images through a network into a store, and the same as a transformer.

Names are loaded on first use: an extraction does not wait for scikit-learn, and a query of one
image does not wait for HDF5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx._lazy import load_later

if TYPE_CHECKING:
    from featx.extraction.cluster import RayOptions
    from featx.extraction.encoder import Encoder
    from featx.extraction.into_store import extract
    from featx.extraction.loaded import LoadedEncoder
    from featx.extraction.options import RunOptions
    from featx.extraction.transformer import FeatureExtractor

__all__ = [
    "Encoder",
    "FeatureExtractor",
    "LoadedEncoder",
    "RayOptions",
    "RunOptions",
    "extract",
]

_HOMES = {
    "Encoder": ".encoder",
    "FeatureExtractor": ".transformer",
    "LoadedEncoder": ".loaded",
    "RayOptions": ".cluster",
    "RunOptions": ".options",
    "extract": ".into_store",
}

__getattr__ = load_later(__name__, _HOMES)
