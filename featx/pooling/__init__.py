"""From a layer's output to one vector for each image.

A new pooling is a subclass of `Pooling` in a file of its own, and a line in `catalogue.POOLINGS`.
"""

from __future__ import annotations

from featx.pooling.base import Pooling
from featx.pooling.catalogue import POOLINGS, get_pooling
from featx.pooling.tokens import TokenPooling

__all__ = ["POOLINGS", "Pooling", "TokenPooling", "get_pooling"]
