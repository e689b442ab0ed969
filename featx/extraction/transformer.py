"""`FeatureExtractor`: a pretrained network as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from featx._repr import OneLine
from featx.errors import ImageDecodeError, ParameterError, choose
from featx.extraction.embed import embed_images
from featx.extraction.encoder import DEFAULT_BACKBONE, Encoder
from featx.extraction.into_store import fill_store
from featx.extraction.notes import list_recipes
from featx.extraction.options import RunOptions
from featx.images import ImageManifest
from featx.images.inputs import as_sources
from featx.recipe import Recipe
from featx.store import open_store

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FeatureExtractor"]

ON_ERROR = ("raise", "nan")
OF_ENCODER = ("backbone", "weights", "augment", "resize_px", "crop_px", "decode", "precision")
OF_RUN = ("device", "engine", "batch_size", "workers", "max_pixels", "progress")


class FeatureExtractor(OneLine, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn images into feature vectors of a pretrained network.

    There is nothing to fit: the network is loaded at the first `transform`, and shared by all
    clones in a process.

    Parameters
    ----------
    backbone : str or nn.Module, default "featx_base"
        A name from `featx.list_backbones`, or a network of your own.
    weights : str, path or None, default "default"
        As for `featx.extract`.
    layer, pooling : str, optional
        As for `featx.extract`; one of each.
    augment : str, default "none"
        "hflip", "multi-scale", "ten-crop", "sixteen-view" or "patches(L)", averaged, or
        concatenated with ":keep".
    resize_px, crop_px : int, optional
        As for `featx.extract`.
    decode : {"reduced", "full"}, default "reduced"
        Whether a large JPEG may be shrunk while it is decoded.
    device, precision, engine : str, default "auto"
        As for `featx.extract`.
    image_transform : callable, optional
        PIL image to float tensor (3, H, W), for a network of your own.
    max_pixels : int, optional
        As for `featx.extract`.
    cache : path, optional
        A store that keeps every vector. With it a grid search over what comes after runs the
        network once per image, in however many processes; without it, at every `transform`.
    cached_layers, cached_poolings : sequence of str, optional
        Further layers and poolings to put into the cache in the same pass, so that a search over
        `layer` and `pooling` runs the network once per image too. Each pair costs its vectors'
        bytes on disk.
    batch_size : int, optional
        Images a forward pass: 32 on a CPU, 256 on a GPU, where it is halved until its memory takes
        it. More costs memory and seldom gains beyond 64 on a CPU.
    workers : int, optional
        Reader processes; default one per core for 64 files and more, else 0.
    on_error : {"raise", "nan"}, default "raise"
        What an image that cannot be read becomes: an error, or a row of NaN.
    progress : bool, optional
        Default: a bar on a terminal, else a line every 10 s. False is silent.

    Examples
    --------
    >>> from featx import FeatureExtractor
    >>> images = np.zeros((2, 64, 64, 3), np.uint8)
    >>> FeatureExtractor("resnet18", weights=None).transform(images).shape
    (2, 512)
    """

    def __init__(
        self,
        backbone: str | nn.Module = DEFAULT_BACKBONE,
        *,
        weights: str | os.PathLike[str] | None = "default",
        layer: str | None = None,
        pooling: str | None = None,
        augment: str = "none",
        resize_px: int | None = None,
        crop_px: int | None = None,
        decode: str = "reduced",
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
        image_transform: Callable[[Any], Any] | None = None,
        max_pixels: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        cached_layers: Sequence[str] | None = None,
        cached_poolings: Sequence[str] | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        on_error: str = "raise",
        progress: bool | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.augment = augment
        self.resize_px = resize_px
        self.crop_px = crop_px
        self.decode = decode
        self.device = device
        self.precision = precision
        self.engine = engine
        self.image_transform = image_transform
        self.max_pixels = max_pixels
        self.cache = cache
        self.cached_layers = cached_layers
        self.cached_poolings = cached_poolings
        self.batch_size = batch_size
        self.workers = workers
        self.on_error = on_error
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> Self:
        """Do nothing: the network is trained already.

        Parameters
        ----------
        X : Any
            Ignored.
        y : Any
            Ignored.
        """
        choose("on_error", self.on_error, ON_ERROR)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return a vector for each image.

        Parameters
        ----------
        X : path, PIL.Image.Image, ndarray, torch.Tensor, data frame, or a sequence of these
            Paths (also as an array, a data frame's column, or a data frame with a column "path");
            uint8 arrays (n, h, w, 3); tensors (n, 3, h, w), uint8 or float in [0, 1].

        Returns
        -------
        ndarray of shape (n_images, n_features), float32

        Raises
        ------
        ImageDecodeError
            If an image cannot be read and `on_error` is "raise"; it names the first one.
        ParameterError, BackboneError, WeightsError
            As for `featx.extract`.
        """
        choose("on_error", self.on_error, ON_ERROR)
        sources = as_sources(X)
        if not sources:
            raise ParameterError("X: got no images, expected at least one")
        images, places = ImageManifest.from_images(sources)
        vectors = self._compute(images) if self.cache is None else self._look_up(images)
        return vectors[places]

    @property
    def recipe(self) -> Recipe:
        """What the vectors are made with; loads the network."""
        known = () if self.cache is None else list_recipes(self.cache)
        return self._encoder(with_cached=False).load(self._run, known=known).recipes[0]

    @property
    def _n_features_out(self) -> int:
        return self.recipe.n_features

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _encoder(self, *, with_cached: bool) -> Encoder:
        layers, poolings = [self.layer], [self.pooling]
        if with_cached:
            layers += [x for x in self.cached_layers or () if x != self.layer]
            poolings += [x for x in self.cached_poolings or () if x != self.pooling]
        shared = {name: getattr(self, name) for name in OF_ENCODER}
        return Encoder(**shared, layers=layers, poolings=poolings, transform=self.image_transform)

    @property
    def _run(self) -> RunOptions:
        return RunOptions(**{name: getattr(self, name) for name in OF_RUN})

    def _compute(self, images: ImageManifest) -> NDArray[np.float32]:
        loaded = self._encoder(with_cached=False).load(self._run)
        found = embed_images(loaded, images.look_up_urls().sources)
        if found.failures and self.on_error == "raise":
            position, reason = found.failures[0]
            raise _unreadable_error(images.paths[position], reason, len(found.failures))
        vectors = np.full((len(images.paths), found.features.shape[1]), np.nan, np.float32)
        vectors[found.good] = found.features
        return vectors

    def _look_up(self, images: ImageManifest) -> NDArray[np.float32]:
        assert self.cache is not None
        summary = fill_store(
            images, self.cache, self._encoder(with_cached=True), self._run, lock_timeout_s=-1
        )
        if summary.interrupted:
            raise KeyboardInterrupt
        with open_store(self.cache, table=summary.fingerprint) as store:
            row = {path: i for i, path in enumerate(store.paths.tolist())}
            bad = {failure.path: failure.reason for failure in store.failures}
            failed = [name for name in images.paths if name in bad]
            if failed and self.on_error == "raise":
                raise _unreadable_error(failed[0], bad[failed[0]], len(failed))
            good = [i for i, name in enumerate(images.paths) if name not in bad]
            vectors = np.full((len(images.paths), store.n_features), np.nan, np.float32)
            vectors[good] = store[[row[images.paths[i]] for i in good]]
        return vectors


def _unreadable_error(name: str, reason: str, n: int) -> ImageDecodeError:
    return ImageDecodeError(
        f"image {name!r}: {reason} ({n} such images in all); remove or replace them, or pass "
        "on_error='nan' to get rows of NaN"
    )
