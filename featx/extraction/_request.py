"""What a job is asked for, and which network that takes."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from featx.errors import ParameterError
from featx.recipe import Decode, Preprocessing

if TYPE_CHECKING:
    from torch import nn

    from featx.backbones import Backbone

__all__ = ["Named", "Request"]

MAX_PX = 4096
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Named:
    """What tells one loaded network by name from another, but for how it is run.

    Parameters
    ----------
    backbone, weights
        As for `load_backbone`.
    stamp : int
        Modification time of a weights file.
    preprocessing : Preprocessing or None
        Where it normalises otherwise than its weights ask for.
    any_size : bool
        Whether it is to take images of other sizes than its weights ask for.
    """

    backbone: str
    weights: str | os.PathLike[str] | None
    stamp: int
    preprocessing: Preprocessing | None
    any_size: bool


@dataclass(frozen=True)
class Request:
    """A network and what images are made into for it, without its precision.

    Parameters
    ----------
    backbone, weights, augment, resize_px, crop_px, decode, device, engine, transform
        As for `featx.extract`.
    preprocessing : Preprocessing or None
        Of a recipe, which then stands in for the sizes and what the weights ask for.
    """

    backbone: str | nn.Module
    weights: str | os.PathLike[str] | None
    augment: str
    resize_px: int | None
    crop_px: int | None
    decode: str
    device: str
    engine: str
    transform: Callable[[Any], Any] | None
    preprocessing: Preprocessing | None

    def choose(self) -> tuple[Named, Preprocessing, tuple[int, ...]]:
        """Find out, for a network by name, what to load and what images are made into.

        Returns
        -------
        named : Named
        preprocessing : Preprocessing
        sizes : tuple of int
            As `sizes` gives them.
        """
        assert isinstance(self.backbone, str)
        from featx.backbones import choose_weights

        chosen = choose_weights(self.backbone, self.weights)
        native = chosen.preprocessing
        preprocessing = self.preprocessing_for(native)
        sizes = self.sizes(preprocessing)
        asked = dataclasses.replace(
            preprocessing,
            resize_px=native.resize_px, crop_px=native.crop_px, decode=native.decode,
        )  # fmt: skip
        named = Named(
            backbone=self.backbone,
            weights=self.weights if chosen.path is None else os.fspath(chosen.path),
            stamp=0 if chosen.path is None else chosen.path.stat().st_mtime_ns,
            preprocessing=None if asked == native else asked,
            any_size=bool(sizes) and sizes != (native.crop_px,),
        )
        return named, preprocessing, sizes

    def load(self, precision: str) -> Backbone:
        """Load the network anew, as one of your own is."""
        from featx.backbones import load_backbone

        return load_backbone(
            self.backbone,
            weights=self.weights,
            transform=self.transform,
            device=self.device,
            precision=precision,
            engine=self.engine,
        )

    def preprocessing_for(self, given: Preprocessing) -> Preprocessing:
        """Apply what was asked for to what the weights ask for."""
        if self.preprocessing is not None:
            return self.preprocessing
        sizes = {"resize_px": self.resize_px, "crop_px": self.crop_px}
        asked: dict[str, Any] = {name: v for name, v in sizes.items() if v is not None}
        for name, value in asked.items():
            if not isinstance(value, int) or not 1 <= value <= MAX_PX:
                raise ParameterError(
                    f"{name}: got {value!r}, expected pixels from 1 to {MAX_PX}, or None for what "
                    "the weights ask for"
                )
        if given.transform is None:
            made = dataclasses.replace(given, decode=cast(Decode, self.decode), **asked)
            _warn_of_border(made.resize_px, made.crop_px, is_asked=bool(asked))
            return made
        if self.augment != "none" or asked:
            name, value = next(
                iter(({"augment": self.augment} if self.augment != "none" else asked).items())
            )
            raise ParameterError(
                f"{name}: got {value!r} together with a transform of your own, which makes the "
                f"network's input; expected {'none' if name == 'augment' else None!r}: do it in "
                "the transform, or leave the transform out"
            )
        return given

    def sizes(self, preprocessing: Preprocessing) -> tuple[int, ...]:
        """Return the sides of the views in pixels, each once; none where they differ by image."""
        from featx.images import ImagePreprocessor

        # which refuses what it cannot do
        scales = ImagePreprocessor(preprocessing, self.augment).scales
        if preprocessing.transform is not None:
            return ()
        return tuple(dict.fromkeys(s.crop_px for s in scales if s.crop_px is not None))

    def n_views(self, preprocessing: Preprocessing) -> int:
        """Return the number of views of an image."""
        from featx.images import ImagePreprocessor

        return ImagePreprocessor(preprocessing, self.augment).n_views

    def made_with(self, net: Backbone) -> dict[str, Any]:
        """Return what recipes leave out, for people and for loading the network again."""
        import torch

        path = None if self.weights is None else Path(self.weights)
        is_file = path is not None and path.exists()
        return {
            "device": net.device,
            "weights_source": net.weights_source,
            "weights": os.path.abspath(path) if path and is_file else self.weights,  # noqa: PTH100
            "torch": torch.__version__,
            "torchvision": version("torchvision"),  # an import would take a second
        }


@functools.cache
def _warn_of_border(resize_px: int | None, crop_px: int | None, *, is_asked: bool) -> None:
    if is_asked and resize_px is not None and crop_px is not None and resize_px < crop_px:
        log.warning(
            "resize_px %d is less than crop_px %d: the rest of each view is black; set crop_px "
            "(--crop) too",
            resize_px,
            crop_px,
        )
