"""Images through the network of a saved recipe."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.cli.options import read_options
from featx.errors import BackboneError
from featx.recipe import Recipe

__all__ = ["embed_sources"]


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
    from featx.extraction import Encoder, RunOptions, embed_images
    from featx.images import ImageManifest

    if recipe is None:
        raise BackboneError(
            f"{thing}: its features were made outside featx, so that no network is known for new "
            "images; expected one made from a store of featx extract"
        )
    manifest = ImageManifest.from_source(source)
    weights = args.weights or made_with.get("weights", "default")
    run = read_options(args, RunOptions)
    paths = manifest.paths
    found = embed_images(Encoder.from_recipe(recipe, weights=weights).load(run), paths)
    bad = [(paths[i], reason) for i, reason in found.failures]
    bad += [
        (path, f"the folder cannot be listed ({why})") for path, why in manifest.unreadable.items()
    ]
    failures = [{"path": path, "reason": reason} for path, reason in bad]
    return [paths[i] for i in found.good], found.features, failures
