"""Which layers show how a network's features change with depth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from featx.errors import require_count

__all__ = ["spread_layers"]

PENULTIMATE = "penultimate"
MOST_OF_ALL = 1 / 6  # of a network's layers in one block; a stage that has more is taken apart


def spread_layers(shapes: Mapping[str, tuple[int, ...]], n: int) -> tuple[str, ...]:
    """Return up to n layers: ends of blocks, evenly over the depth, and the penultimate one.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        As `Backbone.layers`, in order of execution.
    n : int
        At least 2.

    Returns
    -------
    tuple of str
        In order of execution. A block is a module with two or more layers in it, and not in
        another block; a network without blocks, such as VGG, gives any of its layers.

    Examples
    --------
    >>> maps = {f"b.{i}.{part}".rstrip("."): (1, 8, 4, 4)
    ...         for i in range(8) for part in ("conv", "relu", "")}
    >>> spread_layers({**maps, "b": (1, 8, 4, 4), "penultimate": (1, 8), "fc": (1, 5)}, 5)
    ('b.0', 'b.2', 'b.5', 'b.7', 'penultimate')
    """
    require_count("over_layers", n, 2)
    order = list(shapes)
    before = order[: order.index(PENULTIMATE)] if PENULTIMATE in shapes else order
    # One vector is what a pooling gives, not what it takes.
    maps = [name for name in before if len(shapes[name]) > 2 and max(shapes[name][2:]) > 1]
    n_inside = {name: sum(other.startswith(f"{name}.") for other in maps) for name in maps}
    whole = [name for name in maps if 2 <= n_inside[name] <= MOST_OF_ALL * len(maps)]
    blocks = [name for name in whole if not any(name.startswith(f"{b}.") for b in whole)] or maps
    n_blocks = min(n - (PENULTIMATE in shapes), len(blocks))
    places = np.linspace(0, len(blocks) - 1, n_blocks).round().astype(int)
    last = (PENULTIMATE,) if PENULTIMATE in shapes else ()
    return (*(blocks[i] for i in places.tolist()), *last)
