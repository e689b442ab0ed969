"""What a job is asked for, and the network that it takes."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from featx.errors import ParameterError
from featx.recipe import Decode, Preprocessing

if TYPE_CHECKING:
    from torch import nn

    from featx.backbones import Backbone

__all__ = ["Request"]

MAX_PX = 4096
log = logging.getLogger(__name__)


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

    def load(self, precision: str) -> tuple[Backbone, Preprocessing, tuple[int, ...]]:
        """Load the network, or take one that is loaded already.

        Returns
        -------
        backbone : Backbone
        preprocessing : Preprocessing
            What images are made into.
        sizes : tuple of int
            Sides of the views in pixels, each once, the plain view's first; none where images
            keep their sizes or a transform makes them.
        """
        if not isinstance(self.backbone, str) or self.transform is not None:
            net = self._load_own(precision)
            preprocessing = self._of(net.preprocessing)
            return net, preprocessing, self._sizes(preprocessing)
        from featx.backbones import choose_weights

        chosen = choose_weights(self.backbone, self.weights)
        native = chosen.preprocessing
        preprocessing = self._of(native)
        sizes = self._sizes(preprocessing)
        asked = dataclasses.replace(
            preprocessing,
            resize_px=native.resize_px, crop_px=native.crop_px, decode=native.decode,
        )  # fmt: skip
        weights = self.weights if chosen.path is None else os.fspath(chosen.path)
        net = _load_by_name(
            self.backbone,
            None if weights is None else os.fspath(weights),
            0 if chosen.path is None else chosen.path.stat().st_mtime_ns,
            None if asked == native else asked,
            bool(sizes) and sizes != (native.crop_px,),
            (self.device, precision, self.engine),
        )
        return net, preprocessing, sizes

    def _load_own(self, precision: str) -> Backbone:
        from featx.backbones import load_backbone

        return load_backbone(
            self.backbone,
            weights=self.weights,
            transform=self.transform,
            device=self.device,
            precision=precision,
            engine=self.engine,
        )

    def _of(self, given: Preprocessing) -> Preprocessing:
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

    def _sizes(self, preprocessing: Preprocessing) -> tuple[int, ...]:
        from featx.images import ImagePreprocessor

        # which refuses what it cannot do
        scales = ImagePreprocessor(preprocessing, self.augment).scales
        if preprocessing.transform is not None:
            return ()
        return tuple(dict.fromkeys(s.crop_px for s in scales if s.crop_px is not None))


@functools.cache
def _warn_of_border(resize_px: int | None, crop_px: int | None, *, is_asked: bool) -> None:
    if is_asked and resize_px is not None and crop_px is not None and resize_px < crop_px:
        log.warning(
            "resize_px %d is less than crop_px %d: the rest of each view is black; set crop_px "
            "(--crop) too",
            resize_px,
            crop_px,
        )


@functools.lru_cache(maxsize=2)
def _load_by_name(
    backbone: str,
    weights: str | None,
    stamp: int,
    preprocessing: Preprocessing | None,
    any_size: bool,
    run: tuple[str, str, str],
) -> Backbone:
    """Load a network, or take the one loaded last where nothing changed.

    A grid search clones its estimators by the hundred; each clone asks for the same network.
    """
    from featx.backbones import load_backbone

    device, precision, engine = run
    return load_backbone(
        backbone,
        weights=weights,
        preprocessing=preprocessing,
        any_size=any_size,
        device=device,
        precision=precision,
        engine=engine,
    )
