"""Probes of parts of the labels, each of which begins where it stopped the last time."""

from __future__ import annotations

from collections.abc import Hashable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.labelling._guesses import new_probe

__all__ = ["Probes"]


@dataclass(frozen=True, eq=False)
class _Trained:
    """A probe, and the images with their labels that it has seen."""

    probe: Any
    seen: frozenset[tuple[int, str]]


class Probes:
    """Probes by name, kept for the next time.

    With a few labels more, a probe that begins where it stopped takes a fifth of the time. One
    that has seen an image which it shall not have seen, or another label of it, begins anew.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Trained] = {}

    def fit(
        self,
        name: Hashable,
        X: NDArray[np.float32],
        labels: NDArray[np.str_],
        ids: NDArray[np.intp],
    ) -> Any:
        """Return the probe of a name, of rows X whose images have the numbers `ids`."""
        seen = frozenset(zip(ids.tolist(), labels.tolist(), strict=True))
        kept = self._kept.get(name)
        if kept is None or kept.seen != seen:
            goes_on = kept is not None and kept.seen < seen
            probe = copy(kept.probe) if kept is not None and goes_on else new_probe()
            self._kept[name] = kept = _Trained(probe.fit(X, labels), seen)
        return kept.probe
