"""`Encoder`: everything that is asked of a network, as one value.

It holds no torch object. The network is loaded on first use, and shared by all encoders of a
process that ask for the same one.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from featx._repr import FieldTable
from featx.backbones.names import is_own, split_folder
from featx.errors import (
    BackboneError,
    FingerprintMismatchError,
    ImageDecodeError,
    choose,
)
from featx.extraction import loading
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.options import RunOptions
from featx.images import ImageManifest
from featx.images.inputs import as_sources
from featx.recipe import Decode, Recipe, describe_differences

if TYPE_CHECKING:
    from torch import nn


__all__ = ["DEFAULT_BACKBONE", "Encoder"]

DEFAULT_BACKBONE = "featx_base"


@dataclass(frozen=True, repr=False)
class Encoder(FieldTable):
    """A network, what is read from it, and what images are made into for it.

    Frozen, hashable and picklable, so that it can be a key and travel to other processes. How it
    is run (device, engine, batch size, workers) is not part of it, since that changes no feature.

    Parameters
    ----------
    backbone : str or nn.Module, default "featx_base"
        A name from `featx.list_backbones`, or a network of your own.
    weights : str, path or None, default "default"
        The catalogue's best weights, the name of others, a local ``.pth`` or ``.safetensors``
        file or a folder with one, or None for seeded random ones. A published file gets its own
        preprocessing, whatever it is called.
    layers : str or sequence of str, optional
        Modules by dotted name; default the input of the final classifier ("penultimate"), for a
        network of your own what it returns ("output"). Several layers and poolings come from one
        decode and one forward pass; each pair has a recipe.
    poolings : str or sequence of str, optional
        "avg", "max", "gem(3)", "spoc", "crow", "mac", "rmac", "cls", "cls+avg", "patch",
        "flatten"; default by what the layer gives.
    augment : str, default "none"
        "hflip" (2 views), "multi-scale" (3), "ten-crop" (10), "sixteen-view" (16) or "patches(1)"
        to "patches(6)" (1 to 91), averaged, or concatenated with ":keep". Time grows with the
        number of views.
    resize_px, crop_px : int, optional
        Shorter side after resizing and side of the centre crop, in pixels; default what the
        weights ask for. Time grows with the square of the crop.
    decode : {"reduced", "full"}, default "reduced"
        Whether a large JPEG may be shrunk while it is decoded.
    precision : {"auto", "float32", "bfloat16", "float16", "int8"}, default "auto"
        Auto is that of the table that a store has, if it differs in nothing else and this machine
        can; else bfloat16 where the device computes it natively, else float32.
    transform : callable, optional
        For a network of your own: PIL image to float tensor (3, H, W).
    recipe : Recipe, optional
        What the features must be made with; see `from_recipe`.

    Raises
    ------
    ParameterError
        If `decode` is unknown, or the backbone names a folder and there are other weights. The
        rest is checked when the network is loaded.

    Examples
    --------
    >>> encoder = Encoder("resnet18", weights=None, layers=["layer3", "penultimate"])
    >>> encoder.encode(np.zeros((2, 64, 64, 3), np.uint8)).shape
    (2, 768)
    >>> [recipe.layer for recipe in encoder.recipes]
    ['layer3', 'penultimate']
    """

    backbone: str | nn.Module = DEFAULT_BACKBONE
    _: KW_ONLY
    weights: str | os.PathLike[str] | None = "default"
    layers: str | Sequence[str | None] | None = None
    poolings: str | Sequence[str | None] | None = None
    augment: str = "none"
    resize_px: int | None = None
    crop_px: int | None = None
    decode: str = "reduced"
    precision: str = "auto"
    transform: Callable[[Any], Any] | None = None
    recipe: Recipe | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        choose("decode", self.decode, get_args(Decode))
        if isinstance(self.backbone, str):
            backbone, weights = split_folder(self.backbone, self.weights)
            object.__setattr__(self, "backbone", backbone)
            object.__setattr__(self, "weights", weights)
        weights = None if self.weights is None else os.fspath(self.weights)
        object.__setattr__(self, "weights", weights)
        for name in ("layers", "poolings"):
            object.__setattr__(self, name, _to_tuple(getattr(self, name)))

    @classmethod
    def from_recipe(
        cls, recipe: Recipe, *, weights: str | os.PathLike[str] | None = "default"
    ) -> Self:
        """Return the encoder of features that a store, a model or an index holds.

        Parameters
        ----------
        recipe : Recipe
        weights : str, path or None
            Where the weights are.

        Raises
        ------
        BackboneError
            If the recipe's network is one of the user's own, which only they can build.

        Notes
        -----
        If the weights found are not those of the recipe, loading the network raises a
        `FingerprintMismatchError`.
        """
        if is_own(recipe.backbone) or recipe.preprocessing.transform is not None:
            raise BackboneError(
                f"backbone {recipe.backbone!r} is a module of your own, which featx cannot build "
                "from its name; in Python, extract with it and pass the features instead of the "
                "images"
            )
        return cls(
            recipe.backbone,
            weights=weights,
            layers=recipe.layer,
            poolings=recipe.pooling,
            augment=recipe.augment,
            precision=recipe.precision,
            recipe=recipe,
        )

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """One for each layer and pooling, layers outermost; loads the network."""
        return (self.recipe,) if self.recipe is not None else self.load().recipes

    def encode(
        self,
        images: Any,
        *,
        device: str = "auto",
        engine: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> NDArray[np.float32]:
        """Return a vector for each image.

        Parameters
        ----------
        images : path, PIL.Image.Image, ndarray, torch.Tensor, or a sequence of these
            Paths (also as an array or a data frame's column); uint8 arrays (n, h, w, 3); tensors
            (n, 3, h, w), uint8 or float in [0, 1].
        device, engine, batch_size, workers
            As for `RunOptions`.

        Returns
        -------
        ndarray of shape (n_images, n_features), float32
            Several layers and poolings side by side, in the order of `recipes`.

        Raises
        ------
        ImageDecodeError
            If an image cannot be read; it names the first one.
        ParameterError, BackboneError, WeightsError
            If the network cannot be had or does not fit the request.
        """
        run = RunOptions(device, engine, batch_size, workers)
        names, features, errors = self._encode(images, run)
        bad = [i for i, error in enumerate(errors) if error]
        if bad:
            n_bad = len({names[i] for i in bad})
            raise ImageDecodeError(
                f"image {names[bad[0]]!r}: {errors[bad[0]]} "
                f"({n_bad} such images in all); remove or replace them"
            )
        return features

    def try_encode(
        self,
        images: Any,
        *,
        device: str = "auto",
        engine: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> tuple[NDArray[np.float32], list[str]]:
        """Return a vector for each image, or the reason why it has none.

        For tables of other packages, where a bad image is a row as any other and an exception ends
        the whole job: in the functions of Ray Data, Dask, Spark and Daft.

        Parameters
        ----------
        images, device, engine, batch_size, workers
            As for `encode`. In a worker of such a package, which is one of many processes already,
            ``workers=0`` reads the images in that process.

        Returns
        -------
        features : ndarray of shape (n_images, n_features), float32
            NaN for an image that cannot be read.
        errors : list of str
            The reason for each of these, "" for the others.

        Raises
        ------
        ParameterError, BackboneError, WeightsError
            If the network cannot be had or does not fit the request.

        Examples
        --------
        >>> encoder = Encoder("resnet18", weights=None)
        >>> grey = np.zeros((64, 64, 3), np.uint8)
        >>> features, errors = encoder.try_encode([grey, "missing.jpg"])
        >>> np.isnan(features).any(axis=1).tolist(), errors
        ([False, True], ['', 'No such file'])
        """
        return self._encode(images, RunOptions(device, engine, batch_size, workers))[1:]

    def _encode(
        self, images: Any, run: RunOptions
    ) -> tuple[list[str], NDArray[np.float32], list[str]]:
        """Return the name of each image, its vector, and what is wrong with it."""
        from featx.extraction.embed import embed_images

        sources = as_sources(images)
        loaded = self.load(run)
        n_features = sum(recipe.n_features for recipe in loaded.recipes)
        if not sources:
            return [], np.empty((0, n_features), np.float32), []
        manifest, places = ImageManifest.from_images(sources)
        found = embed_images(loaded, manifest.look_up_urls().sources)
        features = np.full((len(manifest), n_features), np.nan, np.float32)
        features[found.good] = found.features
        reasons = dict(found.failures)
        names = manifest.paths
        return (
            [names[i] for i in places],
            features[places],
            [reasons.get(int(i), "") for i in places],
        )

    def encode_text(self, words: str | Sequence[str]) -> NDArray[np.float32]:
        """Return a vector for words, in the space of the features that `encode` gives.

        Parameters
        ----------
        words : str or sequence of str
            Each as `RetrievalIndex.query` takes `text`, such as "fire engine" or "dog -husky".

        Returns
        -------
        ndarray of shape (n_words, n_features), float32; (n_features,) for one string
            Of length 1: of a text tower what it gives, of a classifier the mean direction of the
            rows of all classes that the words name.

        Raises
        ------
        ParameterError
            If words are not known, with the nearest that are.
        BackboneError
            If the network has no words, or the encoder reads another layer than the one that has.

        Examples
        --------
        >>> encoder = Encoder("featx_base")
        >>> dog, hound, boat = encoder.encode_text(["dog", "hound", "boat"])
        >>> bool(dog @ hound > dog @ boat)
        True
        """
        from featx.extraction.words import ask_words

        if len(self.recipes) != 1:
            raise BackboneError(
                f"text: got an encoder of {len(self.recipes)} layers and poolings, expected one"
            )
        given = [words] if isinstance(words, str) else list(words)
        made_with = {"weights": self.weights}
        asked = [ask_words(each, self.recipes[0], made_with).vectors()[0] for each in given]
        found = np.stack(asked) if asked else np.empty((0, self.recipes[0].n_features), np.float32)
        return found[0] if isinstance(words, str) else found

    def load(
        self, run: RunOptions | None = None, *, known: Sequence[Recipe] = ()
    ) -> LoadedEncoder:
        """Load the network, or take the one loaded last where nothing changed.

        Parameters
        ----------
        run : RunOptions, optional
            How it is to be run.
        known : sequence of Recipe, default ()
            Of tables that exist, the largest first. With precision "auto", those that differ in
            nothing but their precision are continued, if this machine can.

        Returns
        -------
        LoadedEncoder

        Raises
        ------
        FingerprintMismatchError
            If the weights found do not give the features of `recipe`.
        """
        run = run or RunOptions()
        load = functools.partial(loading.prepare, self, run)
        loaded = load(self.precision)
        if self.precision == "auto":
            loaded = loading.follow_tables(loaded, known, load)
        if self.recipe is not None:
            self._require_recipe(loaded.recipes[0], self.recipe)
        return loaded

    def _require_recipe(self, found: Recipe, expected: Recipe) -> None:
        fields = describe_differences(found, expected)
        if fields:
            raise FingerprintMismatchError(
                f"backbone {self.backbone!r} with weights {self.weights or 'random'!r} does not "
                f"give the features of recipe {expected.fingerprint} ({fields}); pass the weights "
                "that the recipe was made with (--weights FILE)"
            )


def _to_tuple(names: str | Sequence[str | None] | None) -> tuple[str | None, ...]:
    if names is None or isinstance(names, str):
        return () if names is None else (names,)
    return tuple(names)
