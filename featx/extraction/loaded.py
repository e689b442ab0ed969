"""A loaded encoder: one network, what to read from it, and how to run it."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx._repr import OneLine
from featx.extraction.options import RunOptions
from featx.extraction.specs import FeatureSpec
from featx.images import ImageManifest, ImagePreprocessor, sample_data_dir
from featx.images.augmentation import Augmentation
from featx.images.decode import DEFAULT_MAX_PIXELS
from featx.images.loader import ImageBatch, default_workers, iter_batches
from featx.images.preprocess import TransformPreprocessor
from featx.recipe import Recipe

if TYPE_CHECKING:
    from featx.backbones import Backbone
    from featx.engines.chosen import EngineChoice
    from featx.pooling import Pooling

__all__ = ["LoadedEncoder"]

BATCH_SIZE = 32
# On a small batch a GPU mostly waits for its kernels to be started.
GPU_BATCH_SIZE = 256
# On 16 cores an H200 got 8 to 13 % more images per second from 14 readers than from 16.
CORES_TO_FEED_A_GPU = 8
EVERY_SAMPLE = 3  # of 432: 36 to measure with, 108 to calibrate
TRIAL_PX = 256


@dataclass(frozen=True, repr=False)
class LoadedEncoder(OneLine):
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
    run : RunOptions
        How it is run.
    precision_reason : str
        Why the network computes in the precision that it does.
    """

    backbone: Backbone
    specs: tuple[FeatureSpec, ...]
    recipes: tuple[Recipe, ...] = field(repr=False)
    made_with: dict[str, Any] = field(repr=False)
    run: RunOptions
    precision_reason: str = "as asked for"

    def preprocessor(self) -> ImagePreprocessor | TransformPreprocessor:
        """Return the callable that turns a decoded image into the network's views."""
        most = self.run.max_pixels or DEFAULT_MAX_PIXELS
        if self.backbone.transform is not None:
            return TransformPreprocessor(self.backbone.transform, most)
        recipe = self.recipes[0]
        return ImagePreprocessor(recipe.preprocessing, recipe.augment, most)

    @property
    def batch_size(self) -> int:
        """How many images go through the network at once.

        By default 32 on a processor and 256 on a GPU, where batches are halved if its memory does
        not take them.
        """
        if self.run.batch_size is not None:
            return self.run.batch_size
        return GPU_BATCH_SIZE if self._has_gpu else BATCH_SIZE

    def workers(self, sources: Sequence[Any]) -> int:
        """Return how many processes read the images.

        By default `featx.images.loader.default_workers`; beside a GPU, which is fed from this
        process, one less for every eight cores.
        """
        if self.run.workers is not None:
            return self.run.workers
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

        They depend on the network and the shape alone, so that two encoders that share
        the network, and differ in how they resize, get the same graph whichever comes first.
        """
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

    def read(self, sources: Sequence[Any], *, engine: str) -> Iterator[ImageBatch]:
        """Read images as views for the network, batch by batch in input order.

        Parameters
        ----------
        sources : sequence
            As for `embed`.
        engine : {"torch", "compile", "openvino"}
            What the views are for.

        Yields
        ------
        ImageBatch
        """
        return iter_batches(
            sources,
            self.preprocessor(),
            batch_size=self.batch_size,
            workers=self.workers(sources),
            empty=functools.partial(self.backbone.empty, engine=engine),
        )

    def embed(
        self,
        sources: Sequence[Any],
        *,
        pad: bool = False,
        engine: str | None = None,
        views_of: Callable[[ImageBatch], Sequence[NDArray[Any]]] = operator.attrgetter("views"),
    ) -> Iterator[tuple[ImageBatch, list[NDArray[np.float32]]]]:
        """Read images and run the network, batch by batch in input order.

        Parameters
        ----------
        sources : sequence
            As `featx.images.inputs.as_sources` gives them.
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
        pad_to = self.batch_size if pad else None
        batches = self.read(sources, engine=engine)
        nothing = [np.empty((0, recipe.n_features), np.float32) for recipe in self.recipes]
        for batch, features in self.backbone.stream(
            ((batch, views_of(batch)) for batch in batches),
            self._reads,
            keep_views=self._keeps_views,
            pad_to=pad_to,
            engine=engine,
        ):
            yield batch, features or nothing

    def embed_views(self, images: Sequence[Sequence[NDArray[Any]]]) -> NDArray[np.float32]:
        """Run the network over images that are decoded already, those of one size at once.

        Parameters
        ----------
        images : sequence of sequence of ndarray
            Of each image what `preprocessor` made of it.

        Returns
        -------
        ndarray of shape (n_images, n_features), float32
            Several layers and poolings side by side. May hold numbers that are not finite.
        """
        by_shape: dict[tuple[Any, ...], list[int]] = {}
        for i, views in enumerate(images):
            by_shape.setdefault(tuple(view.shape for view in views), []).append(i)
        n_features = sum(recipe.n_features for recipe in self.recipes)
        vectors = np.empty((len(images), n_features), np.float32)
        for rows in by_shape.values():
            stacked = [np.stack(view) for view in zip(*(images[i] for i in rows), strict=True)]
            found = self.backbone.features(stacked, self._reads, keep_views=self._keeps_views)
            vectors[rows] = np.concatenate(found, axis=1)
        return vectors

    @property
    def _reads(self) -> list[tuple[str, Pooling]]:
        return [(spec.layer, spec.pooling) for spec in self.specs]

    @property
    def _keeps_views(self) -> bool:
        return Augmentation.parse(self.recipes[0].augment).keeps_views
