"""Vectors of a few images, kept nowhere: for a query, or for a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx._repr import OneLine
from featx.extraction._finite import drop_infinite
from featx.extraction.job import Job

__all__ = ["Embedded", "embed_images"]


@dataclass(frozen=True, repr=False)
class Embedded(OneLine):
    """Vectors of those images that could be read.

    Parameters
    ----------
    features : ndarray of shape (n_good, n_features), float32
        Of the job's first spec.
    good : ndarray of shape (n_good,), intp
        Positions of these images among the sources, ascending.
    failures : tuple of (int, str)
        Position and reason of each image that could not be read, or whose vector is not finite.
    """

    features: NDArray[np.float32]
    good: NDArray[np.intp]
    failures: tuple[tuple[int, str], ...]


def embed_images(
    job: Job,
    sources: Sequence[Any],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: bool | None = None,
    engine: str | None = None,
) -> Embedded:
    """Run a job over images and return the vectors of its first spec.

    Parameters
    ----------
    job : Job
        From `prepare_job` or `job_for_recipe`.
    sources : sequence
        As `featx.images.as_sources` gives them.
    batch_size, workers, progress
        As for `featx.extract`.
    engine : {"torch", "compile", "openvino"}, optional
        Default: what the job chooses for so many images.

    Returns
    -------
    Embedded
        Holds n_images * n_features float32.
    """
    features = [np.empty((0, job.recipes[0].n_features), np.float32)]
    good: list[NDArray[np.intp]] = []
    failures: list[tuple[int, str]] = []
    with Progress(len(sources), "embed", enabled=progress) as bar:
        for batch, vectors in job.embed(
            sources, batch_size=batch_size, workers=workers, engine=engine
        ):
            finite, kept = drop_infinite(batch, vectors[:1], job.recipes[:1])
            features.append(kept[0])
            good.append(finite.good)
            failures.extend(finite.failures)
            bar.advance(len(batch.rows))
    rows = np.concatenate(good) if good else np.empty(0, np.intp)
    return Embedded(np.concatenate(features), rows, tuple(failures))
