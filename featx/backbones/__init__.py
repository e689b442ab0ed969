"""Networks by name or of your own, with their weights, as a source of feature vectors.

A new source of networks is a class like those in `_torchvision` and `_timm`, and a line in
`catalogue.SOURCES`. Knows nothing of image files, HDF5 or poolings.
"""

from __future__ import annotations

from featx.backbones.backbone import Backbone
from featx.backbones.catalogue import backbone_card, list_backbones
from featx.backbones.load import build_network, load_backbone
from featx.engines.engine import Network

__all__ = [
    "Backbone",
    "Network",
    "backbone_card",
    "build_network",
    "list_backbones",
    "load_backbone",
]
