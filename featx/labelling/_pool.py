"""A pool of images to choose from, and how well the images chosen so far cover it."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._arrays import scale_to_unit

__all__ = ["COPY", "Pool"]

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]

# Their product is the memory that a pool holds, 72 MB, and most of the time of a choice.
N_WITNESSES, N_CANDIDATES = 3_000, 6_000
N_NEAREST = 10
SHARE_OF_WIDTH = 0.5
# Of a likeness: nearer than a tenth of the usual squared distance to a neighbour.
COPY = float(np.exp(-0.1 / SHARE_OF_WIDTH))
BLOCK = 4_096
GAINS_AT_ONCE = 512  # candidates: 6 MB, which a core keeps near itself


class Pool:
    """Images as unit vectors, with the likeness of candidates to a sample of all.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        A row of each image; kept as float32 at unit length.
    random_state : int, default 0
        Draws the samples where there are more than 3,000 or 6,000 images.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features), float32
    witnesses : ndarray of shape (n_witnesses,), intp
        The images by which coverage is measured.

    Notes
    -----
    The likeness of two images is ``exp(-d² / w)``, with d the distance of their unit vectors and w
    half the mean of d² between a witness and its ten nearest. A set of images covers a witness as
    much as the likest of them is like it. The set of n images with the greatest weighted sum of
    coverages is chosen greedily, which comes within 1 - 1/e of the best (Nemhauser, Wolsey and
    Fisher, 1978), and lazily (Minoux, 1978). Holds n_witnesses * n_candidates float32 besides X.
    """

    def __init__(self, features: Any, random_state: int = 0) -> None:
        self.X: Floats = scale_to_unit(np.asarray(features, dtype=np.float32))
        order = np.random.default_rng(random_state).permutation(len(self.X))
        self._order: Rows = order.astype(np.intp)
        self.witnesses: Rows = np.sort(self._order[:N_WITNESSES])
        self._W = self.X[self.witnesses]
        self._width = self._find_width()
        self._candidates: Rows = np.empty(0, np.intp)
        self._likeness: Floats = np.empty((0, len(self.witnesses)), np.float32)
        self._followed: tuple[Rows, Floats, NDArray[np.bool_]] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.X)

    def likeness(self, rows: Rows, others: Floats | None = None) -> Floats:
        """Return the likeness of images to the witnesses, or to other unit vectors, (n, m)."""
        others = self._W if others is None else others
        likeness: Floats = self.X[rows] @ others.T
        likeness -= 1.0
        likeness *= 2.0 / self._width
        np.minimum(likeness, 0.0, out=likeness)
        return np.exp(likeness, out=likeness)

    def coverage(self, rows: Rows) -> Floats:
        """Return how much each witness is covered by some images, (n_witnesses,)."""
        covered = np.zeros(len(self.witnesses), np.float32)
        for start in range(0, len(rows), BLOCK):
            np.maximum(
                covered, self.likeness(rows[start : start + BLOCK]).max(axis=0), out=covered
            )
        return covered

    def count_nearest(self, rows: Rows) -> NDArray[np.float64]:
        """Estimate for how many images of the pool each of some is the nearest, (n_rows,)."""
        nearest = (self._W @ self.X[rows].T).argmax(axis=1)
        counts = np.bincount(nearest, minlength=len(rows)) * (len(self) / len(self.witnesses))
        found: NDArray[np.float64] = np.maximum(counts, 1.0)  # itself
        return found

    def choose(self, n: int, taken: Rows, weights: Floats | None = None) -> Rows:
        """Return the n free images that cover the pool best, best first.

        Parameters
        ----------
        n : int
            Fewer are returned where fewer are free.
        taken : ndarray of shape (n_taken,), intp
            Images that are not to be chosen, and cover already.
        weights : ndarray of shape (n_witnesses,), float32, optional
            How much each witness wants to be covered; default alike.

        Returns
        -------
        ndarray of shape (n,), intp
            Copies of images that are taken or chosen come last.
        """
        weights = np.ones(len(self.witnesses), np.float32) if weights is None else weights
        is_free = np.ones(len(self), bool)
        is_free[taken] = False
        self._load_candidates(is_free, n)
        free = np.flatnonzero(is_free[self._candidates])
        covered, is_copy = self._follow(taken)
        gains = self._gains(free, covered, weights)
        chosen: list[int] = []
        heap = [
            (bool(copy), -float(gain), int(k))
            for k, gain, copy in zip(free, gains, is_copy[free], strict=True)
        ]
        heapq.heapify(heap)
        while heap and len(chosen) < n:
            copy, _, k = heapq.heappop(heap)
            mine = self._likeness[k]
            if not copy and chosen and self._is_copy(k, chosen):
                heapq.heappush(heap, (True, 0.0, k))
                continue
            gain = float(np.maximum(mine - covered, 0) @ weights)
            if heap and (copy, -gain, k) > heap[0]:
                heapq.heappush(heap, (copy, -gain, k))
                continue
            chosen.append(k)
            np.maximum(covered, mine, out=covered)
        return self._candidates[np.array(chosen, np.intp)]

    def drop_copies(self, rows: Rows, n: int) -> Rows:
        """Return the first n images of an order, copies of earlier ones after all others."""
        chosen: list[int] = []
        copies: list[int] = []
        for row in rows.tolist():
            if len(chosen) == n:
                break
            near = chosen and float(self.likeness(np.array([row]), self.X[chosen]).max()) > COPY
            (copies if near else chosen).append(row)
        return np.array([*chosen, *copies][:n], np.intp)

    def _find_width(self) -> float:
        """Return half the mean squared distance between a witness and its nearest ones."""
        n = len(self.witnesses)
        k = min(N_NEAREST, n - 1)
        if k < 1:
            return 1.0
        found = []
        for start in range(0, n, BLOCK // 4):
            block = slice(start, start + BLOCK // 4)
            cosine = self._W[block] @ self._W.T
            cosine[np.arange(len(cosine)), np.arange(n)[block]] = -np.inf
            nearest = np.partition(cosine, n - k, axis=1)[:, n - k :]
            found.append(np.maximum(2 - 2 * nearest, 0).mean(axis=1))
        return SHARE_OF_WIDTH * max(float(np.concatenate(found).mean()), 1e-6)

    def _load_candidates(self, is_free: NDArray[np.bool_], n: int) -> None:
        """Draw candidates where too few of those at hand are free."""
        at_hand = int(is_free[self._candidates].sum())
        wanted = min(N_CANDIDATES, int(is_free.sum()))
        if at_hand and at_hand >= min(max(wanted // 2, n), wanted):
            return
        self._candidates = np.sort(self._order[is_free[self._order]][:N_CANDIDATES])
        self._followed = None
        self._likeness = np.empty((len(self._candidates), len(self.witnesses)), np.float32)
        for start in range(0, len(self._candidates), BLOCK):
            block = slice(start, start + BLOCK)
            self._likeness[block] = self.likeness(self._candidates[block])

    def _follow(self, taken: Rows) -> tuple[Floats, NDArray[np.bool_]]:
        """Return what taken images cover and which candidates copy one of them.

        Where images were only added since the last call, only these are looked at, so that a
        click costs the same with ten labels and with ten thousand.
        """
        n, covered, is_copy = 0, None, np.zeros(len(self._candidates), bool)
        if self._followed is not None:
            before, covered, is_copy = self._followed
            n = len(before)
            if n > len(taken) or not np.array_equal(before, taken[:n]):
                n, covered, is_copy = 0, None, np.zeros(len(self._candidates), bool)
        new = taken[n:]
        covers = self.coverage(new)
        covered = covers if covered is None else np.maximum(covered, covers)
        is_copy = is_copy | self._find_copies(self._candidates, new)
        self._followed = taken.copy(), covered, is_copy
        return covered.copy(), is_copy

    def _gains(self, places: Rows, covered: Floats, weights: Floats) -> Floats:
        """Return what each candidate alone would add to the weighted coverage."""

        def gain(part: Rows) -> Floats:
            more = self._likeness[part]
            more -= covered
            np.maximum(more, 0, out=more)
            gains: Floats = more @ weights
            return gains

        # numpy's loops leave other threads the interpreter
        parts = np.array_split(places, -(-len(places) // GAINS_AT_ONCE)) if len(places) else []
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            return np.concatenate([np.empty(0, np.float32), *pool.map(gain, parts)])

    def _find_copies(self, rows: Rows, taken: Rows) -> NDArray[np.bool_]:
        """Tell which images are near copies of taken ones."""
        found = np.zeros(len(rows), bool)
        for start in range(0, len(taken), BLOCK):
            others = self.X[taken[start : start + BLOCK]]
            for first in range(0, len(rows), BLOCK):
                block = slice(first, first + BLOCK)
                found[block] |= self.likeness(rows[block], others).max(axis=1) > COPY
        return found

    def _is_copy(self, place: int, chosen: Sequence[int]) -> bool:
        row = self._candidates[[place]]
        others = self.X[self._candidates[list(chosen)]]
        return bool(self.likeness(row, others).max() > COPY)
