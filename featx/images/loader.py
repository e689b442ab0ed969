"""Read many images ahead of the network: in input order, with bounded memory, surviving the worst.

The readers are processes without torch (`featx.images._worker`). A file that kills or hangs its
reader is an error row like any other bad image.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._repr import OneLine
from featx.errors import require_count, require_number
from featx.files.remote import RemoteFile, is_url
from featx.images.decode import one_line
from featx.images.inputs import ImageSource, Unreadable, as_uint8_rgb
from featx.images.pool import MAX_AT_ONCE, ReaderPool
from featx.images.reader import Preprocessor, ReadImage, read_image

__all__ = ["ImageBatch", "default_workers", "iter_batches"]

MAX_WORKERS = 16
PER_CORE_FAR = 4
# Starting a process takes as long as reading some 40 images of half a megapixel.
MIN_IMAGES_FOR_WORKERS = 64
TIMEOUT_S = 120.0

Empty = Callable[[tuple[int, ...], Any], NDArray[Any]]


@dataclass(frozen=True, repr=False)
class ImageBatch(OneLine):
    """Images that were read together.

    Parameters
    ----------
    rows : ndarray of shape (n,), intp
        Positions in the sources of all images read here, bad ones included, ascending.
    read : tuple of ReadImage
        One for each of `rows`, without the views.
    good : ndarray of shape (n_good,), intp
        Positions in the sources of the images in `views`, ascending.
    views : tuple of ndarray of shape (n_good, H, W, 3), uint8
        One array per view; float32 (n_good, C, H, W) from a user's transform; empty where no image
        is good.
    """

    rows: NDArray[np.intp]
    read: tuple[ReadImage, ...]
    good: NDArray[np.intp]
    views: tuple[NDArray[Any], ...]

    @property
    def good_read(self) -> tuple[ReadImage, ...]:
        """The entries of `read` for the images in `views`, in the same order."""
        return tuple(image for image in self.read if image.error is None)

    @property
    def failures(self) -> tuple[tuple[int, str], ...]:
        """``(position in the sources, reason)`` of each bad image."""
        return tuple(
            (int(row), image.error)
            for row, image in zip(self.rows, self.read, strict=True)
            if image.error is not None
        )


def iter_batches(
    sources: Sequence[ImageSource],
    preprocessor: Preprocessor,
    *,
    batch_size: int,
    workers: int | None = None,
    prefetch: int = 2,
    timeout_s: float = TIMEOUT_S,
    empty: Empty = np.empty,
) -> Iterator[ImageBatch]:
    """Read images in input order, batch by batch.

    Parameters
    ----------
    sources : sequence
        As `as_sources` gives them.
    preprocessor : ImagePreprocessor or TransformPreprocessor
        Makes the views.
    batch_size : int
        Images read for a batch, bad ones included. Where the views' sizes differ, a batch is
        yielded in several parts, each a run of neighbours of one size.
    workers : int, optional
        Reader processes; 0 reads in this process. Default: `default_workers`. Each takes about
        40 MB, and more than there are cores gain nothing.
    prefetch : int, default 2
        Batches that may be read ahead of the one that is used. Memory grows with it.
    timeout_s : float, default 120
        Longest that a reader process may take for one image, in seconds, while it and this process
        run: a pause of either does not count. Not with `workers` 0.
    empty : callable, default numpy.empty
        Given a shape and a dtype, returns the array that a view of a batch is put into.

    Yields
    ------
    ImageBatch

    Raises
    ------
    ParameterError
        If a number is out of range, or a user's transform cannot be sent or returns what no
        network takes.

    Notes
    -----
    An image whose reader dies is tried once more on another reader before it is given up.

    Examples
    --------
    >>> from featx.images import ImagePreprocessor
    >>> from featx.recipe import Preprocessing
    >>> sources = [np.zeros((9, 9, 3), np.uint8), "no/such.jpg", np.ones((7, 9, 3), np.uint8)]
    >>> for batch in iter_batches(sources, ImagePreprocessor(Preprocessing()), batch_size=2):
    ...     print(batch.good, batch.views[0].shape, batch.failures)
    [0] (1, 224, 224, 3) ((1, 'No such file'),)
    [2] (1, 224, 224, 3) ()
    """
    workers = default_workers(sources) if workers is None else workers
    require_count("batch_size", batch_size)
    require_count("prefetch", prefetch, 0)
    require_count("workers", workers, 0)
    require_number("timeout_s", timeout_s, 0, above=True)
    if workers == 0:
        results = (read_image(source, preprocessor) for source in sources)
        return _make_batches(results, batch_size, empty)
    pool = ReaderPool(preprocessor, workers, timeout_s)
    return _make_batches(
        _read_ahead(sources, pool, workers, batch_size, prefetch), batch_size, empty
    )


def default_workers(sources: Sequence[ImageSource]) -> int:
    """Return how many reader processes suit these images.

    Returns
    -------
    int
        The cores that this process may use, at most 16, and four times as many for images at URLs,
        which are waited for; 0 for fewer than 64 images, and for images in memory, which only need
        resizing. Processes that torchrun has started on one machine share its cores.
    """
    if len(sources) < MIN_IMAGES_FOR_WORKERS:
        return 0
    if not all(isinstance(source, str | RemoteFile) for source in sources):
        return 0
    if any(isinstance(s, RemoteFile) and s.url.startswith("memory://") for s in sources):
        return 0  # which is this process' memory
    is_far = any(isinstance(source, RemoteFile) or is_url(source) for source in sources)
    has_mask = hasattr(os, "sched_getaffinity")
    n_cores = len(os.sched_getaffinity(0)) if has_mask else os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")  # SLURM gives each a mask of its own
    if beside.isdecimal():
        n_cores = max(n_cores // max(int(beside), 1), 1)
    return min(n_cores * (PER_CORE_FAR if is_far else 1), MAX_WORKERS)


def _read_ahead(
    sources: Sequence[ImageSource],
    pool: ReaderPool,
    workers: int,
    batch_size: int,
    prefetch: int,
) -> Generator[ReadImage, None, None]:
    """Yield results in order while at most a bounded number of images is under way."""
    # What a reader gets at a time: enough to hide the turnaround, few enough to balance.
    chunk = max(1, min(MAX_AT_ONCE, -(-min(batch_size, len(sources)) // workers)))
    # At least two chunks a reader, so that none waits for the slowest.
    n_ahead = max(-(-batch_size * (1 + prefetch) // chunk), 2 * workers)
    waiting: deque[Future[list[ReadImage]]] = deque()
    with closing(pool):
        for start in range(0, len(sources), chunk):
            waiting.append(
                pool.submit([_prepare_source(s) for s in sources[start : start + chunk]])
            )
            if len(waiting) == n_ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _prepare_source(source: ImageSource) -> str | RemoteFile | NDArray[np.uint8] | Unreadable:
    """Return what a reader process takes: of an image that Pillow has open, its pixels."""
    if isinstance(source, str | RemoteFile):
        return source
    try:
        return as_uint8_rgb(source)
    except Exception as err:  # noqa: BLE001 - Pillow's plugins raise nearly everything
        return Unreadable(f"{type(err).__name__}: {one_line(err)}")


def _make_batches(
    results: Generator[ReadImage, None, None], batch_size: int, empty: Empty
) -> Iterator[ImageBatch]:
    try:
        for start in itertools.count(step=batch_size):
            read = list(itertools.islice(results, min(batch_size, sys.maxsize)))
            if not read:
                return
            yield from _split_by_shape(start, read, empty)
    finally:
        results.close()


def _split_by_shape(start: int, read: list[ReadImage], empty: Empty) -> Iterator[ImageBatch]:
    """Split where the views' shapes change; a bad image stays with its left neighbours."""
    begin, shape = 0, None
    for i, image in enumerate(read):
        if image.views is None:
            continue
        mine = [view.shape for view in image.views]
        if shape is not None and mine != shape:
            yield _make_batch(start + begin, read[begin:i], empty)
            begin = i
        shape = mine
    yield _make_batch(start + begin, read[begin:], empty)


def _make_batch(start: int, read: list[ReadImage], empty: Empty) -> ImageBatch:
    rows = np.arange(start, start + len(read), dtype=np.intp)
    views = [image.views for image in read if image.views is not None]
    return ImageBatch(
        rows=rows,
        read=tuple(dataclasses.replace(image, views=None) for image in read),
        good=rows[[image.views is not None for image in read]],
        views=tuple(_stack(view, empty) for view in zip(*views, strict=True)),
    )


def _stack(arrays: Sequence[NDArray[Any]], empty: Empty) -> NDArray[Any]:
    out = empty((len(arrays), *arrays[0].shape), arrays[0].dtype)
    np.stack(arrays, out=out)
    return out
