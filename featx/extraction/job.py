"""One network, what to read from it, and the recipe of each table that results."""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx._repr import OneLine
from featx.errors import BackboneError, FingerprintMismatchError, ParameterError
from featx.extraction._precision import follow_tables
from featx.extraction._request import Named, Request
from featx.extraction.specs import FeatureSpec, plan_features
from featx.recipe import Decode, Preprocessing, Recipe, describe_differences

if TYPE_CHECKING:
    from torch import nn

    from featx.backbones import Backbone, EngineChoice
    from featx.images import ImageBatch

__all__ = ["Job", "job_for_recipe", "prepare_job"]

DEFAULT_BACKBONE = "featx_small"
BATCH_SIZE = 32
# On a small batch a GPU mostly waits for its kernels to be started.
GPU_BATCH_SIZE = 256
# On 16 cores an H200 got 8 to 13 % more images a second from 14 readers than from 16.
CORES_TO_FEED_A_GPU = 8
EVERY_SAMPLE = 3  # of 432: 36 to measure with, 108 to calibrate
TRIAL_PX = 256


@dataclass(frozen=True, repr=False)
class Job(OneLine):
    """A loaded network with what is to be read from it.

    Parameters
    ----------
    backbone : Backbone
        Loaded, on its device, in eval mode.
    specs : tuple of FeatureSpec
        Layer, pooling and width of each table.
    recipes : tuple of Recipe
        One for each spec.
    made_with : dict
        What the recipes leave out, for people and for loading the network again; the engine,
        which depends on how many images there are, comes from `choose_engine`.
    max_pixels : int, optional
        Largest image that is decoded; default `featx.images.DEFAULT_MAX_PIXELS`.
    precision_reason : str
        Why the network computes in the precision that it does.
    """

    backbone: Backbone
    specs: tuple[FeatureSpec, ...]
    recipes: tuple[Recipe, ...] = field(repr=False)
    made_with: dict[str, Any] = field(repr=False)
    precision_reason: str = "as asked for"
    max_pixels: int | None = None

    def preprocessor(self) -> Any:
        """Return the callable that turns a decoded image into the network's views."""
        from featx.images import DEFAULT_MAX_PIXELS, ImagePreprocessor, TransformPreprocessor

        most = self.max_pixels or DEFAULT_MAX_PIXELS
        if self.backbone.transform is not None:
            return TransformPreprocessor(self.backbone.transform, most)
        recipe = self.recipes[0]
        return ImagePreprocessor(recipe.preprocessing, recipe.augment, most)

    def batch_size(self, asked: int | None) -> int:
        """Return how many images go through the network at once.

        Parameters
        ----------
        asked : int or None
            None is 32 on a processor and 256 on a GPU, where batches are halved if its memory does
            not take them.
        """
        if asked is not None:
            return asked
        return GPU_BATCH_SIZE if self._has_gpu else BATCH_SIZE

    def workers(self, asked: int | None, sources: Sequence[Any]) -> int:
        """Return how many processes read the images.

        Parameters
        ----------
        asked : int or None
            None is `featx.images.default_workers`; beside a GPU, which is fed from this process,
            one less for every eight cores.
        sources : sequence
            The images.
        """
        from featx.images import default_workers

        if asked is not None:
            return asked
        n = default_workers(sources)
        return n - n // CORES_TO_FEED_A_GPU if self._has_gpu else n

    @property
    def device(self) -> str:
        """Where the network is."""
        return self.backbone.device

    @property
    def preprocessing_reason(self) -> str:
        """Why images are made into what they are."""
        return self.backbone.preprocessing_reason

    @property
    def _has_gpu(self) -> bool:
        return self.backbone.device.startswith("cuda")

    def choose_engine(self, n_images: int) -> EngineChoice:
        """Say what is to run the network over so many images, and why; converts it if need be.

        Raises
        ------
        BackboneError
            If the engine that was asked for cannot run it.
        """
        shapes = None
        if self.backbone.transform is None and self.recipes[0].preprocessing.crop_px is not None:
            blank = Image.new("RGB", (TRIAL_PX, TRIAL_PX))
            shapes = [view.shape for view in self.preprocessor()(blank)]
        layers = [spec.layer for spec in self.specs]
        return self.backbone.choose_engine(
            layers, shapes, n_images=n_images, samples=self._samples
        )

    def _samples(self, shape: Sequence[int]) -> NDArray[Any]:
        """Return sample images as views of a shape, to calibrate int8 with.

        They depend on the network and the shape alone, so that two jobs that share the network,
        and differ in how they resize, get the same graph whichever comes first.
        """
        from featx.images import ImageManifest, ImagePreprocessor, iter_batches, sample_data_dir

        preprocessor = self.preprocessor()
        if self.backbone.transform is None:
            side = min(shape[:2])
            preprocessor = ImagePreprocessor(
                dataclasses.replace(
                    self.backbone.preprocessing, resize_px=side, crop_px=side, decode="full"
                )
            )
        paths = ImageManifest.from_source(sample_data_dir()).paths[::EVERY_SAMPLE]
        batches = iter_batches(paths, preprocessor, batch_size=len(paths), workers=0)
        return next(batches).views[0]

    def read(
        self,
        sources: Sequence[Any],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        engine: str,
    ) -> Iterator[ImageBatch]:
        """Read images as views for the network, batch by batch in input order.

        Parameters
        ----------
        sources, batch_size, workers
            As for `embed`.
        engine : {"torch", "compile", "openvino"}
            What the views are for.

        Yields
        ------
        ImageBatch
        """
        from featx.images import iter_batches

        return iter_batches(
            sources,
            self.preprocessor(),
            batch_size=self.batch_size(batch_size),
            workers=self.workers(workers, sources),
            empty=functools.partial(self.backbone.empty, engine=engine),
        )

    def embed(
        self,
        sources: Sequence[Any],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        pad: bool = False,
        engine: str | None = None,
        views_of: Callable[[ImageBatch], Sequence[NDArray[Any]]] = operator.attrgetter("views"),
    ) -> Iterator[tuple[ImageBatch, list[NDArray[np.float32]]]]:
        """Read images and run the network, batch by batch in input order.

        Parameters
        ----------
        sources : sequence
            As `featx.images.as_sources` gives them.
        batch_size, workers
            As for `featx.extract`.
        pad : bool, default False
            Fill every batch up to `batch_size` with blank images, so that vectors are the same to
            the last bit whatever else is read with them.
        engine : {"torch", "compile", "openvino"}, optional
            Default: what `choose_engine` says for so many images.
        views_of : callable, optional
            Given a batch, returns those of its views that are to go through the network; default
            all. It is called once for each batch, in their order.

        Yields
        ------
        batch : ImageBatch
            What was read, bad images included.
        features : list of ndarray of shape (n_views, n_features), float32
            One array for each spec, for the images of the batch whose views went through.
        """
        engine = engine or self.choose_engine(len(sources)).name
        pad_to = self.batch_size(batch_size) if pad else None
        reads = [(spec.layer, spec.pooling) for spec in self.specs]
        keep = self.recipes[0].augment.endswith(":keep")
        batches = self.read(sources, batch_size=batch_size, workers=workers, engine=engine)
        nothing = [np.empty((0, recipe.n_features), np.float32) for recipe in self.recipes]
        for batch, features in self.backbone.stream(
            ((batch, views_of(batch)) for batch in batches),
            reads,
            keep_views=keep,
            pad_to=pad_to,
            engine=engine,
        ):
            yield batch, features or nothing


def prepare_job(
    backbone: str | nn.Module = DEFAULT_BACKBONE,
    *,
    weights: str | os.PathLike[str] | None = "default",
    layers: str | Sequence[str | None] | None = None,
    poolings: str | Sequence[str | None] | None = None,
    augment: str = "none",
    resize_px: int | None = None,
    crop_px: int | None = None,
    decode: str = "reduced",
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    transform: Callable[[Any], Any] | None = None,
    max_pixels: int | None = None,
    preprocessing: Preprocessing | None = None,
    known: Sequence[Recipe] = (),
) -> Job:
    """Load a network and work out the recipes of what is read from it.

    The others are those of `featx.extract`; None in a list of layers or poolings is the default.

    Parameters
    ----------
    preprocessing : Preprocessing, optional
        Of a recipe; stands in for the sizes, `decode` and what the weights ask for.
    known : sequence of Recipe, default ()
        Of tables that exist, the largest first. With precision "auto", those that differ in
        nothing but their precision are gone on with, where this machine can.
    """
    if decode not in get_args(Decode):
        raise ParameterError(f"decode: got {decode!r}, expected 'reduced' or 'full'")
    if max_pixels is not None and not max_pixels >= 1:
        raise ParameterError(f"max_pixels: got {max_pixels!r}, expected at least 1, or None")
    from featx.backbones import resolve_precision

    request = Request(
        backbone=backbone, weights=weights, augment=augment, resize_px=resize_px, crop_px=crop_px,
        decode=decode, device=device, engine=engine, transform=transform,
        preprocessing=preprocessing,
    )  # fmt: skip
    prepare = functools.partial(_job, request, _as_list(layers), _as_list(poolings))
    chosen = resolve_precision(precision, device=device, engine=engine)
    job = dataclasses.replace(
        prepare(chosen.name), precision_reason=chosen.reason, max_pixels=max_pixels
    )
    return follow_tables(job, known, prepare) if precision == "auto" else job


def _job(
    request: Request,
    layers: Sequence[str | None],
    poolings: Sequence[str | None],
    precision: str,
) -> Job:
    net, preprocessing, sizes = _load(request, precision)
    specs = plan_features(net, layers, poolings, sizes=sizes)
    augment = request.augment
    n_kept = request.n_views(preprocessing) if augment.endswith(":keep") else 1
    recipes = tuple(
        Recipe(
            backbone=net.name,
            weights=net.weights,
            layer=spec.layer,
            pooling=spec.pooling.name,
            preprocessing=preprocessing,
            augment=augment,
            precision=net.precision,
            n_features=spec.n_features * n_kept,
        )
        for spec in specs
    )
    return Job(net, specs, recipes, request.made_with(net))


def job_for_recipe(
    recipe: Recipe,
    *,
    weights: str | os.PathLike[str] | None = "default",
    device: str = "auto",
    engine: str = "auto",
    max_pixels: int | None = None,
) -> Job:
    """Load the network that a recipe names, and refuse if it would give other features.

    Parameters
    ----------
    recipe : Recipe
        As found in a store, a model or an index.
    weights : str, path or None
        Where the weights are, as for `featx.extract`.
    device : str, default "auto"
        Where to run.
    engine : {"auto", "torch", "compile", "openvino"}, default "auto"
        What runs it; any, whatever made the recipe's features.
    max_pixels : int, optional
        Largest image that is decoded.

    Raises
    ------
    BackboneError
        If the recipe's network is one of the user's own, which only they can build.
    FingerprintMismatchError
        If the weights found are not those of the recipe.
    """
    if ":" in recipe.backbone or recipe.preprocessing.transform is not None:
        raise BackboneError(
            f"backbone {recipe.backbone!r} is a module of your own, which featx cannot build from "
            "its name; in Python, extract with it and pass the features instead of the images"
        )
    job = prepare_job(
        recipe.backbone,
        weights=weights,
        layers=recipe.layer,
        poolings=recipe.pooling,
        augment=recipe.augment,
        preprocessing=recipe.preprocessing,
        device=device,
        precision=recipe.precision,
        engine=engine,
        max_pixels=max_pixels,
    )
    fields = describe_differences(job.recipes[0], recipe)
    if fields:
        raise FingerprintMismatchError(
            f"backbone {recipe.backbone!r} with weights {os.fspath(weights or 'random')!r} does "
            f"not give the features of recipe {recipe.fingerprint} ({fields}); pass the weights "
            "that the recipe was made with (--weights FILE)"
        )
    return job


def _as_list(names: str | Sequence[str | None] | None) -> list[str | None]:
    return [names] if names is None or isinstance(names, str) else list(names)


def _load(request: Request, precision: str) -> tuple[Backbone, Preprocessing, tuple[int, ...]]:
    """Return the network, what images are made into, and the sizes of their views."""
    if isinstance(request.backbone, str) and request.transform is None:
        named, preprocessing, sizes = request.choose()
        run = (request.device, precision, request.engine)
        return _load_by_name(named, run), preprocessing, sizes
    net = request.load(precision)
    preprocessing = request.preprocessing_for(net.preprocessing)
    return net, preprocessing, request.sizes(preprocessing)


@functools.lru_cache(maxsize=2)
def _load_by_name(named: Named, run: tuple[str, str, str]) -> Backbone:
    """Load a network, or take the one loaded last where nothing changed.

    A grid search clones its estimators by the hundred; each clone asks for the same network.
    """
    from featx.backbones import load_backbone

    device, precision, engine = run
    return load_backbone(
        named.backbone,
        weights=named.weights,
        preprocessing=named.preprocessing,
        any_size=named.any_size,
        device=device,
        precision=precision,
        engine=engine,
    )
