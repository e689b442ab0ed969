"""Networks by name or of your own, with their weights, as a source of feature vectors.

A new source of networks is a class like those in `torchvision_source` and `timm_source`, and a
line in `catalogue.SOURCES`. Knows nothing of image files, HDF5 or poolings.
"""

from __future__ import annotations

from featx.backbones._choice import EngineChoice
from featx.backbones._layers import LayerOutput
from featx.backbones.backbone import Backbone, Read
from featx.backbones.cards import BackboneCard, WeightsEntry
from featx.backbones.catalogue import backbone_card, list_backbones
from featx.backbones.load import Network, build_network, load_backbone

__all__ = [
    "Backbone",
    "BackboneCard",
    "EngineChoice",
    "LayerOutput",
    "Network",
    "Read",
    "WeightsEntry",
    "backbone_card",
    "build_network",
    "list_backbones",
    "load_backbone",
]
