"""What a task found: figures with intervals, what they were measured on, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import featx
from featx._repr import OneLine
from featx.tasks.classifier import Predictions
from featx.tasks.comparison import Figure

__all__ = ["Rankings", "TaskResult"]


@dataclass(frozen=True, eq=False)
class Rankings:
    """What was found for each query.

    Parameters
    ----------
    queries, database : tuple of str
        Paths.
    indices : ndarray of shape (n_queries, k), intp
        Database rows, best first.
    distances : ndarray of the same shape, float32
    is_right : ndarray of the same shape, bool
    average_precision : ndarray of shape (n_queries,), float64
    """

    queries: tuple[str, ...]
    database: tuple[str, ...]
    indices: NDArray[np.intp]
    distances: NDArray[np.float32]
    is_right: NDArray[np.bool_]
    average_precision: NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class TaskResult(OneLine):
    """One task on one data set with one network and one preset.

    Parameters
    ----------
    task, dataset, preset, backbone : str
        What was run.
    protocol : str
        How it was measured, one sentence.
    figures : mapping of str to Figure
        The first is the headline.
    fingerprints : tuple of str
        Of the feature recipes.
    counts : mapping of str to int
        Images: "train", "test" (of one split), "failed", "leaks" (pairs of near-duplicates
        between train and test), and what else the task counts.
    costs : mapping of str to float or None
        "images_per_second" of the extraction, None where features were reused;
        "fit_seconds" of one split; for retrieval "seconds_per_query".
    splits : tuple of dict
        ``{"train": rows, "test": rows}`` of each split, positions in the data set.
    details : Predictions or Rankings
        Of the first split.
    """

    task: str
    dataset: str
    preset: str
    backbone: str
    protocol: str
    figures: Mapping[str, Figure]
    fingerprints: tuple[str, ...]
    counts: Mapping[str, int]
    costs: Mapping[str, float | None]
    splits: tuple[dict[str, list[int]], ...]
    details: Predictions | Rankings

    @property
    def headline(self) -> Figure:
        """The first figure."""
        return next(iter(self.figures.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return all but the details as a JSON-serialisable dict."""
        return {
            "task": self.task,
            "dataset": self.dataset,
            "preset": self.preset,
            "backbone": self.backbone,
            "protocol": self.protocol,
            "figures": {name: vars(figure) for name, figure in self.figures.items()},
            "fingerprints": list(self.fingerprints),
            "counts": dict(self.counts),
            "costs": dict(self.costs),
            "splits": list(self.splits),
            "featx_version": featx.__version__,
        }

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {figure}" for name, figure in self.figures.items())
        rate = self.costs.get("images_per_second")
        speed = f"; {rate:.0f} images/s" if rate else ""
        return f"{self.dataset} {self.backbone} {self.preset}: {figures}{speed}"
