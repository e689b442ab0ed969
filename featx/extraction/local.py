"""Maps of a layer for a few images, kept nowhere: local features for spatial verification."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import BackboneError

if TYPE_CHECKING:
    from featx.backbones import Backbone

__all__ = ["MapRead", "local_layer", "read_maps"]

STRIDE_PX = 16
PENULTIMATE = "penultimate"


@dataclass(frozen=True)
class MapRead:
    """What became of one image.

    Parameters
    ----------
    map : ndarray of shape (C, H, W), float32, or None
        None where the image could not be read.
    error : str or None
        Why not.
    """

    map: NDArray[np.float32] | None
    error: str | None = None


def local_layer(backbone: Backbone) -> str:
    """Return the layer whose positions make the best local features.

    That is, of the layers whose map has a stride of 16 px, the one with most channels, and of
    these the deepest: fine enough to say where, deep enough to say what.

    Parameters
    ----------
    backbone : Backbone
        Costs one pass of a blank image at the first call.

    Raises
    ------
    BackboneError
        If there is none in the network's second half, as in a transformer, whose one map is its
        first layer's.

    Examples
    --------
    >>> from featx import load_backbone
    >>> local_layer(load_backbone("mobilenet_v2", weights=None))
    'features.14.conv.0'
    >>> local_layer(load_backbone("resnet18", weights=None))
    'layer3'
    """
    layers = list(backbone.layers.items())
    names = [name for name, _ in layers]
    end = names.index(PENULTIMATE) if PENULTIMATE in names else len(names)
    found = [
        (shape[1], depth)
        for depth, (_, shape) in enumerate(layers[:end])
        if len(shape) == 4
        and 2 * depth >= end
        and abs(math.log2(backbone.trial_px / shape[2] / STRIDE_PX)) < 0.5
    ]
    if not found or backbone.transform is not None:
        raise BackboneError(
            f"backbone {backbone.name!r}: found no layer in its second half that gives a map with "
            f"a stride of {STRIDE_PX} px, expected one to take local features from; name a layer "
            "that gives a map (layer=...), or verify with a convolutional network (backbone=...)"
        )
    return names[max(found)[1]]


def read_maps(
    backbone: Backbone, sources: Sequence[Any], layer: str, *, side_px: int
) -> Iterator[MapRead]:
    """Read images, stretch each to a square, and return a layer's map of each, in input order.

    Parameters
    ----------
    backbone : Backbone
        Without a transform of the user's own.
    sources : sequence
        As `featx.images.inputs.as_sources` gives them.
    layer : str
        One that gives a map.
    side_px : int
        Side of the square, in pixels. Time grows with its square.

    Yields
    ------
    MapRead
        One image goes through the network at a time, so that a map is the same to the last bit
        whatever else is read.

    Raises
    ------
    BackboneError
        If the network has a transform of the user's own, whose size is not ours to choose, or the
        layer gives no map.
    """
    from featx.images import ImagePreprocessor
    from featx.images.loader import iter_batches

    if backbone.transform is not None:
        raise BackboneError(
            f"backbone {backbone.name!r}: has a transform of your own, so that the size of its "
            "input is not known here, expected a network that featx preprocesses images for"
        )
    # One patch that is the whole picture, stretched: nothing is cropped off.
    square = ImagePreprocessor(
        dataclasses.replace(backbone.preprocessing, crop_px=side_px), "patches(1)"
    )
    for batch in iter_batches(sources, square, batch_size=1, workers=0):
        maps = iter(backbone.maps(batch.views[0], layer) if batch.views else ())
        for read in batch.read:
            yield MapRead(next(maps) if read.error is None else None, read.error)
