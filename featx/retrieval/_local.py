"""Local features of images: a map's positions, whitened, and whether two pictures' agree.

Features are read on demand and kept for a while. Two pictures show one object where local features
match and lie as one transform has it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._arrays import scale_to_unit
from featx._optional import require
from featx.errors import ImageDecodeError
from featx.retrieval._vectors import Floats, Rows

if TYPE_CHECKING:
    from featx.retrieval._verification import SpatialVerification

__all__ = ["Agreement", "LocalFeatures", "LocalReader", "learn_reader", "match_features"]

N_VECTORS = 20_000  # the whitening is learned from
MAX_TRIALS = 1000
CONFIDENCE = 0.999
MIN_PAIRS = 4  # three make an affine transform, so that three always agree
# An object that fills one picture and a third of the other's side is still looked for; a transform
# that shrinks everything to a point would make all pairs agree.
MIN_SCALE, MAX_SCALE = 0.3, 8.0


@dataclass(frozen=True)
class LocalFeatures:
    """What the positions of one picture's map show.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), float32
        Of length 1.
    points : ndarray of shape (n, 2), float32
        x and y of their centres, from 0 to 1 across the picture.
    """

    vectors: Floats
    points: Floats


@dataclass(frozen=True)
class Agreement:
    """How far two pictures agree.

    Parameters
    ----------
    score : float
        Sum of the cosines of the pairs that agree; 0 where no transform was found.
    inliers : int
        Number of these pairs.
    """

    score: float
    inliers: int


class Recent:
    """The local features that were asked for last; empty again in a pickle."""

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


@dataclass(frozen=True, eq=False)
class LocalReader:
    """Makes local features of images.

    Parameters
    ----------
    layer : str
        Whose map is read.
    side_px : int
        Images are stretched to a square of this side.
    made_with : (str, str)
        Name and weights' digest of the network.
    mean : ndarray of shape (n_channels,), float32
    projection : ndarray of shape (n_channels, d), float32
        Axes, each divided by its standard deviation to the whitening's power.
    recent : Recent
        What was read last, by path, size and modification time.
    """

    layer: str
    side_px: int
    made_with: tuple[str, str]
    mean: Floats
    projection: Floats
    recent: Recent

    def read(self, backbone: Any, images: Sequence[Any]) -> list[LocalFeatures | str]:
        """Return the local features of each image, or why it could not be read."""
        from featx.extraction.local import read_maps

        keys = [_file_key(image) for image in images]
        found: list[LocalFeatures | str | None] = [
            None if key is None else self.recent.get(key) for key in keys
        ]
        missing = [i for i, one in enumerate(found) if one is None]
        reads = read_maps(backbone, [images[i] for i in missing], self.layer, side_px=self.side_px)
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
        centred: Floats = np.subtract(_list_positions(feature_map), self.mean)
        vectors: Floats = np.matmul(centred, self.projection)
        y, x = np.mgrid[:height, :width]
        points = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1)
        return LocalFeatures(scale_to_unit(vectors), points.reshape(-1, 2).astype(np.float32))


def learn_reader(
    spec: SpatialVerification, backbone: Any, images: Sequence[Any], rng: np.random.Generator
) -> LocalReader:
    """Learn the whitening from some positions of each image.

    Raises
    ------
    ImageDecodeError
        If none of the images can be read.
    """
    from featx.extraction.local import local_layer, read_maps

    layer = spec.layer or local_layer(backbone)
    each = -(-N_VECTORS // max(len(images), 1))
    parts: list[Floats] = []
    error: str | None = "none were given"
    for read in read_maps(backbone, images, layer, side_px=spec.side_px):
        if read.map is None:
            error = read.error
            continue
        vectors = _list_positions(read.map)
        parts.append(rng.permutation(vectors)[:each])
    if not parts:
        raise ImageDecodeError(
            f"spatial verification: none of {len(images)} images of the database could be read "
            f"({error}), expected some to learn the whitening of local features from; put them "
            "where the index's ids say, or fit on other images"
        )
    mean, projection = _learn_whitening(np.concatenate(parts), spec.n_components, spec.power)
    return LocalReader(
        layer=layer,
        side_px=spec.side_px,
        made_with=(backbone.name, backbone.weights),
        mean=mean,
        projection=projection,
        recent=Recent(spec.n_recent),
    )


def _list_positions(feature_map: Floats) -> Floats:
    """Return a map's positions as rows of length 1, row by row of the picture."""
    return scale_to_unit(np.ascontiguousarray(feature_map.reshape(len(feature_map), -1).T))


def _learn_whitening(X: Floats, n_components: int, power: float) -> tuple[Floats, Floats]:
    """Return the mean and the axes of largest variance over their deviations to `power`."""
    mean = X.mean(axis=0, dtype=np.float64)
    centred = X - mean
    variance, axes = np.linalg.eigh(centred.T @ centred / len(X))
    is_kept = variance > variance[-1] * len(variance) * np.finfo(np.float32).eps
    n = max(1, min(n_components, int(is_kept.sum())))
    variance, axes = variance[::-1][:n], axes[:, ::-1][:, :n]
    scale = np.maximum(variance, np.finfo(np.float64).tiny) ** (-power / 2)
    return mean.astype(np.float32), (axes * scale).astype(np.float32)


def _file_key(image: Any) -> tuple[str, int, int] | None:
    """Name the content of a file; images in memory have no name."""
    if not isinstance(image, str):
        return None
    try:
        status = os.stat(image)  # noqa: PTH116 - surrogate escapes included
    except OSError:
        return None
    return image, status.st_size, status.st_mtime_ns


def match_features(query: LocalFeatures, other: LocalFeatures, tolerance: float) -> Agreement:
    """Match two pictures' local features and count those that one affine transform explains.

    Parameters
    ----------
    query, other : LocalFeatures
        The transform maps the query's points to the other's.
    tolerance : float
        Distance from where the transform puts a point at which the pair still agrees, as a share
        of the side.

    Returns
    -------
    Agreement
        The same at every call: OpenCV seeds its sampling itself.

    Notes
    -----
    Mutual nearest neighbours by cosine; then RANSAC (Fischler and Bolles 1981) by OpenCV's
    `estimateAffine2D`. An affine transform, as both pictures were stretched to a square. One that
    mirrors, or scales by less than 0.3 or more than 8, explains nothing. O(n**2 * d) time, n**2
    float32.
    """
    mine, theirs, cosines = _pair_mutually(query.vectors, other.vectors)
    if len(mine) < MIN_PAIRS:
        return Agreement(0.0, 0)
    cv2 = require("cv2", extra="spatial", purpose="spatial verification")
    transform, mask = cv2.estimateAffine2D(
        query.points[mine],
        other.points[theirs],
        method=cv2.RANSAC,
        ransacReprojThreshold=tolerance,
        maxIters=MAX_TRIALS,
        confidence=CONFIDENCE,
        refineIters=0,
    )
    if transform is None or not _is_plausible(transform[:, :2]):
        return Agreement(0.0, 0)
    agree = mask[:, 0] != 0
    return Agreement(float(cosines[agree].sum()), int(agree.sum()))


def _pair_mutually(a: Floats, b: Floats) -> tuple[Rows, Rows, Floats]:
    """Return the rows of the pairs that are nearest from both sides, and their cosines above 0."""
    cosines = a @ b.T
    forth, back = cosines.argmax(axis=1), cosines.argmax(axis=0)
    mine = np.flatnonzero(back[forth] == np.arange(len(a)))
    theirs = forth[mine]
    return mine, theirs, np.maximum(cosines[mine, theirs], 0)


def _is_plausible(linear: NDArray[Any]) -> bool:
    scales = np.linalg.svd(linear, compute_uv=False)
    is_upright = np.linalg.det(linear) > 0
    return bool(is_upright and scales.min() >= MIN_SCALE and scales.max() <= MAX_SCALE)
