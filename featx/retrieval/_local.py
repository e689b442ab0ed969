"""Local features of images: a map's positions, whitened, read on demand and kept for a while."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._arrays import scale_to_unit
from featx.errors import ImageDecodeError
from featx.retrieval._geometry import LocalFeatures

__all__ = ["LocalReader", "learn_reader"]

Floats = NDArray[np.float32]
N_VECTORS = 20_000  # the whitening is learned from


class Recent:
    """The last so many things that were asked for; empty again in a pickle."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[Any, LocalFeatures] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> Any:
        return Recent, (self.size,)

    def get(self, key: Any) -> LocalFeatures | None:
        """Return what was kept, and keep it longer."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Any, value: LocalFeatures) -> None:
        """Keep, and let go of what was not asked for longest."""
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)


@dataclass(frozen=True)
class LocalReader:
    """Makes local features of images.

    Parameters
    ----------
    layer : str
        Whose map is read.
    side_px : int
        Images are stretched to a square of this side.
    mean : ndarray of shape (n_channels,), float32
    projection : ndarray of shape (n_channels, d), float32
        Axes, each divided by its standard deviation to the whitening's power.
    recent : Recent
        What was read last, by path, size and modification time.
    """

    layer: str
    side_px: int
    mean: Floats
    projection: Floats
    recent: Recent = field(compare=False)

    def read(self, backbone: Any, images: Sequence[Any]) -> list[LocalFeatures | str]:
        """Return the local features of each image, or why it could not be read."""
        keys = [_key(image) for image in images]
        found: list[LocalFeatures | str | None] = [
            None if key is None else self.recent.get(key) for key in keys
        ]
        missing = [i for i, one in enumerate(found) if one is None]
        reads = _maps(backbone, [images[i] for i in missing], self.layer, self.side_px)
        for i, one in zip(missing, reads, strict=True):
            if one.map is None:
                found[i] = one.error
                continue
            found[i] = features = self._features(one.map)
            if keys[i] is not None:
                self.recent.put(keys[i], features)
        return [one for one in found if one is not None]

    def _features(self, feature_map: Floats) -> LocalFeatures:
        _, height, width = feature_map.shape
        centred: Floats = np.subtract(_positions(feature_map), self.mean)
        vectors: Floats = np.matmul(centred, self.projection)
        y, x = np.mgrid[:height, :width]
        points = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1)
        return LocalFeatures(scale_to_unit(vectors), points.reshape(-1, 2).astype(np.float32))


def learn_reader(
    backbone: Any,
    images: Sequence[Any],
    *,
    layer: str | None,
    side_px: int,
    n_components: int,
    power: float,
    n_recent: int,
    rng: np.random.Generator,
) -> LocalReader:
    """Learn the whitening from some positions of each image.

    Raises
    ------
    ImageDecodeError
        If none of the images can be read.
    """
    from featx.extraction import local_layer

    layer = layer or local_layer(backbone)
    each = -(-N_VECTORS // max(len(images), 1))
    parts, error = [], "none were given"
    for read in _maps(backbone, images, layer, side_px):
        if read.map is None:
            error = read.error
            continue
        vectors = _positions(read.map)
        parts.append(rng.permutation(vectors)[:each])
    if not parts:
        raise ImageDecodeError(
            f"spatial verification: none of {len(images)} images of the database could be read "
            f"({error}), expected some to learn the whitening of local features from; put them "
            "where the index's ids say, or fit on other images"
        )
    mean, projection = _whitening(np.concatenate(parts), n_components, power)
    return LocalReader(layer, side_px, mean, projection, Recent(n_recent))


def _maps(backbone: Any, images: Sequence[Any], layer: str, side_px: int) -> Any:
    from featx.extraction import read_maps

    return read_maps(backbone, images, layer, side_px=side_px)


def _positions(feature_map: Floats) -> Floats:
    """Return a map's positions as rows of length 1, row by row of the picture."""
    return scale_to_unit(np.ascontiguousarray(feature_map.reshape(len(feature_map), -1).T))


def _whitening(X: Floats, n_components: int, power: float) -> tuple[Floats, Floats]:
    """Return the mean and the axes of largest variance over their deviations to `power`."""
    mean = X.mean(axis=0, dtype=np.float64)
    centred = X - mean
    variance, axes = np.linalg.eigh(centred.T @ centred / len(X))
    is_kept = variance > variance[-1] * len(variance) * np.finfo(np.float32).eps
    n = max(1, min(n_components, int(is_kept.sum())))
    variance, axes = variance[::-1][:n], axes[:, ::-1][:, :n]
    scale = np.maximum(variance, np.finfo(np.float64).tiny) ** (-power / 2)
    return mean.astype(np.float32), (axes * scale).astype(np.float32)


def _key(image: Any) -> tuple[str, int, int] | None:
    """Name the content of a file; images in memory have no name."""
    if not isinstance(image, str):
        return None
    try:
        status = os.stat(image)  # noqa: PTH116 - surrogate escapes included
    except OSError:
        return None
    return image, status.st_size, status.st_mtime_ns
