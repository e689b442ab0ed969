"""A saved classifier, and vectors of its recipe: those that a store has, or of new images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._values import as_text
from featx.cli.options import read_options
from featx.errors import FileFormatError, ParameterError
from featx.recipe import Recipe

__all__ = [
    "embed_sources",
    "is_store",
    "label_text",
    "load_classifier",
    "only_stores",
    "open_fitting_table",
    "require_images",
]


def load_classifier(path: str) -> tuple[Any, list[str]]:
    """Read a model of featx train; return it, and its classes or attributes as text.

    Raises
    ------
    FileFormatError
        If the file is no model, or the model classifies nothing.
    """
    from featx.estimators import load_model

    saved = load_model(path)
    model = saved.model
    names = getattr(model, "attribute_names_", getattr(model, "classes_", None))
    if names is None or not hasattr(model, "predict_proba"):
        raise FileFormatError(
            f"model file {path!r}: holds a {type(model).__name__}, expected a classifier, as "
            "featx train makes one"
        )
    return saved, [label_text(name) for name in names.tolist()]


def label_text(label: Any) -> str:
    """Return a class as the command line writes it: 1.0 as "1", as labels are read."""
    return label if isinstance(label, str) else as_text(label)


def is_store(word: str) -> bool:
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


def only_stores(name: str, words: list[str]) -> bool:
    """Tell whether all sources are stores, or none is.

    Raises
    ------
    ParameterError
        If some are.
    """
    stores = [word for word in words if is_store(word)]
    if stores and len(stores) < len(words):
        other = next(word for word in words if word not in stores)
        raise ParameterError(
            f"{name}: got the store {stores[0]!r} together with {other!r}, expected stores alone "
            "or none; give them to two calls"
        )
    return bool(stores)


def require_images(store: Any) -> None:
    """Refuse a store without images, of which nothing can be made.

    Raises
    ------
    ParameterError
        If it has none.
    """
    if not len(store):
        raise ParameterError(
            f"store {store.path!r}: has no images, expected at least one; featx info "
            f"{store.path} lists those that could not be read"
        )


def open_fitting_table(path: str, saved: Any, model_path: str, table: str | None) -> Any:
    """Open a store's table of the model's recipe, or the one that is asked for if it fits.

    Raises
    ------
    FingerprintMismatchError
        If the recipe is another, with what differs.
    ParameterError
        If the store has no images, or vectors of another width.
    """
    from featx.store.info import open_fitting

    store = open_fitting(path, saved.recipe, maker=f"model {model_path}", table=table)
    try:
        require_images(store)
        _require_width(store, saved.model, model_path)
    except BaseException:
        store.close()
        raise
    return store


def _require_width(store: Any, model: Any, model_path: str) -> None:
    width = getattr(model, "n_features_in_", store.n_features)
    if width != store.n_features:
        raise ParameterError(
            f"store {store.path!r}: got vectors of {store.n_features} numbers, expected {width}, "
            f"as model {model_path!r} was fitted on; take the store that it was trained on, or "
            "one made alike"
        )


def embed_sources(
    source: Any,
    recipe: Recipe | None,
    made_with: dict[str, Any],
    args: argparse.Namespace,
    *,
    thing: str,
) -> tuple[list[str], NDArray[np.float32], list[dict[str, str]]]:
    """Return the paths of good images, their vectors, and path and reason of what is bad.

    Raises
    ------
    BackboneError
        If the recipe is not known.
    """
    from featx.extraction import RunOptions, embed_images, load_by_recipe
    from featx.images import ImageManifest

    manifest = ImageManifest.from_source(source)
    run = read_options(args, RunOptions)
    loaded = load_by_recipe(recipe, made_with, run, weights=args.weights, thing=thing)
    paths = manifest.paths
    found = embed_images(loaded, paths)
    bad = [(paths[i], reason) for i, reason in found.failures]
    bad += [
        (path, f"the folder cannot be listed ({why})") for path, why in manifest.unreadable.items()
    ]
    failures = [{"path": path, "reason": reason} for path, reason in bad]
    return [paths[i] for i in found.good], found.features, failures
