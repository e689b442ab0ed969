"""The repeated blocks of a network: where it can be cut, and what its last layers are."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

__all__ = ["find_blocks"]

# A row that holds at least this share of a part's weights is what the part is made of: the blocks
# of a stage hold nearly all of them, heads of attention in a row much less.
LEAST_SHARE = 0.6


def find_blocks(module: nn.Module) -> tuple[str, ...]:
    """Return the dotted names of a network's blocks, in the order in which they are registered.

    Parameters
    ----------
    module : nn.Module
        A network with or without stages: of a Vision Transformer the blocks of attention, of a
        ResNet the residual blocks, of a Swin transformer the blocks of all stages.

    Returns
    -------
    tuple of str
        Parts of one class that stand in a row and hold most of the network's weights; each is
        taken apart further as long as that holds. Empty where the network has no such rows.

    Examples
    --------
    >>> from featx.backbones import build_network
    >>> find_blocks(build_network("resnet18", weights=None).module)[:3]
    ('layer1.0', 'layer1.1', 'layer2.0')
    """
    return tuple(_take_apart(module, ""))


def _take_apart(module: nn.Module, name: str) -> list[str]:
    rows = list(_rows(module, name))
    n_in_rows = sum(_count(row) for _, row in rows)
    if not rows or n_in_rows < LEAST_SHARE * _count(module):
        return [name] if name else []
    parts = [
        (f"{prefix}.{key}", part) for prefix, row in rows for key, part in row.named_children()
    ]
    return [found for part_name, part in parts for found in _take_apart(part, part_name)]


def _rows(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the outermost rows of two or more parts of one class that are no single layers."""
    for key, child in module.named_children():
        path = f"{name}.{key}" if name else key
        kinds = {type(part) for part in child.children()}
        is_row = isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1
        if is_row and len(kinds) == 1 and any(True for _ in next(child.children()).children()):
            yield path, child
        else:
            yield from _rows(child, path)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
