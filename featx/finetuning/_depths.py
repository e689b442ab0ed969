"""How deep to train: the layer by default, and the ladder of depths that a sweep tries."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

__all__ = ["find_units", "list_depths", "rank_layers"]

DEFAULT_SHARE = 1 / 3
# A sweep stays below this share of the weight layers: it never trains everything.
MOST_SHARE = 2 / 3
# So many children in a row are stages, tried one by one; more are blocks: 1, 2, 4, 8.
MAX_STAGES = 9
LEAST_UNITS = 4
STAGES, BLOCKS = (1, 2, 3), (1, 2, 4, 8)


def _list_weights(module: nn.Module, order: dict[str, int]) -> list[str]:
    """Return the called modules with a matrix or kernel of their own."""
    return [
        n
        for n in order
        if any(p.ndim > 1 for p in module.get_submodule(n).parameters(recurse=False))
    ]


def rank_layers(module: nn.Module, order: dict[str, int], names: Iterable[str]) -> list[str]:
    """Return the layers from which to train by default, the first choice first.

    Parameters
    ----------
    module : nn.Module
    order : dict of str to int
        From `find_call_order`.
    names : iterable of str
        Layers to choose from.

    Returns
    -------
    list of str
        The earliest one from which on lies at most a third of the weight layers, then later ones;
        where none has so few, those that have more, the last first. Of names for one place the
        outermost; never the middle of a block that itself has at most a third, and never one that
        leaves nothing frozen. Weight layers are modules with a matrix or kernel of their own.
    """
    weights = _list_weights(module, order)
    most = DEFAULT_SHARE * len(weights)
    known = sorted((n for n in names if n), key=order.__getitem__)
    n_after = {n: sum(order[w] >= order[n] for w in weights) for n in known}
    n_inside = {n: sum(f"{w}.".startswith(f"{n}.") for w in weights) for n in known}

    def splits_a_block(name: str) -> bool:
        parts = name.split(".")
        holders = (".".join(parts[:i]) for i in range(1, len(parts)))
        return any(
            h in n_inside and order[h] < order[name] and n_inside[h] <= most for h in holders
        )

    fits = [
        n for n in known if n_inside[n] and n_after[n] < len(weights) and not splits_a_block(n)
    ]
    small = [n for n in fits if n_after[n] <= most]
    return [*small, *(n for n in reversed(fits) if n not in small)]


def find_units(module: nn.Module, order: dict[str, int]) -> list[str]:
    """Return the network's stages or blocks, in the order in which they are called.

    The children with weights; while they are fewer than four, or one of them is a mere list, the
    largest gives way to its own children.

    Examples
    --------
    >>> stages = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(3)))
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), stages)
    >>> find_units(net, {n: i for i, (n, _) in enumerate(net.named_modules())})
    ['0', '1.0', '1.1', '1.2']
    """
    weights = _list_weights(module, order)

    def count(name: str) -> int:
        return sum(f"{w}.".startswith(f"{name}.") for w in weights)

    def expand(name: str) -> list[str]:
        held = module.get_submodule(name) if name else module
        names = [f"{name}.{n}" if name else n for n, _ in held.named_children()]
        return [n for n in names if count(n)]

    units = expand("")
    while True:
        lists = [n for n in units if n not in order]
        # A block of two or three layers is no list of stages.
        wide = [n for n in units if len(expand(n)) > 1] if len(units) < LEAST_UNITS else []
        if not lists and not wide:
            return sorted(units, key=order.__getitem__)
        largest = lists[0] if lists else max(wide, key=count)
        units = [n for n in units if n != largest] + expand(largest)


def list_depths(
    module: nn.Module, order: dict[str, int], can_cut: Callable[[str], bool]
) -> list[str]:
    """Return the layers that a sweep trains from, the last one first.

    Parameters
    ----------
    module : nn.Module
    order : dict of str to int
        From `find_call_order`.
    can_cut : callable
        Whether a layer is a place to cut.

    Returns
    -------
    list of str
        The last stage, the last two, three; of blocks the last, the last 2, 4, 8. At most two
        thirds of the weight layers are trained.
    """
    weights = _list_weights(module, order)
    units = [n for n in find_units(module, order) if can_cut(n)]
    steps = STAGES if len(units) <= MAX_STAGES else BLOCKS
    names = [units[-n] for n in steps if n <= len(units)]
    most = min(MOST_SHARE * len(weights), len(weights) - 1)
    return [n for n in names if sum(order[w] >= order[n] for w in weights) <= most]
