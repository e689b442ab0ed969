"""Whether the pairs of two pictures' local features lie as one homography has them, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.retrieval._vectors import Floats

__all__ = ["NO_AGREEMENT", "Agreement", "agree", "clip_region", "find_in_query"]

# How far from its place a feature may lie, as a share of the picture's longer side.
TOLERANCE = 0.01
SIDE = 1000  # in whose units OpenCV is given places: MAGSAC is made for pixels
MAX_TRIALS = 1000
CONFIDENCE = 0.999
# Four pairs make a homography, so that four always agree; so do a few more by chance.
MIN_INLIERS = 8
# What a region of the query may become in the match: 30 times larger or smaller on a side.
MIN_AREA, MAX_AREA = 1e-3, 1e3
CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)


@dataclass(frozen=True)
class Agreement:
    """How far two pictures show the same thing.

    Parameters
    ----------
    inliers : int
        Pairs of local features that one homography explains; 0 where they are no more than chance
        may bring.
    region : ndarray of shape (4, 2), float32
        The corners of the query (top left, top right, bottom right, bottom left), where the match
        has them, as shares of its width and height: beyond 0 to 1 where the query shows more than
        the match. NaN where nothing agrees, or a corner would lie behind the camera.
    share : float
        Share of the query that the match covers; where a corner would lie behind the camera, that
        of the box around the features that agree.
    """

    inliers: int
    region: Floats
    share: float = 0.0


NO_AGREEMENT = Agreement(0, np.full((4, 2), np.nan, np.float32))


def agree(
    query: Floats, match: Floats, query_px: NDArray[np.int32], match_px: NDArray[np.int32]
) -> Agreement:
    """Find the homography that explains most pairs.

    Parameters
    ----------
    query, match : ndarray of shape (n, 2), float32
        Where the two of each pair are, as shares of the longer side.
    query_px, match_px : ndarray of shape (2,)
        Width and height of the pictures.

    Returns
    -------
    Agreement
        The same at every call: OpenCV seeds its sampling itself.

    Notes
    -----
    MAGSAC++ (Barath et al., CVPR 2020) by OpenCV's `findHomography`. A homography that mirrors the
    agreeing features, or bends the box around them, explains nothing.
    """
    if len(query) < MIN_INLIERS:
        return NO_AGREEMENT
    cv2 = require("cv2", extra="instances", purpose="instance retrieval")
    homography, mask = cv2.findHomography(
        SIDE * query.astype(np.float64),
        SIDE * match.astype(np.float64),
        cv2.USAC_MAGSAC,
        SIDE * TOLERANCE,
        maxIters=MAX_TRIALS,
        confidence=CONFIDENCE,
    )
    if homography is None or mask.sum() < MIN_INLIERS:
        return NO_AGREEMENT
    homography = homography * [[1, 1, 1 / SIDE], [1, 1, 1 / SIDE], [SIDE, SIDE, 1]]
    mine, theirs = query[mask[:, 0] != 0], match[mask[:, 0] != 0]
    inliers = min(_count_places(mine), _count_places(theirs))
    if inliers < MIN_INLIERS or not _is_plausible(homography, mine):
        return NO_AGREEMENT
    region = _project(homography, CORNERS * (query_px / query_px.max()))
    region = (region / (match_px / match_px.max())).astype(np.float32)
    share = abs(_area(clip_region(find_in_query(region))))
    if not share:
        share = float(np.ptp(mine / (query_px / query_px.max()), axis=0).prod())
    return Agreement(inliers, region, share)


def _count_places(points: Floats) -> int:
    """Count points that are not at one place: a corner may have several features."""
    return len(np.unique(np.round(points / TOLERANCE), axis=0))


def _project(homography: NDArray[Any], points: NDArray[Any]) -> NDArray[Any]:
    """Return where points come to lie; NaN for all where the horizon is between them."""
    moved = np.column_stack([points, np.ones(len(points))]) @ homography.T
    weights = moved[:, 2:]
    if not np.isfinite(moved).all() or not ((weights > 0).all() or (weights < 0).all()):
        return np.full(points.shape, np.nan)
    placed: NDArray[Any] = moved[:, :2] / weights
    return placed


def _is_plausible(homography: NDArray[Any], points: Floats) -> bool:
    """Say whether the box around points stays convex, is not mirrored, and keeps some size."""
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    box = _project(homography, low + span * CORNERS)
    sides = np.roll(box, -1, axis=0) - box
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    ratio = _area(box) / max(float(span.prod()), 1e-12)
    return bool((turns > 0).all()) and MIN_AREA < ratio < MAX_AREA


def _area(corners: NDArray[Any]) -> float:
    """Return the area of a polygon, negative where its corners run the other way round."""
    x, y = corners.T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def find_in_query(region: Floats) -> Floats:
    """Return where the match's corners are in the query.

    Parameters
    ----------
    region : ndarray of shape (4, 2), float32
        Where the query's corners are in the match: of `Matches.regions`.

    Returns
    -------
    ndarray of shape (4, 2), float32
        As shares of the query's width and height; NaN where `region` is, or where a corner lies
        behind the camera.

    Examples
    --------
    >>> half = np.array([[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]], np.float32)
    >>> find_in_query(half).tolist()
    [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]
    """
    nothing = np.full((4, 2), np.nan, np.float32)
    if not np.isfinite(region).all():
        return nothing
    rows = []
    for (x, y), (u, v) in zip(region.astype(np.float64), CORNERS, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    try:
        values = np.linalg.solve(np.array(rows), CORNERS.reshape(-1))
    except np.linalg.LinAlgError:
        return nothing
    return _project(np.append(values, 1).reshape(3, 3), CORNERS).astype(np.float32)


def clip_region(region: Any) -> NDArray[np.float64]:
    """Return the part of a convex polygon that lies in a picture, to be drawn over it.

    Parameters
    ----------
    region : array-like of shape (n, 2)
        Corners as shares of the picture's width and height, as those of `Matches.regions`.

    Returns
    -------
    ndarray of shape (n_corners, 2), float64
        From 0 to 1; (0, 2) where nothing of it is in the picture, or a corner is NaN.

    Notes
    -----
    Sutherland and Hodgman, "Reentrant polygon clipping", CACM 1974.

    Examples
    --------
    >>> clip_region([[0.5, 0.25], [2, 0.25], [2, 0.75], [0.5, 0.75]]).tolist()
    [[0.5, 0.25], [1.0, 0.25], [1.0, 0.75], [0.5, 0.75]]
    """
    corners = [] if region is None else np.asarray(region, np.float64).tolist()
    if not np.isfinite(corners).all():
        corners = []
    for axis, bound, sign in ((0, 0, 1), (0, 1, -1), (1, 0, 1), (1, 1, -1)):
        kept = []
        for here, there in zip(corners, corners[1:] + corners[:1], strict=True):
            inside = [sign * (corner[axis] - bound) >= 0 for corner in (here, there)]
            if inside[0]:
                kept.append(here)
            if inside[0] != inside[1]:
                share = (bound - here[axis]) / (there[axis] - here[axis])
                cut = [a + share * (b - a) for a, b in zip(here, there, strict=True)]
                cut[axis] = float(bound)
                kept.append(cut)
        corners = kept
    return np.reshape(corners, (-1, 2)).astype(np.float64)
