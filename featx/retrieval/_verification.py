"""`SpatialVerification`: candidates in the order of what they show in the same places."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from featx._repr import OneLine
from featx.errors import ImageDecodeError, ParameterError, require_count
from featx.retrieval._instances import InstanceIndex
from featx.retrieval.ranking import Ranking, RankingInput, reorder

__all__ = ["SpatialVerification"]


@dataclass(frozen=True, repr=False)
class SpatialVerification(OneLine):
    """Compare the query's image with the first candidates' images by their local features.

    Finds one object (a cover, a building, a product) in other pictures of it, where it is among
    the candidates: an `InstanceIndex` finds it among all. Does not help to find objects of a kind.
    Needs the images: queries are images, and the index's ids their paths.

    Parameters
    ----------
    n_candidates : int, default 100
        First rows of the plain ranking whose images are compared; the rest follow in their order.
    n_recent : int, default 2000
        Images whose local features are kept in memory: 70 kB each.
    instances : InstanceIndex, optional
        Keeps local features of the images, under the same ids. Default: they are read from the
        images when these are candidates, at about 0.02 s each.

    Notes
    -----
    As `InstanceIndex`, among the candidates alone. A candidate that does not agree has distance
    1; the rest are above 1.

    Examples
    --------
    >>> from featx.retrieval import SpatialVerification
    >>> SpatialVerification(n_candidates=50)
    SpatialVerification(n_candidates=50, n_recent=2000, instances=None)
    """

    n_candidates: int = 100
    n_recent: int = 2000
    instances: InstanceIndex | None = None

    def rank(self, given: RankingInput) -> Ranking:
        """Return the ranking with the first candidates in their new order."""
        for name in ("n_candidates", "n_recent"):
            require_count(name, getattr(self, name))
        images = _require_images(given)
        kept = given.learned.setdefault(self, _Kept(self.n_candidates, self.n_recent))
        found = given.nearest(max(given.k, self.n_candidates))
        candidates = found.rows[:, : self.n_candidates]
        inliers = np.empty(candidates.shape, np.intp)
        distances = np.empty(candidates.shape, np.float32)
        for i, (image, rows) in enumerate(zip(images, candidates, strict=True)):
            ids = given.ids[rows].tolist()
            index = kept.hold(ids) if self.instances is None else self.instances
            inliers[i], distances[i] = _compare(index, image, ids)
        return reorder(found, distances, inliers).first(given.k)


class _Kept:
    """Local features of images that were candidates, and are read again where a file changed."""

    def __init__(self, n_candidates: int, n_recent: int) -> None:
        self._options = n_candidates, n_recent
        self._index: InstanceIndex | None = None
        self._states: dict[str, Any] = {}
        self._lock = Lock()

    def __reduce__(self) -> Any:
        return _Kept, self._options

    def hold(self, paths: Sequence[str]) -> InstanceIndex:
        """Return an index that has the images, of which those that cannot be read are missing.

        Raises
        ------
        ImageDecodeError
            If it would have none at all.
        """
        n_candidates, n_recent = self._options
        with self._lock:
            states = {path: _file_state(path) for path in paths}
            new = [path for path in paths if self._states.get(path) != states[path]]
            index = self._index
            if index is None or index.n_samples_fit_ + len(new) > max(n_recent, len(paths)):
                self._states, new = {}, list(paths)
                index = InstanceIndex(n_candidates=n_candidates).fit(new)
            elif new:
                there = set(index.ids_.tolist())
                index.remove([path for path in new if path in there])
                _add(index, new)
            there = set(index.ids_.tolist())
            self._states |= {path: states[path] for path in new if path in there}
            self._index = index
            return index


def _add(index: InstanceIndex, paths: Sequence[str]) -> None:
    try:
        index.add(paths)
    except ImageDecodeError:  # of all: they are missing, and counted
        return


def _file_state(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - surrogate escapes included
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _compare(
    index: InstanceIndex, image: Any, ids: Sequence[str]
) -> tuple[list[int], list[float]]:
    """Return inliers and distance of each candidate; of those not in the index -1 and 1."""
    known = set(index.ids_.tolist())
    there = [name for name in ids if name in known]
    gone = [name for name in ids if name not in known]
    if gone:
        warnings.warn(
            f"spatial verification: {len(gone)} of {len(ids)} candidates could not be read, or "
            f"have no local features, such as {gone[0]!r}, and are ranked after verified ones; "
            "put them back, or remove them from the index",
            UserWarning,
            stacklevel=7,
        )
    if not there:
        return [-1] * len(ids), [1.0] * len(ids)
    matches = index.query(image, k=len(there), filter={"id": there})
    assert matches.inliers is not None
    distances = np.minimum(matches.distances, 1).tolist()
    compared = dict(
        zip(
            matches.ids.tolist(),
            zip(matches.inliers.tolist(), distances, strict=True),
            strict=True,
        )
    )
    found = [compared.get(name, (-1, 1.0)) for name in ids]
    return [inliers for inliers, _ in found], [distance for _, distance in found]


def _require_images(given: RankingInput) -> tuple[Any, ...]:
    if given.images is None:
        raise ParameterError(
            "rerank 'spatial': got vectors as queries, expected images, whose local features are "
            "compared; give the images themselves, or beside the vectors with images=..."
        )
    if given.ids.dtype.kind != "U":
        raise ParameterError(
            f"rerank 'spatial': the index's ids are {given.ids.dtype}, expected paths of images; "
            "fit the index on a feature store, or with ids=paths"
        )
    return given.images
