"""Networks by name that are loaded already, shared by all encoders of a process."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featx.recipe import Preprocessing

if TYPE_CHECKING:
    from featx.backbones import Backbone
    from featx.engines import Placement

__all__ = ["Named", "load_by_name"]


@dataclass(frozen=True)
class Named:
    """What tells one loaded network by name from another, but for how it is run.

    Parameters
    ----------
    backbone, weights
        As for `load_backbone`.
    stamp : int
        Modification time of a weights file.
    preprocessing : Preprocessing or None
        Where it normalises otherwise than its weights ask for.
    any_size : bool
        Whether it is to take images of other sizes than its weights ask for.
    """

    backbone: str
    weights: str | os.PathLike[str] | None
    stamp: int
    preprocessing: Preprocessing | None
    any_size: bool


@functools.lru_cache(maxsize=2)
def load_by_name(named: Named, placement: Placement) -> Backbone:
    """Load a network, or take one of the two loaded last.

    A grid search clones its estimators by the hundred; each clone asks for the same network.
    """
    from featx.backbones import Backbone, build_network

    network = build_network(
        named.backbone,
        weights=named.weights,
        preprocessing=named.preprocessing,
        any_size=named.any_size,
    )
    return Backbone(network, placement)
