"""A recipe's network by a graph that is kept, without torch, where there is one.

What a graph is and where it lies, `featx.engines.kept` knows.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx._arrays import join_views
from featx.backbones.names import is_own
from featx.engines.chosen import MIN_PASSES, EngineChoice
from featx.engines.kept import (
    N_COMPARED,
    NOTE,
    Graph,
    Made,
    graphs_dir,
    is_wanted,
    keep_graph,
    load_graph,
)
from featx.engines.sessions import Pending, choose_runtime
from featx.errors import FeatxError
from featx.extraction.embed import load_by_recipe
from featx.extraction.loaded import BATCH_SIZE, LoadedEncoder
from featx.extraction.options import RunOptions
from featx.images import ImagePreprocessor
from featx.recipe import Recipe

if TYPE_CHECKING:
    from featx.backbones import Backbone

__all__ = ["KeptNetwork", "is_for_graph", "keep_network", "load_soon", "open_kept"]

ON_CPU = RunOptions(device="cpu")  # the engine that extractions have: the same network in memory
N_TRACED = 2
TRIAL_PX = 256
AT_ONCE = 2  # batches, so that no core waits for the last part of one
Tag = TypeVar("Tag")
log = logging.getLogger(__name__)


class KeptNetwork:
    """What `LoadedEncoder` asks of a `Backbone`, answered by a kept graph for one recipe.

    Parameters
    ----------
    recipe : Recipe
    graph : Graph
    preprocessing_reason : str
        Why images are made into what they are.

    Attributes
    ----------
    n_images : int
        Images that have gone through it, views counted once.
    """

    transform = None
    device = "cpu"

    def __init__(self, recipe: Recipe, graph: Graph, preprocessing_reason: str) -> None:
        self.name, self.weights, self.precision = recipe.backbone, recipe.weights, recipe.precision
        self.preprocessing_reason = preprocessing_reason
        self._graph = graph
        self.n_images = 0

    def choose_engine(self, *_: Any, **__: Any) -> EngineChoice:
        """Return what runs the graph."""
        reason = "its graph is kept, and agrees with torch on a trial image"
        return EngineChoice(self._graph.runtime, reason)

    def empty(self, shape: tuple[int, ...], dtype: Any, **_: Any) -> NDArray[Any]:
        """Return ordinary memory."""
        return np.empty(shape, dtype)

    def features(
        self, views: Sequence[NDArray[Any]], reads: Any = (), **options: Any
    ) -> list[NDArray[np.float32]]:
        """Do what `Backbone.features` does; the graph knows its layer and pooling."""
        return next(self.stream([(None, views)], **options))[1]

    def stream(
        self,
        batches: Iterable[tuple[Tag, Sequence[NDArray[Any]]]],
        reads: Any = (),
        *,
        keep_views: bool = False,
        pad_to: int | None = None,
        engine: str | None = None,
    ) -> Iterator[tuple[Tag, list[NDArray[np.float32]]]]:
        """Do what `Backbone.stream` does."""
        begun: deque[tuple[Tag, list[Pending]]] = deque()
        for tag, views in batches:
            self.n_images += len(views[0]) if views else 0
            begun.append(
                (tag, [self._graph.begin(view, pad=pad_to is not None) for view in views])
            )
            if len(begun) == AT_ONCE:
                yield _finish(*begun.popleft(), keep_views)
        for last in begun:
            yield _finish(*last, keep_views)


def _finish(
    tag: Tag, views: Sequence[Pending], keep_views: bool
) -> tuple[Tag, list[NDArray[np.float32]]]:
    return tag, [join_views([fetch() for fetch in views], keep_views)] if views else []


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

    A graph is for images on the processor, with the weights that the recipe names.

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
    is_fit = weights is None and is_for_graph(recipe, run, n_images)
    if is_fit and recipe is not None:
        at_once = min(n_images or 1, run.batch_size or BATCH_SIZE)
        found = open_kept(recipe, made_with, run, at_once=at_once)
        if found is not None:
            return found
    loaded = load_by_recipe(recipe, made_with, run, weights=weights, thing=thing)
    if is_fit:
        keep_network(recipe, made_with)
    return loaded


def open_kept(
    recipe: Recipe,
    made_with: Mapping[str, Any],
    run: RunOptions,
    *,
    at_once: int,
    preprocessing_reason: str = "as the recipe says",
) -> LoadedEncoder | None:
    """Return the encoder of a recipe by its kept graph; None where there is none that fits.

    Parameters
    ----------
    recipe, made_with, run
        As for `load_by_recipe`.
    at_once : int
        Images of a batch to come.
    preprocessing_reason : str
        Why images are made into what they are.
    """
    note = graphs_dir() / recipe.fingerprint / NOTE
    stamp = note.stat().st_mtime_ns if note.is_file() else 0
    graph = _open(recipe.fingerprint, recipe.precision, stamp, at_once)
    if graph is None:
        return None
    network = cast("Backbone", KeptNetwork(recipe, graph, preprocessing_reason))
    return LoadedEncoder(network, (), (recipe,), {**made_with}, run)


@functools.lru_cache(maxsize=2)
def _open(name: str, precision: str, stamp: int, n_images: int) -> Graph | None:
    """Open a graph, or take one of the two opened last: a grid search asks by the hundred."""
    return load_graph(name, precision, n_images=n_images) if stamp else None


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
        keep_graph(
            recipe.fingerprint, recipe.precision, functools.partial(_make, recipe, made_with)
        )
    except FeatxError as err:
        log.info("no graph is kept for recipe %s: %s", recipe.fingerprint, err)


def is_for_graph(recipe: Recipe | None, run: RunOptions, n_images: int | None) -> bool:
    """Tell whether a kept graph is what runs so many images best; None is for not known.

    A few need no torch, even where there is a GPU. Many need a GPU, where there are signs of one,
    or what `featx.engines` runs many with on a processor.
    """
    if recipe is None or not _can_be_kept(recipe):
        return False
    if run.engine != "auto" or run.device not in ("auto", "cpu"):
        return False
    n_views = ImagePreprocessor(recipe.preprocessing, recipe.augment).n_views
    if n_images is not None and n_images * n_views < MIN_PASSES:
        return True
    is_able = n_images is None or choose_runtime(recipe.precision) == "openvino"
    return is_able and (run.device == "cpu" or not _may_have_gpu())


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
    by_torch = load_by_recipe(recipe, made_with, ON_CPU, thing=thing)
    exact = by_torch
    if recipe.precision != "float32":
        in_float32 = dataclasses.replace(recipe, precision="float32")
        exact = load_by_recipe(in_float32, made_with, ON_CPU, thing=thing)
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
    vectors = [
        each.backbone.features([views], reads, engine="torch")[0] for each in (exact, by_torch)
    ]
    return Made(graph, views, *vectors)
