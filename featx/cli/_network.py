"""Images through the network of a saved recipe."""

from __future__ import annotations

import argparse
from typing import Any

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
) -> tuple[list[str], Any]:
    """Return the paths found and what `featx.extraction.embed_images` made of them.

    Raises
    ------
    BackboneError
        If the recipe is not known.
    """
    from featx.extraction import embed_images, job_for_recipe
    from featx.images import ImageManifest

    if recipe is None:
        raise BackboneError(
            f"{thing}: its features were made outside featx, so that no network is known for new "
            "images; expected one made from a store of featx extract"
        )
    paths = list(ImageManifest.from_source(source).paths)
    weights = args.weights or made_with.get("weights", "default")
    job = job_for_recipe(recipe, weights=weights, device=args.device)
    return paths, embed_images(job, paths, batch_size=args.batch_size, workers=args.workers)
