"""Names of networks, from every source.

A further source is a class with the methods of `featx.backbones.cards.Source` and a line in
`SOURCES`.
"""

from __future__ import annotations

import fnmatch

from featx.backbones.cards import BackboneCard, Source
from featx.backbones.embedded_source import EmbeddedSource
from featx.backbones.timm_source import PREFIX as TIMM_PREFIX
from featx.backbones.timm_source import TimmSource
from featx.backbones.torchvision_source import TorchvisionSource
from featx.errors import BackboneError, nearest

__all__ = ["SOURCES", "backbone_card", "list_backbones", "source_of"]

SOURCES: dict[str, Source] = {
    "featx": EmbeddedSource(),
    "torchvision": TorchvisionSource(),
    "timm": TimmSource(),
}


def list_backbones(pattern: str | None = None) -> list[str]:
    """List the networks that `load_backbone` knows by name; builds none.

    Parameters
    ----------
    pattern : str, optional
        Shell-style, for example ``"resnet*"``. timm's 1,800 names are listed only where it begins
        with ``"timm/"``.

    Returns
    -------
    list of str
        featx's own first, then torchvision's, then timm's; each sorted.

    Raises
    ------
    MissingDependencyError
        If the pattern begins with "timm/" and timm is not installed.

    Examples
    --------
    >>> list_backbones("resnet1*")
    ['resnet101', 'resnet152', 'resnet18']
    """
    if pattern is not None and pattern.startswith(TIMM_PREFIX):
        names = SOURCES["timm"].names()
    else:
        names = _offhand_names()
    return [n for n in names if pattern is None or fnmatch.fnmatchcase(n, pattern)]


def source_of(name: str) -> Source:
    """Return the source that has a network.

    Raises
    ------
    BackboneError
        If none has it, with the nearest name.
    """
    if name.startswith(TIMM_PREFIX):
        return SOURCES["timm"]
    for key, source in SOURCES.items():
        if key != "timm" and name in source.names():
            return source
    raise BackboneError(
        f"backbone: got {name!r}, expected a name from `featx backbones` "
        f"(list_backbones in Python) or 'timm/NAME'.{nearest(name, _offhand_names())}"
    )


def backbone_card(name: str) -> BackboneCard:
    """Return what is known of a network without building it.

    Parameters
    ----------
    name : str
        As `list_backbones` has it.

    Raises
    ------
    BackboneError
        If there is no such network, with the nearest name.

    Examples
    --------
    >>> card = backbone_card("efficientnet_b0")
    >>> card.source, card.default.name, card.default.preprocessing.interpolation
    ('torchvision', 'IMAGENET1K_V1', 'bicubic')
    """
    return source_of(name).card(name)


def _offhand_names() -> list[str]:
    return [n for key, source in SOURCES.items() if key != "timm" for n in source.names()]
