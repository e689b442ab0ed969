"""CNN features off the shelf: images once through a pretrained network, then scikit-learn.

The names below are loaded on first use, so that ``import featx`` brings in neither torch nor
scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx._lazy import load_later
from featx._version import __version__ as __version__

_HOMES = {
    "Encoder": "featx.extraction",
    "FeatureExtractor": "featx.extraction",
    "audit": "featx.auditing",
    "extract": "featx.extraction",
    "FeatureStore": "featx.store",
    "open_store": "featx.store",
    "list_backbones": "featx.backbones",
    "load_backbone": "featx.backbones",
    "suggest": "featx.labelling",
    "LabelSession": "featx.labelling",
    "ImageManifest": "featx.images",
    "PCAWhitening": "featx.estimators",
    "PowerNormalizer": "featx.estimators",
    "LinearProbeClassifier": "featx.estimators",
    "AttributeClassifier": "featx.estimators",
    "load_model": "featx.estimators",
    "save_model": "featx.estimators",
    "RetrievalIndex": "featx.retrieval",
    "Matches": "featx.retrieval",
    "mean_average_precision_score": "featx.evaluation",
    "Report": "featx.report",
    "FeatxError": "featx.errors",
}

__all__ = [
    "AttributeClassifier",
    "Encoder",
    "FeatureExtractor",
    "FeatureStore",
    "FeatxError",
    "ImageManifest",
    "LabelSession",
    "LinearProbeClassifier",
    "Matches",
    "PCAWhitening",
    "PowerNormalizer",
    "Report",
    "RetrievalIndex",
    "audit",
    "extract",
    "list_backbones",
    "load_backbone",
    "load_model",
    "mean_average_precision_score",
    "open_store",
    "save_model",
    "suggest",
]

if TYPE_CHECKING:
    from featx.auditing import audit
    from featx.backbones import list_backbones, load_backbone
    from featx.errors import FeatxError
    from featx.estimators import (
        AttributeClassifier,
        LinearProbeClassifier,
        PCAWhitening,
        PowerNormalizer,
        load_model,
        save_model,
    )
    from featx.evaluation import mean_average_precision_score
    from featx.extraction import Encoder, FeatureExtractor, extract
    from featx.images import ImageManifest
    from featx.labelling import LabelSession, suggest
    from featx.report import Report
    from featx.retrieval import Matches, RetrievalIndex
    from featx.store import FeatureStore, open_store


__getattr__ = load_later(__name__, _HOMES)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*__all__, "__version__"])
