"""From an `Encoder` to a `LoadedEncoder`: the network, what images are made into, the recipes."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from featx.errors import MissingDependencyError, ParameterError
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.notes import AS_TABLE
from featx.extraction.options import RunOptions
from featx.extraction.specs import plan_features
from featx.images import ImagePreprocessor
from featx.images.augmentation import STRIDE_PX, Augmentation
from featx.recipe import Decode, Preprocessing, Recipe

if TYPE_CHECKING:
    from featx.backbones import Backbone
    from featx.backbones.published import ChosenWeights
    from featx.engines import Placement
    from featx.extraction.encoder import Encoder

__all__ = ["follow_tables", "load_network", "prepare"]

MAX_PX = 4096
log = logging.getLogger(__name__)


def prepare(encoder: Encoder, run: RunOptions, precision: str) -> LoadedEncoder:
    """Load the network of an encoder in a precision, and say what its features are.

    Raises
    ------
    ParameterError, BackboneError, WeightsError
        If the network cannot be had or does not fit the request.
    """
    from featx.engines import place

    placement = place(run.device, precision, run.engine)
    backbone, preprocessing = _backbone(encoder, placement)
    views = _fit_views(encoder, backbone)
    specs = plan_features(
        backbone,
        cast("Sequence[str | None]", encoder.layers) or (None,),
        cast("Sequence[str | None]", encoder.poolings) or (None,),
        sizes=_sizes(str(views), preprocessing),
    )
    recipes = tuple(
        Recipe(
            backbone=backbone.name,
            weights=backbone.weights,
            layer=spec.layer,
            pooling=spec.pooling.name,
            preprocessing=preprocessing,
            augment=str(views),
            precision=backbone.precision,
            n_features=spec.n_features * (views.n_views if views.keeps_views else 1),
        )
        for spec in specs
    )
    made_with = _describe_run(encoder, backbone)
    return LoadedEncoder(backbone, specs, recipes, made_with, run, placement.reason)


def follow_tables(
    loaded: LoadedEncoder, known: Sequence[Recipe], prepare: Callable[[str], LoadedEncoder]
) -> LoadedEncoder:
    """Return the loaded encoder, or one in the precision of tables that differ in nothing else.

    Precision "auto" depends on the processor. Without this, the same command on another machine
    would make a second table of everything.

    Parameters
    ----------
    loaded : LoadedEncoder
        In the precision that this machine takes by itself, which wins where tables have it too.
    known : sequence of Recipe
        Of the tables, the largest first.
    prepare : callable
        Loads the encoder in another precision.

    Returns
    -------
    LoadedEncoder
        Its `precision_reason` says what was done and why.
    """
    from featx.engines import why_not_precision

    own = loaded.backbone.precision
    counts = Counter(
        recipe.precision
        for recipe in known
        for mine in loaded.recipes
        if dataclasses.replace(mine, precision=recipe.precision) == recipe
    )
    for precision, n in counts.most_common():
        if precision == own or n <= counts[own]:
            break
        problem = why_not_precision(precision, loaded.backbone.device)
        if problem is None:
            try:
                other = prepare(precision)
            except (ParameterError, MissingDependencyError) as err:
                problem = str(err)
            else:
                reason = f"{AS_TABLE} (this machine would take {own})"
                return dataclasses.replace(other, precision_reason=reason)
        reason = (
            f"{loaded.precision_reason}; a table in {precision} exists, which cannot be "
            f"continued here: {problem}"
        )
        loaded = dataclasses.replace(loaded, precision_reason=reason)
    return loaded


@dataclass(frozen=True)
class NetworkKey:
    """What tells one loaded network by name from another, but for where it is placed.

    Parameters
    ----------
    backbone, weights
        As for `load_backbone`.
    stamp : int
        Of the modification times of a weights file and of what describes it.
    preprocessing : Preprocessing or None
        Where it normalises otherwise than its weights ask for.
    sizes : tuple of int
        Sides of the images that it is to take, where they are not what its weights ask for.
    """

    backbone: str
    weights: str | os.PathLike[str] | None
    stamp: int
    preprocessing: Preprocessing | None
    sizes: tuple[int, ...]


@functools.lru_cache(maxsize=2)
def load_network(key: NetworkKey, placement: Placement) -> Backbone:
    """Load a network, or take one of the two loaded last.

    A grid search clones its estimators by the hundred; each clone asks for the same network.
    """
    from featx.backbones import Backbone, build_network

    network = build_network(
        key.backbone,
        weights=key.weights,
        preprocessing=key.preprocessing,
        sizes=key.sizes,
    )
    return Backbone(network, placement)


def _backbone(encoder: Encoder, placement: Placement) -> tuple[Backbone, Preprocessing]:
    """Return the network, and what images are made into for it."""
    from featx.backbones import Backbone, build_network
    from featx.backbones.published import choose_weights

    if not isinstance(encoder.backbone, str) or encoder.transform is not None:
        network = build_network(
            encoder.backbone, weights=encoder.weights, transform=encoder.transform
        )
        backbone = Backbone(network, placement)
        return backbone, _preprocessing(encoder, backbone.preprocessing)
    chosen = choose_weights(encoder.backbone, encoder.weights)
    native = chosen.preprocessing
    preprocessing = _preprocessing(encoder, native)
    sizes = _sizes(encoder.augment, preprocessing)
    asked = dataclasses.replace(
        preprocessing,
        resize_px=native.resize_px, crop_px=native.crop_px, decode=native.decode,
    )  # fmt: skip
    key = NetworkKey(
        backbone=encoder.backbone,
        weights=encoder.weights if chosen.path is None else os.fspath(chosen.path),
        stamp=_stamp(chosen),
        preprocessing=None if asked == native else asked,
        sizes=() if sizes == (native.crop_px,) else sizes,
    )
    return load_network(key, placement), preprocessing


def _stamp(chosen: ChosenWeights) -> int:
    """Return what changes when a weights file, or the configuration of its folder, is replaced."""
    folder = chosen.card.folder
    files = [] if chosen.path is None else [chosen.path]
    files += [] if folder is None else sorted(folder.glob("*.json"))
    return hash(tuple(file.stat().st_mtime_ns for file in files))


def _preprocessing(encoder: Encoder, given: Preprocessing) -> Preprocessing:
    """Apply what was asked for to what the weights ask for."""
    if encoder.recipe is not None:
        return encoder.recipe.preprocessing
    sizes = {"resize_px": encoder.resize_px, "crop_px": encoder.crop_px}
    asked: dict[str, Any] = {name: px for name, px in sizes.items() if px is not None}
    for name, value in asked.items():
        if not isinstance(value, int) or not 1 <= value <= MAX_PX:
            raise ParameterError(
                f"{name}: got {value!r}, expected pixels from 1 to {MAX_PX}, or None for what "
                "the weights ask for"
            )
    if given.squash and len(asked) == 1:  # one side and the other are the same
        asked = dict.fromkeys(sizes, *asked.values())
    if given.transform is None:
        made = dataclasses.replace(given, decode=cast(Decode, encoder.decode), **asked)
        if asked:
            _warn_of_border(made.resize_px, made.crop_px)
        return made
    changed = {"augment": encoder.augment} if encoder.augment != "none" else asked
    for name, value in changed.items():
        raise ParameterError(
            f"{name}: got {value!r} together with a transform of your own, which makes the "
            f"network's input; expected {'none' if name == 'augment' else None!r}: do it in "
            "the transform, or leave the transform out"
        )
    return given


def _fit_views(encoder: Encoder, backbone: Backbone) -> Augmentation:
    """Return the views, with sizes that are multiples of the network's patches."""
    views = Augmentation.parse(encoder.augment)
    patch_px = backbone.patch_px
    is_settled = encoder.recipe is not None or views.step_px != STRIDE_PX
    if views.kind != "multi-scale" or is_settled or STRIDE_PX % patch_px == 0:
        return views
    return dataclasses.replace(views, step_px=patch_px)


def _sizes(augment: str, preprocessing: Preprocessing) -> tuple[int, ...]:
    """Return the sides of the views in pixels, each once; none where they differ by image."""
    # which refuses what it cannot do
    scales = ImagePreprocessor(preprocessing, augment).scales
    if preprocessing.transform is not None:
        return ()
    return tuple(dict.fromkeys(s.crop_px for s in scales if s.crop_px is not None))


def _describe_run(encoder: Encoder, backbone: Backbone) -> dict[str, Any]:
    """Return what recipes leave out, for people and for loading the network again."""
    import torch

    path = None if encoder.weights is None else Path(encoder.weights)
    is_file = path is not None and path.exists()
    return {
        "device": backbone.device,
        "weights_source": backbone.weights_source,
        "license": backbone.license,
        "weights": os.path.abspath(path) if path and is_file else encoder.weights,  # noqa: PTH100
        "torch": torch.__version__,
        "torchvision": version("torchvision"),  # an import would take a second
    }


@functools.cache
def _warn_of_border(resize_px: int | None, crop_px: int | None) -> None:
    """Warn once of sizes that leave a black border."""
    if resize_px is not None and crop_px is not None and resize_px < crop_px:
        log.warning(
            "resize_px %d is less than crop_px %d: the rest of each view is black; set crop_px "
            "(--crop) too",
            resize_px,
            crop_px,
        )
