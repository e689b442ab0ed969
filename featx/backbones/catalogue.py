"""Names of networks, from every source.

A further source is a class with the methods of `featx.backbones.cards.Source` and a line in
`SOURCES`.
"""

from __future__ import annotations

import fnmatch
import importlib.util

from featx.backbones.cards import BackboneCard, Source
from featx.backbones.embedded_source import EmbeddedSource
from featx.backbones.timm_source import PREFIX as TIMM_PREFIX
from featx.backbones.timm_source import TimmSource
from featx.backbones.torchvision_source import TorchvisionSource
from featx.errors import BackboneError, nearest

__all__ = ["SOURCES", "backbone_card", "count_timm", "list_backbones", "source_of", "suggest_name"]

WILD = frozenset("*?[")
INSTALL_TIMM = "(timm, which has 1,800 more, is not installed: pip install 'featx[timm]')"
TIMM = TimmSource()
SOURCES: dict[str, Source] = {
    "featx": EmbeddedSource(),
    "torchvision": TorchvisionSource(),
    "timm": TIMM,
}


def list_backbones(pattern: str | None = None) -> list[str]:
    """List the networks that `load_backbone` knows by name; builds none.

    Parameters
    ----------
    pattern : str, optional
        Shell-style, for example ``"resnet*"``, or part of a name; upper and lower case are alike.
        timm's 1,800 names are searched where it begins with ``"timm/"``, or where no other fits
        and timm is installed.

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
    >>> list_backbones("50_2")
    ['wide_resnet50_2']
    """
    names = _offhand_names()
    if pattern is None:
        return names
    if pattern.lower().startswith(TIMM_PREFIX):
        return _list_timm(pattern)
    found = fnmatch.filter(names, _as_glob(pattern))
    return found or (_list_timm(pattern) if _has_timm() else [])


def count_timm(pattern: str) -> int:
    """Count those of timm's networks that a pattern fits; 0 where it is not installed."""
    return len(_list_timm(pattern)) if _has_timm() else 0


def _list_timm(pattern: str) -> list[str]:
    """List those of timm's networks that a pattern fits, anywhere in the name."""
    rest = pattern.lower().removeprefix(TIMM_PREFIX)
    if pattern.lower().startswith(TIMM_PREFIX):
        glob = rest if WILD & set(rest) else f"{rest}*"
    else:
        glob = _as_glob(f"*{rest}" if WILD & set(rest) else rest)
    return fnmatch.filter(TIMM.names(), TIMM_PREFIX + glob)


def _as_glob(pattern: str) -> str:
    return pattern.lower() if WILD & set(pattern) else f"*{pattern.lower()}*"


def _has_timm() -> bool:
    try:
        return importlib.util.find_spec("timm") is not None
    except ValueError:  # masked
        return False


def source_of(name: str) -> Source:
    """Return the source that has a network.

    Raises
    ------
    BackboneError
        If none has it, with the nearest name.
    """
    if name.startswith(TIMM_PREFIX):
        bare = name.removeprefix(TIMM_PREFIX)
        if not TIMM.has(name) and bare in _offhand_names():
            raise BackboneError(
                f"backbone: got {name!r}, which timm does not have, expected "
                f"{bare!r}, which comes without timm"
            )
        return TIMM
    for key, source in SOURCES.items():
        if key != "timm" and name in source.names():
            return source
    raise BackboneError(
        f"backbone: got {name!r}, expected a name from `featx backbones` "
        f"(list_backbones in Python) or 'timm/NAME'.{suggest_name(name)}"
    )


def suggest_name(name: str) -> str:
    """Return what was probably meant by a name that is none, with a leading space.

    Examples
    --------
    >>> suggest_name("ResNet18")
    " Did you mean 'resnet18'?"
    """
    bare = name.lower().removeprefix(TIMM_PREFIX)
    offhand = _offhand_names()
    if bare in offhand:
        return f" Did you mean {bare!r}?"
    if not _has_timm():
        return nearest(bare, offhand) or f" {INSTALL_TIMM}"
    full, architecture = TIMM_PREFIX + bare, bare.partition(".")[0]
    same = _list_timm(full) or _list_timm(f"{TIMM_PREFIX}{architecture}.*")
    if same:
        return nearest(full, same) or f" Did you mean {same[0]!r}?"
    return nearest(bare, offhand) or nearest(full, TIMM.names())


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
