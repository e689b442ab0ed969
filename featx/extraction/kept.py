"""A recipe's network for a few images: by a graph that is kept, without torch, where there is one.

What a graph is and where it lies, `featx.engines.kept` knows.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx._arrays import join_views
from featx.backbones.names import is_own
from featx.engines.chosen import MIN_PASSES, EngineChoice
from featx.engines.kept import Graph, Made, is_wanted, keep_graph, load_graph
from featx.errors import FeatxError
from featx.extraction.embed import load_by_recipe
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.options import RunOptions
from featx.images import ImagePreprocessor
from featx.recipe import Recipe

if TYPE_CHECKING:
    from featx.backbones import Backbone

__all__ = ["KeptNetwork", "keep_network", "load_soon"]

BY_TORCH = RunOptions(device="cpu", engine="torch")
N_TRACED, N_COMPARED = 2, 3
TRIAL_PX = 256
Tag = TypeVar("Tag")
log = logging.getLogger(__name__)


class KeptNetwork:
    """What `LoadedEncoder` asks of a `Backbone`, answered by a kept graph for one recipe.

    Parameters
    ----------
    recipe : Recipe
    graph : Graph

    Attributes
    ----------
    n_images : int
        Images that have gone through it, views counted once.
    """

    transform = None
    device = "cpu"
    preprocessing_reason = "as the recipe says"

    def __init__(self, recipe: Recipe, graph: Graph) -> None:
        self.name, self.weights, self.precision = recipe.backbone, recipe.weights, recipe.precision
        self._graph = graph
        self.n_images = 0

    def choose_engine(self, *_: Any, **__: Any) -> EngineChoice:
        """Return what runs the graph."""
        return EngineChoice(self._graph.runtime, "a kept graph, which needs no torch")

    def empty(self, shape: tuple[int, ...], dtype: Any, **_: Any) -> NDArray[Any]:
        """Return ordinary memory."""
        return np.empty(shape, dtype)

    def features(
        self, views: Sequence[NDArray[Any]], reads: Any = (), *, keep_views: bool = False
    ) -> list[NDArray[np.float32]]:
        """Do what `Backbone.features` does; the graph knows its layer and pooling."""
        self.n_images += len(views[0])
        return [join_views([self._graph.run(view) for view in views], keep_views)]

    def stream(
        self,
        batches: Iterable[tuple[Tag, Sequence[NDArray[Any]]]],
        reads: Any = (),
        *,
        keep_views: bool = False,
        **_: Any,
    ) -> Iterator[tuple[Tag, list[NDArray[np.float32]]]]:
        """Do what `Backbone.stream` does."""
        for tag, views in batches:
            yield tag, self.features(views, keep_views=keep_views) if views else []


def load_soon(
    recipe: Recipe | None,
    made_with: Mapping[str, Any],
    run: RunOptions | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    thing: str,
    n_images: int | None = None,
) -> LoadedEncoder:
    """Do what `load_by_recipe` does, without torch where a graph is kept; keeps one where not.

    A graph is for few images on the processor, with the weights that the recipe names.

    Parameters
    ----------
    recipe, made_with, run, weights, thing
        As for `load_by_recipe`. With `weights` torch reads them.
    n_images : int, optional
        How many are to come; None where that is not known. Then a GPU, where there may be one, is
        worth waiting for torch.

    Raises
    ------
    BackboneError
        As `load_by_recipe`.
    """
    run = run or RunOptions()
    is_fit = weights is None and _is_for_graph(recipe, run, n_images)
    if is_fit and recipe is not None:
        graph = load_graph(recipe.fingerprint, recipe.precision)
        if graph is not None:
            network = cast("Backbone", KeptNetwork(recipe, graph))
            return LoadedEncoder(network, (), (recipe,), {**made_with}, run)
    loaded = load_by_recipe(recipe, made_with, run, weights=weights, thing=thing)
    if is_fit:
        keep_network(recipe, made_with)
    return loaded


def keep_network(recipe: Recipe | None, made_with: Mapping[str, Any]) -> None:
    """Convert a recipe's network and keep it, where that can be done and has not been done.

    Costs a second or two for a small network, beside torch's import. Where a package or the
    weights are not there it does nothing, and later queries go through torch.

    Parameters
    ----------
    recipe, made_with
        As for `load_by_recipe`.
    """
    if recipe is None or not _can_be_kept(recipe):
        return
    try:
        keep_graph(recipe.fingerprint, recipe.precision, partial(_make, recipe, made_with))
    except FeatxError as err:
        log.info("no graph is kept for recipe %s: %s", recipe.fingerprint, err)


def _is_for_graph(recipe: Recipe | None, run: RunOptions, n_images: int | None) -> bool:
    if recipe is None or not _can_be_kept(recipe) or run.engine != "auto":
        return False
    if n_images is None:
        return run.device == "cpu" or (run.device == "auto" and not _may_have_gpu())
    n_views = ImagePreprocessor(recipe.preprocessing, recipe.augment).n_views
    return run.device in ("auto", "cpu") and n_images * n_views < MIN_PASSES


def _can_be_kept(recipe: Recipe) -> bool:
    """Tell whether views have one size, and a graph in the recipe's precision can run here."""
    p = recipe.preprocessing
    if p.transform is not None or p.crop_px is None or is_own(recipe.backbone):
        return False
    has_one_size = len(ImagePreprocessor(p, recipe.augment).scales) == 1
    return has_one_size and is_wanted(recipe.precision)


def _may_have_gpu() -> bool:
    """Tell whether there are signs of an NVIDIA GPU; only torch knows."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def _make(recipe: Recipe, made_with: Mapping[str, Any], runtime: str) -> Made:
    """Convert a recipe's network in float32, with trial views and what torch says of them.

    Raises
    ------
    BackboneError
        If it cannot be had or converted.
    """
    import torch

    from featx.engines.conversion import to_onnx, to_openvino
    from featx.engines.engine import make_trial_views

    thing = f"recipe {recipe.fingerprint}"
    by_torch = load_by_recipe(recipe, made_with, BY_TORCH, thing=thing)
    exact = by_torch
    if recipe.precision != "float32":
        in_float32 = dataclasses.replace(recipe, precision="float32")
        exact = load_by_recipe(in_float32, made_with, BY_TORCH, thing=thing)
    blank = Image.new("RGB", (TRIAL_PX, TRIAL_PX))
    shape = exact.preprocessor()(blank)[0].shape
    views = make_trial_views((N_COMPARED, *shape), np.uint8)
    spec = exact.specs[0]
    module = exact.backbone.as_module(spec.layer, spec.pooling)
    x = torch.from_numpy(views[:N_TRACED])
    if runtime == "openvino":
        graph = to_openvino(module, x, thing=thing)
    else:
        graph = to_onnx(module, x, ("view", ["features"]), thing=thing, purpose="a kept graph")
    reads = [(spec.layer, spec.pooling)]
    vectors = [each.backbone.features([views], reads)[0] for each in (exact, by_torch)]
    return Made(graph, views, *vectors)
