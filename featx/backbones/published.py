"""Which weights are meant, and what images are made into for them.

A published file is recognised wherever it lies and whatever it is called: by the SHA-256 whose
beginning its published name has; else by that name, or by the folder that it was downloaded to.
So ``--weights FILE`` gives the recipe that the name of the weights gives.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from featx._repr import OneLine
from featx.backbones._timm import CONFIG, preprocessing_of_config
from featx.backbones._weights_file import SUFFIXES, find_file, read_notes
from featx.backbones.catalogue import source_of
from featx.backbones.download import content_problem, digest_of, read_hash
from featx.backbones.licenses import read_license
from featx.backbones.names import split_folder
from featx.backbones.sources import BackboneCard, Source, WeightsEntry
from featx.errors import WeightsError, nearest
from featx.recipe import Preprocessing

__all__ = ["NOTE", "ChosenWeights", "choose_weights"]

NOTE = "preprocessing"  # of a file that featx wrote
N_FOLDERS = 4  # a hub's cache is model/snapshots/revision/file
log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class ChosenWeights(OneLine):
    """Weights of a network by name, before they are read.

    Parameters
    ----------
    card : BackboneCard
        The network.
    source : Source
        What has it.
    entry : WeightsEntry or None
        Published weights to load; None where they are a file or random.
    path : Path or None
        The file to load.
    preprocessing : Preprocessing
        What images are made into.
    reason : str
        Why, for people.
    license : str or None
        Terms of the weights, where they are stated.
    """

    card: BackboneCard
    source: Source
    entry: WeightsEntry | None
    path: Path | None
    preprocessing: Preprocessing
    reason: str
    license: str | None = None


def choose_weights(name: str, weights: str | os.PathLike[str] | None) -> ChosenWeights:
    """Find out which weights are meant; reads no tensors but hashes a file.

    Parameters
    ----------
    name : str
        Of the network.
    weights : str, path or None
        As for `load_backbone`.

    Raises
    ------
    BackboneError
        If there is no such network.
    WeightsError
        If there are no such weights.

    Examples
    --------
    >>> choose_weights("mobilenet_v2", "IMAGENET1K_V2").preprocessing.resize_px
    232
    """
    name, weights = split_folder(name, weights)
    source = source_of(name)
    path = _local_path(name, weights)
    card = source.card(name, path)
    if weights is None:
        return ChosenWeights(card, source, None, None, card.local, "random weights")
    published = {entry.name: entry for entry in card.weights}
    if weights == "default" and card.default is None:
        raise WeightsError(
            f"backbone {name!r}: no weights are published for it; expected a file: pass one "
            "with --weights FILE (weights=FILE in Python)"
        )
    entry = card.default if weights == "default" else published.get(os.fspath(weights))
    if entry is not None:
        made = name if entry.url is None else entry.name  # None: inside the package
        reason = f"as {made} was evaluated"
        return ChosenWeights(card, source, entry, None, entry.preprocessing, reason, entry.license)
    if path is None:
        raise WeightsError(
            f"backbone {name!r}: got weights {str(weights)!r}, expected a file that ends in one "
            f"of {', '.join(SUFFIXES)}, 'default' or one of {', '.join(published) or 'none'}."
            f"{nearest(str(weights), ['default', *published])}"
        )
    return _describe_file(card, source, path)


def _local_path(name: str, weights: str | os.PathLike[str] | None) -> Path | None:
    """Return the file that weights are; None where they are a name, or none."""
    if weights is None or weights == "default":
        return None
    if not isinstance(weights, str | os.PathLike):  # a stranger's index may say anything
        raise WeightsError(
            f"backbone {name!r}: got weights {weights!r:.100}, expected the path of a file, "
            "'default' or None"
        )
    path = Path(weights)
    is_name = not path.exists() and path.suffix not in SUFFIXES and path.parent == Path()
    return None if is_name else find_file(path)


def _describe_file(card: BackboneCard, source: Source, path: Path) -> ChosenWeights:
    """Say what a file's images are made into, by what tells most about it."""
    chosen = functools.partial(ChosenWeights, card, source, None, path)
    noted = _read_preprocessing(card, read_notes(path))
    if noted is not None:
        return chosen(noted, "as the file's header says", card.local_license)
    published = source.published(card)
    is_same = _match_content(path, published)
    named = _match_name(path, published)
    if is_same is not None:
        same = published[is_same]
        if named is not None and published[named] != same:
            _warn(f"{path}: is named like {named} but is {is_same}; taken for that")
        reason = f"as {same.name} was evaluated, which this file is"
        return chosen(same.preprocessing, reason, same.license)
    entry = None if named is None else published[named]
    terms = card.local_license or read_license(path.parent)
    if terms is None and entry is not None:
        terms = entry.license
    config = path.parent / CONFIG
    said = preprocessing_of_config(config) if config.is_file() else None
    if said is not None:
        return chosen(said, f"as {config} says", terms)
    if named is not None and entry is not None:
        problem = content_problem(path, named)
        if problem is not None:
            _warn(problem)
        doubt = "" if problem is None else "; its content is not that of the published file"
        reason = f"as {entry.name} was evaluated, by the file's name{doubt}"
        return chosen(entry.preprocessing, reason, terms)
    guess, reason = source.guess(card, path)
    log.info("%s: images are made %s", path, reason)
    return chosen(guess, reason, terms)


@functools.cache
def _warn(message: str) -> None:
    log.warning("%s", message)


def _match_content(path: Path, published: Mapping[str, WeightsEntry]) -> str | None:
    hashes = {start: name for name in published if (start := read_hash(name))}
    digest = digest_of(path) if hashes else ""
    return next((name for start, name in hashes.items() if digest.startswith(start)), None)


def _match_name(path: Path, published: Mapping[str, WeightsEntry]) -> str | None:
    """Return the longest published name that the file's or one of its folders' has in it."""
    folders = list(path.absolute().parents)[:N_FOLDERS]
    words = "/".join([path.name, *(folder.name for folder in folders)])
    found = [
        name
        for name in published
        if re.search(rf"(?<![A-Za-z0-9.]){re.escape(_stem(name))}(?!\w)", words)
    ]
    return max(found, key=len, default=None)


def _stem(name: str) -> str:
    suffix = next((s for s in SUFFIXES if name.endswith(s)), "")
    return name.removesuffix(suffix)


def _read_preprocessing(card: BackboneCard, notes: Mapping[str, str]) -> Preprocessing | None:
    """Return what `featx finetune` has noted; older files have the sizes only."""
    if notes.get("architecture") != card.name:
        return None
    try:
        if NOTE in notes:
            return Preprocessing.from_dict(json.loads(notes[NOTE]))
        resize_px, crop_px = int(notes["resize_px"]), int(notes["crop_px"])
        return dataclasses.replace(card.local, resize_px=resize_px, crop_px=crop_px)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
