"""Labelled images as inputs of what is trained, from memory where they fit, else read anew."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featx._progress import Progress
from featx.engines.engine import Normalise
from featx.errors import ImageDecodeError, ParameterError
from featx.finetuning._network import Tunable
from featx.images import ImagePreprocessor
from featx.images.inputs import as_sources
from featx.images.loader import iter_batches
from featx.recipe import Preprocessing

__all__ = ["Labelled", "Pool", "Stage", "embed", "hold_out", "make_plain_pool"]

SHOWN = 5


@dataclass(frozen=True)
class Labelled:
    """Images with their classes.

    Parameters
    ----------
    sources : sequence
        As `featx.images.inputs.as_sources` gives them.
    names : sequence of str
        For messages.
    codes : ndarray of shape (n,), intp
        Class of each image, numbered from 0.
    """

    sources: Sequence[Any]
    names: Sequence[str]
    codes: NDArray[np.intp]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sources)

    @classmethod
    def of(cls, X: Any) -> Labelled:
        """Take images in any form, for now all of class 0."""
        sources = [
            os.path.expanduser(s) if isinstance(s, str) else s  # noqa: PTH111
            for s in as_sources(X, name="X")
        ]
        if not sources:
            raise ParameterError("X: got no images, expected at least one")
        names = [s if isinstance(s, str) else f"X[{i}]" for i, s in enumerate(sources)]
        return cls(sources, names, np.zeros(len(names), np.intp))

    def subset(self, rows: NDArray[np.intp]) -> Labelled:
        """Return some of the images, in the order given."""
        places = rows.tolist()
        return Labelled(
            [self.sources[i] for i in places], [self.names[i] for i in places], self.codes[rows]
        )


class Stage:
    """From pixels to what the trained part is given.

    Parameters
    ----------
    tunable : Tunable
    preprocessing : Preprocessing
        Mean and deviation, and the crop's size.
    device : torch.device

    Notes
    -----
    What is kept of a view are its activations before the first trained layer, float32; where
    nothing is frozen before it, its pixels, uint8. `n_frozen_passes` counts the views for which
    all that is frozen was run.
    """

    def __init__(
        self, tunable: Tunable, preprocessing: Preprocessing, device: torch.device
    ) -> None:
        self.tunable, self.device = tunable, device
        self.preprocessing = preprocessing
        self.n_frozen_passes = 0
        self._to_input = Normalise(preprocessing).to(device)

    @torch.no_grad()
    def activations(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Return what is kept of (B, H, W, 3) uint8 views."""
        kept = torch.from_numpy(pixels)
        if self.tunable.frozen is None:
            return kept
        found: torch.Tensor = self.tunable.frozen(self._normalise(kept))
        self.n_frozen_passes += len(kept)
        return found

    def enter(self, kept: torch.Tensor) -> torch.Tensor:
        """Return the input of the trained part, on the device."""
        if self.tunable.frozen is None:
            return self._normalise(kept)
        x = kept.to(self.device, non_blocking=True)
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x

    @torch.no_grad()
    def sample(self) -> torch.Tensor:
        """Return what is kept of one blank view, (1, ...)."""
        side = self.preprocessing.crop_px
        assert side is not None
        blank = torch.zeros((1, side, side, 3), dtype=torch.uint8)
        frozen = self.tunable.frozen
        return blank if frozen is None else frozen(self._normalise(blank))

    def move(self, tunable: Tunable) -> None:
        """Take another cut of the same network."""
        self.tunable = tunable

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self._to_input(pixels.to(self.device, non_blocking=True))
        return x.contiguous(memory_format=torch.channels_last)


@dataclass
class Pool:
    """Images with a fixed number of views each.

    Parameters
    ----------
    images : Labelled
    views : callable
        From numbers of views to what makes these views of an image.
    n_views : int
    stage : Stage
    batch_size : int
    workers : int or None
        As for `featx.extract`.
    kept : Tensor or None
        What is kept of every view, (n, n_views, ...).
    places : ndarray or None
        Rows of the images in `kept`, where it holds others too.
    """

    images: Labelled
    views: Callable[[tuple[int, ...]], Any]
    n_views: int
    stage: Stage
    batch_size: int
    workers: int | None
    kept: torch.Tensor | None = None
    places: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def n_batches(self) -> int:
        """Number of batches of one view of every image."""
        return math.ceil(len(self) / self.batch_size)

    def keep(self, bar: Progress) -> None:
        """Compute the activations of every view and put them where there is room for them."""
        if self.kept is None:
            return
        for rows, views in self._read(np.arange(len(self)), tuple(range(self.n_views))):
            for number, pixels in enumerate(views):
                self.kept[torch.from_numpy(rows), number] = self.stage.activations(pixels).cpu()
                bar.advance(len(rows))

    @torch.no_grad()
    def advance(self, part: nn.Module, kept: torch.Tensor, bar: Progress) -> None:
        """Take the activations of a later layer, computed by a part from those kept."""
        for view in range(self.n_views):
            for x, rows in self.batches(np.arange(len(self)), view):
                kept[torch.from_numpy(rows), view] = part(x).cpu()
                bar.advance(len(rows))
        self.kept = kept

    def subset(self, rows: NDArray[np.intp]) -> Pool:
        """Return some of the images, which share what is kept of them."""
        return replace(self, images=self.images.subset(rows), places=rows)

    def batches(
        self, order: NDArray[np.intp], view: int
    ) -> Iterator[tuple[torch.Tensor, NDArray[np.intp]]]:
        """Go through one view of all images, in an order.

        Yields
        ------
        x : Tensor
            Input of the trained part, on the device.
        rows : ndarray of shape (n,), intp
            Positions of these images.

        Notes
        -----
        Batches differ by at most one image, so that none is a single one, of which batch norm
        would have no statistics.
        """
        groups = np.array_split(order, self.n_batches)
        if self.kept is not None:
            for rows in groups:
                places = rows if self.places is None else self.places[rows]
                yield self.stage.enter(self.kept[torch.from_numpy(places), view]), rows
            return
        pixels = self._iter_pixels(order, view)
        for rows in groups:
            batch = np.stack([next(pixels) for _ in rows])
            yield self.stage.enter(self.stage.activations(batch)), rows
        next(pixels, None)  # to the end, where bad images are named

    def _iter_pixels(self, order: NDArray[np.intp], view: int) -> Iterator[NDArray[np.uint8]]:
        for _, (pixels,) in self._read(order, (view,)):
            yield from pixels

    def _read(
        self, order: NDArray[np.intp], numbers: tuple[int, ...]
    ) -> Iterator[tuple[NDArray[np.intp], tuple[NDArray[np.uint8], ...]]]:
        failures: list[tuple[str, str]] = []
        images = self.images.subset(order)
        for batch in iter_batches(
            images.sources,
            self.views(numbers),
            batch_size=self.batch_size,
            workers=self.workers,
        ):
            failures += [(images.names[i], reason) for i, reason in batch.failures]
            if batch.views and not failures:
                yield order[batch.good], batch.views
        if failures:
            raise _make_error(failures, len(order))


def _make_error(failures: list[tuple[str, str]], n: int) -> ImageDecodeError:
    shown = "; ".join(f"{name!r}: {reason}" for name, reason in failures[:SHOWN])
    more = f"; and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    return ImageDecodeError(
        f"{len(failures)} of {n} images cannot be read ({shown}{more}); remove or replace them: "
        "none is left out silently"
    )


def make_plain_pool(stage: Stage, images: Labelled, batch_size: int, workers: int | None) -> Pool:
    """Return images with the extraction's view alone."""
    plain = ImagePreprocessor(stage.preprocessing)
    return Pool(images, lambda _: plain, 1, stage, batch_size, workers)


@torch.no_grad()
def embed(pool: Pool, progress: bool | None) -> torch.Tensor:
    """Return the vectors of the first view of every image, (n_images, n_features)."""
    found = []
    with Progress(len(pool), "embed", enabled=progress) as bar:
        for x, rows in pool.batches(np.arange(len(pool)), 0):
            found.append(pool.stage.tunable.tail(x))
            bar.advance(len(rows))
    return torch.cat(found)


def hold_out(codes: NDArray[np.intp], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose the images that are held out: of every class its share.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,), int
        Classes, numbered from 0.
    fraction : float
        Share of each class, rounded; of two images and more at least one is held out and one
        kept, a single one is kept.
    seed : int

    Returns
    -------
    ndarray of shape (n_samples,), bool

    Raises
    ------
    ParameterError
        If every class has a single image.

    Examples
    --------
    >>> hold_out(np.array([0, 0, 0, 0, 0, 1, 1]), 0.2, 0).sum()
    np.int64(2)
    """
    mask = np.zeros(len(codes), bool)
    if fraction == 0:
        return mask
    rng = np.random.default_rng((seed, 0))
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        n = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        mask[rows[:n]] = True
    if not mask.any():
        raise ParameterError(
            f"validation_fraction: got {fraction!r}, but every class has a single image, expected "
            "some with two: label more images, or pass 0 to hold nothing out"
        )
    return mask
