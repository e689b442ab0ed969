"""What runs a network: torch, torch.compile, OpenVINO, in which arithmetic, and which one and why.

An engine is given a module of torch and names of layers. It knows neither where networks and
weights come from nor what images they are given. Names are loaded on first use: a graph that is
kept (`kept`) runs without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featx.engines.placement import Placement, place, why_not_precision

__all__ = ["Placement", "place", "why_not_precision"]


def __getattr__(name: str) -> Any:
    """Load a name on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'featx.engines' has no attribute {name!r}")
    return getattr(importlib.import_module("featx.engines.placement"), name)
