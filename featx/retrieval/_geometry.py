"""Whether two pictures show one thing: local features match, and lie as one transform has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require

__all__ = ["Agreement", "LocalFeatures", "agreement"]

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]

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


def agreement(query: LocalFeatures, other: LocalFeatures, tolerance: float) -> Agreement:
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
    mine, theirs, cosines = _mutual(query.vectors, other.vectors)
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


def _mutual(a: Floats, b: Floats) -> tuple[Rows, Rows, Floats]:
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
