"""An inverted file of local descriptors: which database images have features like a query's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._forks import fork_lock
from featx.retrieval._faiss import (
    Streamed,
    from_arrays,
    load_faiss,
    make_parameters,
    new_index,
    to_arrays,
)
from featx.retrieval._homography import Agreement, agree
from featx.retrieval._kinds import Kind
from featx.retrieval._vectors import Mask
from featx.retrieval.descriptors import N_VALUES, LocalFeatures

__all__ = ["InvertedFile", "Votes", "build_inverted_file", "inverted_file_from_arrays"]

N_NEIGHBORS = 10  # database features that one feature of a query may vote for
# Few clear neighbours weigh more than many doubtful ones, of which a small database has most.
SHARPNESS = 3
N_PROBE = 8  # lists that are looked into
DESCRIPTORS_PER_LIST = 40  # that k-means learns from, and that a list should have at least
MAX_LISTS = 16384  # k-means takes minutes for them
POINT_SCALE = 65535
ADDED_AT_ONCE = 64  # images: a matrix product of a few thousand rows takes a fifth of the time
INSTANCES = Kind("ivf", "uint8", "asked for")


@dataclass(frozen=True)
class Votes:
    """The pairs of a query's features with those of the database.

    Parameters
    ----------
    scores : ndarray of shape (n_images,), float64
        Sum of each image's votes.
    rows : ndarray of shape (n_pairs,), intp
        Image of each pair, ascending.
    mine, theirs : ndarray of shape (n_pairs,), intp
        Number of the query's feature, and of the database's; each is in one pair of an image.
    """

    scores: NDArray[np.float64]
    rows: NDArray[np.intp]
    mine: NDArray[np.intp]
    theirs: NDArray[np.intp]


@dataclass(frozen=True)
class InvertedFile:
    """The local features of a database; `add` and `keep` leave this one as it is.

    Parameters
    ----------
    row_of : ndarray of shape (n_features,), int32
        Image of each feature; -1 for one that was removed.
    points : ndarray of shape (n_features, 2), uint16
        65535 times their places, as shares of the image's longer side.
    sizes_px : ndarray of shape (n_images, 2), int32
        Width and height of each image.
    index : IndexIVFScalarQuantizer of faiss
        Shared with copies, which only append to it.
    lock : context manager
        Held while the index is used.
    """

    row_of: NDArray[np.int32]
    points: NDArray[np.uint16]
    sizes_px: NDArray[np.int32]
    index: Any
    lock: Any

    @property
    def n_features(self) -> int:
        """Local features of images that are there."""
        return int((self.row_of >= 0).sum())

    @property
    def is_worn(self) -> bool:
        """Whether more than a third of the features were removed, or it should have more lists."""
        n = len(self.row_of)
        return 2 * n > 3 * max(self.n_features, 1) or count_lists(n) > 4 * self.index.nlist

    def vote(self, query: LocalFeatures, among: Mask | None) -> Votes:
        """Find what the features of a query resemble.

        Parameters
        ----------
        query : LocalFeatures
        among : ndarray of shape (n_images,), bool, or None
            Images that may be found.

        Notes
        -----
        Of its 10 nearest neighbours a feature votes for those nearer than the last, by the cube of
        how much nearer: the last stands for what is no match (Jegou, Douze and Schmid, "Exploiting
        descriptor distances for precise image search", INRIA RR-7656, 2011). A feature has one
        vote for an image, and a feature of an image gets one: the strongest.
        """
        n_images = len(self.sizes_px)
        k = min(N_NEIGHBORS, self.index.ntotal)
        if not len(query) or not k:
            none = np.empty(0, np.intp)
            return Votes(np.zeros(n_images), none, none, none)
        with self.lock:
            parameters = make_parameters("ivf", N_PROBE, **self._select(among))
            asked = query.descriptors.astype(np.float32)
            squares, codes = self.index.search(asked, k, params=parameters)
        is_found = codes >= 0
        last = np.where(is_found, squares, 0).max(axis=1, keepdims=True)
        weights = np.where(is_found, 1 - squares / np.maximum(last, 1), 0).reshape(-1) ** SHARPNESS
        mine, theirs = np.repeat(np.arange(len(codes)), k), codes.reshape(-1)
        pairs = np.flatnonzero(weights > 0)
        pairs = pairs[np.argsort(-weights[pairs], kind="stable")]
        rows = self.row_of[theirs].astype(np.intp)
        pairs = pairs[_find_first(mine[pairs] * n_images + rows[pairs])]
        pairs = pairs[_find_first(theirs[pairs])]
        pairs = pairs[np.argsort(rows[pairs], kind="stable")]
        scores = np.bincount(rows[pairs], weights[pairs], n_images).astype(np.float64)
        return Votes(scores, rows[pairs], mine[pairs], theirs[pairs])

    def _select(self, among: Mask | None) -> dict[str, Any]:
        """Return what restricts a search to features that are there, and to some images."""
        n_codes = self.index.ntotal
        is_live = self.row_of >= 0
        if among is None and n_codes == len(is_live) and is_live.all():
            return {}
        allowed = np.zeros(n_codes, bool)  # a copy of this index may have added more: not ours
        allowed[: len(is_live)] = is_live if among is None else is_live & among[self.row_of]
        return {"sel": load_faiss().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))}

    def verify(self, query: LocalFeatures, votes: Votes, row: int) -> Agreement:
        """Say how far an image shows what the query shows, in the same places."""
        pairs = slice(*np.searchsorted(votes.rows, [row, row + 1]))
        theirs = (self.points[votes.theirs[pairs]] / POINT_SCALE).astype(np.float32)
        return agree(query.points[votes.mine[pairs]], theirs, query.size_px, self.sizes_px[row])

    def add(self, images: Iterable[LocalFeatures]) -> InvertedFile:
        """Return this with images after the last; what is shared is only appended to."""
        rows, points, sizes, n = [], [], [], len(self.sizes_px)
        with self.lock:
            others = self.index.ntotal - len(self.row_of)
            coming = iter(images)
            while some := list(itertools.islice(coming, ADDED_AT_ONCE)):
                found = np.concatenate([image.descriptors for image in some])
                self.index.add(found.astype(np.float32))
                lengths = [len(image) for image in some]
                rows.append(np.repeat(np.arange(n, n + len(some), dtype=np.int32), lengths))
                points += [
                    np.round(image.points * POINT_SCALE).astype(np.uint16) for image in some
                ]
                sizes += [image.size_px[None] for image in some]
                n += len(some)
        return replace(
            self,
            row_of=np.concatenate([self.row_of, np.full(others, -1, np.int32), *rows]),
            points=np.concatenate([self.points, np.zeros((others, 2), np.uint16), *points]),
            sizes_px=np.concatenate([self.sizes_px, *sizes]),
        )

    def select(self, rows: NDArray[np.intp]) -> InvertedFile:
        """Return this with some of its images, in another order."""
        new = np.full(len(self.sizes_px) + 1, -1, np.int32)  # the last for what was removed
        new[rows] = np.arange(len(rows))
        return replace(self, row_of=new[self.row_of], sizes_px=self.sizes_px[rows])

    def compact(self) -> InvertedFile:
        """Return this without the features of removed images, and with as many lists as suit."""
        arrays, codes = self.arrays()
        ids = np.argsort(arrays["ids"], kind="stable")
        descriptors = codes.whole().reshape(-1, N_VALUES)[ids]
        order = np.argsort(self.row_of, kind="stable")
        ends = np.searchsorted(self.row_of[order], np.arange(len(self.sizes_px) + 1))
        images = [
            LocalFeatures(
                descriptors[order[start:end]],
                (self.points[order[start:end]] / POINT_SCALE).astype(np.float32),
                size,
            )
            for start, end, size in zip(ends, ends[1:], self.sizes_px, strict=False)
        ]
        return build_inverted_file(images, len(images), 0)

    def arrays(self) -> tuple[dict[str, NDArray[Any]], Streamed]:
        """Return what is held, to be saved: arrays, and the descriptors."""
        with self.lock:
            arrays, codes = to_arrays(self.index)
        others = codes.size // N_VALUES - len(self.row_of)  # which a copy has added
        return {
            "row_of": np.concatenate([self.row_of, np.full(others, -1, np.int32)]),
            "points": np.concatenate([self.points, np.zeros((others, 2), np.uint16)]),
            "sizes_px": self.sizes_px,
            **arrays,
        }, codes

    def __getstate__(self) -> dict[str, Any]:
        arrays, codes = self.arrays()
        return {"arrays": arrays, "codes": codes.whole()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        again = inverted_file_from_arrays(state["arrays"], state["codes"])
        self.__dict__.update(again.__dict__)


def inverted_file_from_arrays(arrays: dict[str, NDArray[Any]], codes: Any) -> InvertedFile:
    """Return what `InvertedFile.arrays` took apart; `codes` are asked for in order.

    Raises
    ------
    FileFormatError
        If the arrays do not fit each other: faiss would read beyond its memory.
    """
    index = from_arrays(arrays, codes, INSTANCES, "euclidean", N_VALUES)
    sizes = arrays["sizes_px"]
    return InvertedFile(arrays["row_of"], arrays["points"], sizes, index, fork_lock())


def _find_first(keys: NDArray[Any]) -> NDArray[np.intp]:
    """Return where each key comes first, in order."""
    _, first = np.unique(keys, return_index=True)
    return np.sort(first)


def count_lists(n_features: int) -> int:
    """Return how many lists suit so many features: a power of two, none with hardly any."""
    wanted: int = 2 ** round(np.log2(4 * np.sqrt(max(n_features, 1))))
    return max(1, min(wanted, n_features // DESCRIPTORS_PER_LIST, MAX_LISTS))


def build_inverted_file(images: Iterable[LocalFeatures], n_images: int, seed: int) -> InvertedFile:
    """Cluster the descriptors of the first images into lists, and put all of them in.

    Parameters
    ----------
    images : iterable of LocalFeatures
        In any order but one by what they show. Taken one by one: only those that are learned from
        are held.
    n_images : int
        About how many these are.
    seed : int
        Of k-means.
    """
    coming, first, n = iter(images), [], 0
    for image in coming:
        first.append(image)
        n += len(image)
        if n >= MAX_LISTS * DESCRIPTORS_PER_LIST:
            break
    n_lists = min(count_lists(n * n_images // max(len(first), 1)), n // DESCRIPTORS_PER_LIST)
    index = new_index(INSTANCES, N_VALUES, "euclidean", max(n_lists, 1))
    index.cp.seed = seed
    index.cp.max_points_per_centroid = DESCRIPTORS_PER_LIST
    index.train(np.concatenate([image.descriptors for image in first]).astype(np.float32))
    none = np.empty(0, np.int32), np.empty((0, 2), np.uint16), np.empty((0, 2), np.int32)
    return InvertedFile(*none, index, fork_lock()).add(itertools.chain(first, coming))
