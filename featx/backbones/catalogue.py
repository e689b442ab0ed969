"""Names of networks, from every source."""

from __future__ import annotations

import dataclasses
import fnmatch
import logging
import os

from featx.backbones._clip import ClipSource
from featx.backbones._timm import TimmSource
from featx.backbones._timm_folders import HubSource, LocalSource
from featx.backbones._torchvision import TorchvisionSource
from featx.backbones._transformers import TransformersSource
from featx.backbones._weights_file import find_file
from featx.backbones.embedded import EmbeddedSource
from featx.backbones.names import split_folder
from featx.backbones.plugins import Plugin, find_plugins
from featx.backbones.sources import BackboneCard, Source
from featx.errors import BackboneError, FeatxError, nearest

__all__ = ["SOURCES", "backbone_card", "count_timm", "list_backbones", "source_of", "suggest_name"]

WILD = frozenset("*?[")
log = logging.getLogger(__name__)
INSTALL_TIMM = "(timm, which has 1,800 more, is not installed: pip install 'featx[timm]')"
TIMM = TimmSource()
LEAST_LETTERS = 4  # of a word that is looked for inside names
SOURCES: tuple[Source, ...] = (
    EmbeddedSource(), TorchvisionSource(), TIMM, LocalSource(), HubSource(),
    ClipSource(), TransformersSource(),
)  # fmt: skip


def list_backbones(pattern: str | None = None) -> list[str]:
    """List the networks that `load_backbone` knows by name; builds none.

    Parameters
    ----------
    pattern : str, optional
        Shell-style, for example ``"resnet*"``, or part of a name; upper and lower case are alike.
        timm's 1,800 names and open_clip's 200 are searched where it begins with ``"timm/"`` or
        ``"clip/"``, or where no other fits and the package is installed; those of plug-ins
        last. A folder, and a name on a hub, are returned as they are.

    Returns
    -------
    list of str
        featx's own first, then torchvision's, timm's and open_clip's; each sorted.

    Raises
    ------
    MissingDependencyError
        If the pattern begins with "timm/" or "clip/" and the package is not installed.

    Examples
    --------
    >>> list_backbones("resnet1*")
    ['resnet101', 'resnet152', 'resnet18']
    >>> list_backbones("50_2")
    ['wide_resnet50_2']
    """
    names = _bare_names()
    if pattern is None:
        return names
    source = _by_prefix(pattern.lower())
    if split_folder(pattern, "default")[1] != "default":
        return [pattern]
    if source is not None and source.is_open:
        return [pattern] if pattern != source.prefix and not WILD & set(pattern) else []
    if source is not None:
        return _search(source, pattern)
    found = fnmatch.filter(names, _as_glob(pattern))
    more = (s for s in SOURCES if s.prefix and s.is_installed)
    found = found or [name for source in more for name in _search(source, pattern)]
    return found or [name for plugin in find_plugins() for name in _try(plugin, pattern)]


def count_timm(pattern: str) -> int:
    """Count those of timm's networks that a pattern fits; 0 where it is not installed."""
    return len(_search(TIMM, pattern)) if TIMM.is_installed else 0


def _search(source: Source, pattern: str) -> list[str]:
    """List those networks of a source with a prefix that a pattern fits, anywhere in the name."""
    rest = pattern.lower().removeprefix(source.prefix)
    has_prefix, is_wild = rest != pattern.lower(), bool(WILD & set(rest))
    start = "" if has_prefix else "*"
    glob = source.prefix + start + rest + ("" if is_wild else "*")
    return [name for name in source.names() if fnmatch.fnmatchcase(name.lower(), glob)]


def _try(plugin: Plugin, pattern: str) -> list[str]:
    """Search another package's networks; one that is broken is said, and hides no others."""
    try:
        return _search(plugin, pattern)
    except FeatxError as err:
        log.warning("%s", err)
        return []


def _as_glob(pattern: str) -> str:
    return pattern.lower() if WILD & set(pattern) else f"*{pattern.lower()}*"


def _by_prefix(name: str) -> Source | None:
    own = next((s for s in SOURCES if s.prefix and name.startswith(s.prefix)), None)
    if own is not None or "/" not in name:
        return own
    return next((plugin for plugin in find_plugins() if name.startswith(plugin.prefix)), None)


def _bare_names() -> list[str]:
    return [name for source in SOURCES if not source.prefix for name in source.names()]


def source_of(name: str) -> Source:
    """Return the source that has a network.

    Raises
    ------
    BackboneError
        If none has it, with the nearest name.
    """
    source = _by_prefix(name)
    if source is not None:
        bare = name.removeprefix(source.prefix)
        if bare in _bare_names() and not source.has(name):
            owner = source.prefix.rstrip("/")
            raise BackboneError(
                f"backbone: got {name!r}, which {owner} does not have, expected "
                f"{bare!r}, which comes without {owner}"
            )
        return source
    for source in SOURCES:
        if not source.prefix and source.has(name):
            return source
    raise BackboneError(
        f"backbone: got {name!r}, expected a name from `featx backbones` "
        f"(list_backbones in Python), or one that begins with {_list_prefixes()}."
        f"{suggest_name(name)}"
    )


def _list_prefixes() -> str:
    return ", ".join(repr(s.prefix) for s in (*SOURCES, *find_plugins()) if s.prefix)


def suggest_name(name: str) -> str:
    """Return what was probably meant by a name that is none, with a leading space.

    Examples
    --------
    >>> suggest_name("ResNet18")
    " Did you mean 'resnet18'?"
    """
    bare = name.lower().removeprefix(TIMM.prefix)
    names = _bare_names()
    if bare in names:
        return f" Did you mean {bare!r}?"
    if not TIMM.is_installed:
        return nearest(bare, names) or f" {INSTALL_TIMM}"
    full, architecture = TIMM.prefix + bare, bare.partition(".")[0]
    same = _search(TIMM, full) or _search(TIMM, f"{TIMM.prefix}{architecture}.*")
    if same:
        return nearest(full, same) or f" Did you mean {same[0]!r}?"
    near = nearest(bare, names)
    inside = [] if near or len(bare) < LEAST_LETTERS else _search(TIMM, f"{TIMM.prefix}*{bare}*")
    if inside:
        return f" featx backbones {bare} lists those of timm, such as {inside[0]!r}."
    return near or nearest(full, TIMM.names())


def backbone_card(name: str) -> BackboneCard:
    """Return what is known of a network without building it.

    Parameters
    ----------
    name : str
        As `list_backbones` has it; what a folder or a hub says is read there.

    Raises
    ------
    BackboneError
        If there is no such network, with the nearest name.
    WeightsError
        If a folder or a hub cannot be read.

    Examples
    --------
    >>> card = backbone_card("efficientnet_b0")
    >>> card.source, card.default.name, card.default.preprocessing.interpolation
    ('torchvision', 'IMAGENET1K_V1', 'bicubic')
    """
    bare, folder = split_folder(name, "default")
    path = None if folder == "default" else find_file(os.fspath(folder or ""))
    card = source_of(bare).card(bare, path)
    return dataclasses.replace(card, name=name)
