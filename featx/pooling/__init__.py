"""From a layer's output to one vector for each image.

One file for each family; `get_pooling` makes one from its spec. A new pooling is a subclass of
`Pooling` and a line in `POOLINGS`.
"""

from __future__ import annotations

from featx.pooling.base import Pooling
from featx.pooling.crow import CroWPooling
from featx.pooling.gem import GeMPooling
from featx.pooling.reshape import ClassTokenPooling, FlattenPooling, NoPooling
from featx.pooling.rmac import RMACPooling, rmac_regions
from featx.pooling.simple import AveragePooling, MaxPooling
from featx.pooling.specs import POOLINGS, get_pooling
from featx.pooling.spoc import SPoCPooling

__all__ = [
    "POOLINGS",
    "AveragePooling",
    "ClassTokenPooling",
    "CroWPooling",
    "FlattenPooling",
    "GeMPooling",
    "MaxPooling",
    "NoPooling",
    "Pooling",
    "RMACPooling",
    "SPoCPooling",
    "get_pooling",
    "rmac_regions",
]
