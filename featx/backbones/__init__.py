"""Networks by name or of your own, with their weights, as a source of feature vectors.

A new source of networks is a class like those in `_torchvision` and `_timm`, and a line in
`catalogue.SOURCES`; another package adds one by an entry point (`plugins`). Knows nothing of image
files, HDF5 or poolings. Names are loaded on first use: the words of the network inside the package
need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx._lazy import load_later

if TYPE_CHECKING:
    from featx.backbones.backbone import Backbone
    from featx.backbones.catalogue import backbone_card, list_backbones
    from featx.backbones.load import build_network, load_backbone
    from featx.backbones.sources import BackboneCard, BuiltSource, Source, WeightsEntry
    from featx.engines.engine import Network

__all__ = [
    "Backbone",
    "BackboneCard",
    "BuiltSource",
    "Network",
    "Source",
    "WeightsEntry",
    "backbone_card",
    "build_network",
    "list_backbones",
    "load_backbone",
]

_HOMES = {
    "Backbone": "featx.backbones.backbone",
    "BackboneCard": "featx.backbones.sources",
    "BuiltSource": "featx.backbones.sources",
    "Network": "featx.engines.engine",
    "Source": "featx.backbones.sources",
    "WeightsEntry": "featx.backbones.sources",
    "backbone_card": "featx.backbones.catalogue",
    "build_network": "featx.backbones.load",
    "list_backbones": "featx.backbones.catalogue",
    "load_backbone": "featx.backbones.load",
}

__getattr__ = load_later(__name__, _HOMES)
