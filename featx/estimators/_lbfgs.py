"""The memory of L-BFGS, for one problem or for many side by side, under a preconditioner.

scipy's holds one problem at a time, and its BLAS is another one than numpy's: with two thread
pools waiting for each other's cores, one iteration on a small table took ten times as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Memory"]

Array = NDArray[Any]

SIZE = 10  # pairs kept, as in scipy's default


class Memory:
    """The last steps and changes of the gradient.

    Parameters
    ----------
    inner : callable
        The inner product: `column_dot` where each column is a problem of its own, `whole_dot` for
        one problem.
    """

    def __init__(self, inner: Callable[[Array, Array], NDArray[np.float64]]) -> None:
        self.inner = inner
        self._pairs: deque[tuple[Array, Array, NDArray[np.float64]]] = deque(maxlen=SIZE)

    def add(self, step: Array, change: Array) -> None:
        """Remember a pair; a column whose curvature is lost in rounding has none."""
        curvature = self.inner(step, change)
        good = curvature > np.finfo(step.dtype).tiny * 1e6
        self._pairs.append((step, change, np.where(good, 1 / np.where(good, curvature, 1), 0)))

    def take(self, columns: NDArray[np.bool_]) -> None:
        """Go on with some columns alone."""
        pairs = ((s[:, columns], c[:, columns], r[columns]) for s, c, r in self._pairs)
        self._pairs = deque(pairs, maxlen=SIZE)

    def direction(self, gradient: Array, diagonal: Array) -> Array:
        """Return minus the inverse Hessian times the gradient.

        Two-loop recursion (Nocedal and Wright 2006, algorithm 7.4), whose first matrix is
        ``gamma / diagonal``, gamma from the last pair (their equation 7.20, preconditioned).
        """
        q = -gradient
        shares = []
        for step, change, rho in reversed(self._pairs):
            share = (rho * self.inner(step, q)).astype(q.dtype)
            q -= share * change
            shares.append(share)
        q /= diagonal
        if self._pairs:
            q *= self._gamma(diagonal).astype(q.dtype)
        for (step, change, rho), share in zip(self._pairs, reversed(shares), strict=True):
            ahead = (rho * self.inner(change, q)).astype(q.dtype)
            q += (share - ahead) * step
        return q

    def _gamma(self, diagonal: Array) -> NDArray[np.float64]:
        _, change, rho = self._pairs[-1]
        length = rho * self.inner(change, change / diagonal)
        good = length > 0
        return np.where(good, 1 / np.where(good, length, 1), 1)
