"""What a command is given: stores, or images, their labels and their vectors."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli.options import ENCODER, RUN, read_options
from featx.errors import ParameterError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from featx.images.join import ClassLabels
    from featx.recipe import Recipe
    from featx.retrieval import InstanceIndex
    from featx.retrieval.descriptors import LocalFeatures
    from featx.store import FeatureStore

__all__ = ["are_stores", "describe_sources", "embed_sources", "find_labelled", "open_given_store"]


def are_stores(name: str, words: list[str]) -> bool:
    """Tell whether all sources are stores, or none is.

    Raises
    ------
    ParameterError
        If some are.
    """
    stores = [word for word in words if _is_store(word)]
    if stores and len(stores) < len(words):
        other = next(word for word in words if word not in stores)
        raise ParameterError(
            f"{name}: got the store {stores[0]!r} together with {other!r}, expected stores alone "
            "or none; give them to two calls"
        )
    return bool(stores)


def open_given_store(args: argparse.Namespace, stack: ExitStack) -> FeatureStore | None:
    """Open the store that SOURCE is; None where it is images.

    Raises
    ------
    ParameterError
        For several stores, or options of an extraction beside one.
    """
    from featx.store import open_store

    if not are_stores("SOURCE", args.source):
        return None
    if len(args.source) > 1:
        raise ParameterError(f"SOURCE: got {len(args.source)} stores, expected one")
    given = [name for name in (*ENCODER, *RUN) if hasattr(args, name)]
    if given or args.store:
        raise ParameterError(
            f"{given[0] if given else 'store'}: got one together with the store "
            f"{args.source[0]!r}, whose features are there; expected images, or the store alone"
        )
    return stack.enter_context(open_store(args.source[0], table=args.table))


def _is_store(word: str) -> bool:
    """Tell whether a source is a featx store, by its content, or at a URL by its name."""
    from featx.files.kinds import kind_of
    from featx.files.remote import is_url, plain_path

    if is_url(word):
        return word.lower().endswith((".h5", ".hdf5"))
    place = Path(plain_path(word))
    try:
        return place.is_file() and kind_of(place)[0] == "store"
    except (OSError, ValueError):  # whoever opens it says why
        return False


def find_labelled(source: Any, table: str | None) -> tuple[list[str], ClassLabels]:
    """Return the images of a source that have a label, and their labels.

    Raises
    ------
    ManifestError
        If none has one, or as `featx.images.class_labels`.
    """
    from featx.images import ImageManifest, class_labels

    manifest = ImageManifest.from_source(source).require_all()
    found = class_labels(manifest, table)
    return [manifest.paths[i] for i in found.rows.tolist()], found


def embed_sources(
    source: Any,
    recipe: Recipe | None,
    made_with: dict[str, Any],
    args: argparse.Namespace,
    *,
    thing: str,
    rotations: int = 1,
) -> tuple[list[str], NDArray[np.float32], list[dict[str, str]]]:
    """Return the paths of good images, their vectors, and path and reason of what is bad.

    Of each image there are as many vectors in turn as `rotations`.

    Raises
    ------
    BackboneError
        If the recipe is not known.
    """
    from featx.extraction import RunOptions
    from featx.extraction.embed import embed_turned
    from featx.extraction.kept import load_soon
    from featx.images import ImageManifest

    manifest = ImageManifest.from_source(source)
    run = read_options(args, RunOptions)
    paths = manifest.paths
    loaded = load_soon(
        recipe, made_with, run,
        weights=args.weights, thing=thing, n_images=len(paths) * rotations,
    )  # fmt: skip
    found = embed_turned(loaded, paths, rotations)
    failures = _list_bad(manifest, found.failures)
    return [paths[i] for i in found.good], found.features, failures


def describe_sources(
    source: Any, index: InstanceIndex
) -> tuple[list[str], list[LocalFeatures], list[dict[str, str]]]:
    """Return the paths of good images, their local features, and what is bad."""
    from featx.images import ImageManifest

    manifest = ImageManifest.from_source(source)
    found = index.describe(list(manifest.paths))
    failures = _list_bad(manifest, found.failures)
    return [manifest.paths[i] for i in found.good], list(found.features), failures


def _list_bad(manifest: Any, failures: Iterable[tuple[int, str]]) -> list[dict[str, str]]:
    """Return path and reason of images and folders that cannot be read."""
    bad = [(manifest.paths[i], reason) for i, reason in failures]
    bad += [
        (path, f"the folder cannot be listed ({why})") for path, why in manifest.unreadable.items()
    ]
    return [{"path": path, "reason": reason} for path, reason in bad]
