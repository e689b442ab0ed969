"""Networks by name or of your own, with their weights, as a source of feature vectors.

A new source of networks is a class like those in `torchvision_source` and `timm_source`, and a
line in `catalogue.SOURCES`. Knows nothing of image files, HDF5 or poolings.
"""

from __future__ import annotations

from featx.backbones.backbone import Backbone
from featx.backbones.cards import BackboneCard, WeightsEntry
from featx.backbones.catalogue import (
    backbone_card,
    count_timm,
    list_backbones,
    suggest_name,
)
from featx.backbones.load import build_network, load_backbone
from featx.backbones.published import choose_weights
from featx.engines.engine import Network

__all__ = [
    "Backbone",
    "BackboneCard",
    "Network",
    "WeightsEntry",
    "backbone_card",
    "build_network",
    "choose_weights",
    "count_timm",
    "list_backbones",
    "load_backbone",
    "suggest_name",
]
