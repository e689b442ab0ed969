"""What runs a network: torch, torch.compile, OpenVINO, in which arithmetic, and which one and why.

An engine is given a module of torch and names of layers. It knows neither where networks and
weights come from nor what images they are given.
"""

from __future__ import annotations

from featx.engines.placement import Placement, place, why_not_precision

__all__ = ["Placement", "place", "why_not_precision"]
