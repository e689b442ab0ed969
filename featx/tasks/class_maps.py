"""Where in a picture a classifier sees a class: class activation maps, where these are exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx.errors import BackboneError, FeatxError, ImageDecodeError, ParameterError
from featx.estimators import SavedModel
from featx.images import ImagePreprocessor
from featx.images.augmentation import Augmentation
from featx.images.decode import read_size
from featx.report import PictureMap

if TYPE_CHECKING:
    from featx.backbones.position_maps import PositionMap
    from featx.engines.passes import Read
    from featx.extraction import LoadedEncoder, RunOptions

__all__ = ["ClassMaps", "DrawMaps", "draw_class_maps"]

Box = tuple[float, float, float, float]
VIEWS = ("none", "hflip")


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """Maps of some pictures.

    Parameters
    ----------
    by_path : mapping of str to tuple of PictureMap
        For each picture those of the classes that were asked for: what each place adds to the
        score, whose mean over all places is the score less the model's intercept. Pictures that
        could not be read have none.
    why_not : str, default ""
        Why there are no maps at all; "" where there are.
    """

    by_path: Mapping[str, tuple[PictureMap, ...]] = dataclasses.field(default_factory=dict)
    why_not: str = ""

    @property
    def note(self) -> str:
        """The reason as a page gives it."""
        return f"No maps of where the model sees a label: {self.why_not}." if self.why_not else ""


DrawMaps = Callable[[Mapping[str, Sequence[str]]], ClassMaps]
"""What `draw_class_maps` is once it has its model."""


def draw_class_maps(
    saved: SavedModel,
    wanted: Mapping[str, Sequence[str]],
    run: RunOptions | None = None,
    *,
    weights: str | None = None,
    name: str = "the model",
) -> ClassMaps:
    """Compute the class activation maps of some pictures; costs one more pass over them.

    Parameters
    ----------
    saved : SavedModel
        A linear classifier on averaged maps; see `featx.estimators.position_weights` for what may
        stand between the two and for the formula.
    wanted : mapping of str to sequence of str
        For each image the classes that are asked for; those that the model does not know are
        left out.
    run : RunOptions, optional
        How the network is run.
    weights : str, optional
        Where its weights are now.
    name : str, default "the model"
        What it is called in reasons.

    Returns
    -------
    ClassMaps
        With a reason instead of maps where they would not be exact: for another pooling than a
        mean over places, a network that computes more after it, a model that is not linear,
        views other than the picture and its mirror image, or int8; or where the network cannot be
        loaded. Holds n_images * n_classes * height * width float32, of most networks a few
        hundred bytes per map.

    Notes
    -----
    With `augment` "hflip" the vector is the mean of two, and the map the mean of the picture's and
    of its mirror image's, turned back.
    """
    if not wanted:
        return ClassMaps()
    try:
        return ClassMaps(_draw(saved, wanted, run, weights, name))
    except FeatxError as err:
        return ClassMaps(why_not=str(err))


def _draw(
    saved: SavedModel,
    wanted: Mapping[str, Sequence[str]],
    run: RunOptions | None,
    weights: str | None,
    name: str,
) -> dict[str, tuple[PictureMap, ...]]:
    from featx.backbones.position_maps import find_position_map
    from featx.estimators.position_weights import require_linear
    from featx.extraction.embed import load_by_recipe

    require_linear(saved.model)
    if saved.recipe is not None:
        _require_one_place(saved.recipe)
    made_with = saved.metadata.get("made_with", {})
    loaded = load_by_recipe(saved.recipe, made_with, run, weights=weights, thing=name)
    preprocessor = loaded.preprocessor()
    assert isinstance(preprocessor, ImagePreprocessor)  # since a recipe has no transform to load
    spec, paths = loaded.specs[0], list(wanted)
    found: dict[str, tuple[PictureMap, ...]] = {}
    place: PositionMap | None = None
    with Progress(len(paths), "maps", enabled=loaded.run.progress) as bar:
        for batch in loaded.read(paths, engine="torch"):
            bar.advance(len(batch.rows))
            if not batch.views:
                continue
            if place is None:
                view = batch.views[0]
                place = find_position_map(loaded.backbone, spec.layer, spec.pooling, view)
            for row, values in zip(batch.good, _read(loaded, place, batch.views), strict=True):
                path = paths[row]
                found[path] = _maps_of(saved, values, wanted[path], _box(preprocessor, path))
    return found


def _require_one_place(recipe: Any) -> None:
    """Refuse features whose places in the picture are not those of one map."""
    views = Augmentation.parse(recipe.augment)
    if views.kind not in VIEWS or views.keeps_views:
        raise ParameterError(
            f"the features are of several views of a picture (augment {recipe.augment!r})"
        )
    if recipe.precision.startswith("int8"):
        raise ParameterError("the features are of a network in int8, whose maps are rounded")


def _read(
    loaded: LoadedEncoder, place: PositionMap, views: Sequence[NDArray[Any]]
) -> NDArray[np.float32]:
    """Return the maps (n, channels, height, width) whose means are the vectors.

    Raises
    ------
    BackboneError
        If one is not.
    """
    from featx.backbones.position_maps import tolerance

    spec = loaded.specs[0]
    of_views = []
    for i, view in enumerate(views):
        reads: list[Read] = [(spec.layer, spec.pooling), (place.layer, place)]
        vectors, maps = loaded.backbone.features([view], reads, engine="torch")
        error = np.linalg.norm(maps.mean(axis=(2, 3)) - vectors, axis=1)
        if (error > tolerance(loaded.backbone) * np.linalg.norm(vectors, axis=1)).any():
            raise BackboneError(f"the mean of layer {place.layer!r} is not always the vector")
        of_views.append(maps[..., ::-1] if i else maps)  # the second is the mirror image
    mean: NDArray[np.float32] = np.mean(of_views, axis=0)
    return mean


def _maps_of(
    saved: SavedModel, places: NDArray[np.float32], names: Sequence[str], box: Box
) -> tuple[PictureMap, ...]:
    """Return the maps of some classes from the map (channels, height, width) of a picture."""
    from featx.estimators.position_weights import position_weights

    names = [name for name in names if name in saved.classes]
    vector = places.mean(axis=(1, 2), dtype=np.float64)
    weights, shifts = position_weights(saved.model, vector, names)
    added = np.tensordot(weights, places, 1) + shifts[:, None, None]
    return tuple(
        PictureMap(name, values.astype(np.float32), box)
        for name, values in zip(names, added, strict=True)
    )


def _box(preprocessor: ImagePreprocessor, path: str) -> Box:
    try:
        width, height, _ = read_size(path)
    except ImageDecodeError:  # gone since it was read
        return (0.0, 0.0, 1.0, 1.0)
    return preprocessor.box(width, height)
