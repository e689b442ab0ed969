"""`InstanceIndex`: which images show what a query shows, whether turned, small or in part."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from featx._optional import require
from featx.errors import ImageDecodeError, ParameterError, require_count
from featx.retrieval._columns import Columns
from featx.retrieval._homography import NO_AGREEMENT, Agreement
from featx.retrieval._instances_file import InstanceContent, read_instances, write_instances
from featx.retrieval._local_reader import LocalReader
from featx.retrieval._matches import Matches
from featx.retrieval._named_rows import NamedRows
from featx.retrieval._vectors import Floats, Mask
from featx.retrieval._votes import InvertedFile, build_inverted_file
from featx.retrieval.descriptors import LocalDescriber, LocalFeatures
from featx.store import FeatureStore

__all__ = ["InstanceIndex"]

AREA_PX = 300_000
# A query has more of them, since what is looked for may be a part of it.
QUERY_AREA_PX = 480_000
Column = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True)
class Described:
    """The local features of images.

    Parameters
    ----------
    good : tuple of int
        Positions of the images that could be read.
    features : tuple of LocalFeatures
        Of each of these.
    failures : tuple of (int, str)
        Position of each other image, and why it could not be read.
    """

    good: tuple[int, ...]
    features: tuple[LocalFeatures, ...]
    failures: tuple[tuple[int, str], ...]


class InstanceIndex(NamedRows):
    """A mapping from images to those that show the same thing: a cover, a building, a product.

    Unlike `RetrievalIndex` it compares local features, whatever network the features of a store
    were made with: corners and blobs of a query vote for the images that have alike ones, and the
    first candidates are kept in order of how many of theirs lie as one homography has them.

    Parameters
    ----------
    n_features : int, default 500
        Local features of a database image that are kept, the strongest; each takes 140 bytes.
    n_query_features : int, default 1500
        Local features of a query. Time of a query grows with it.
    n_candidates : int, default 100
        Images with most votes that are verified.
    random_state : int, default 0
        Of the k-means that divides the descriptors into lists.

    Attributes
    ----------
    ids_ : ndarray of shape (n_samples,)
        What the rows are called: paths, or row numbers.
    labels_ : ndarray of shape (n_samples,), or None
        Labels of the rows.
    metadata_ : dict of str to ndarray of shape (n_samples,)
        Further columns.
    failures_ : list of (id, reason)
        Images that the last `fit` or `add` could not take.
    n_samples_fit_ : int
        Number of rows.
    n_features_ : int
        Local features of all rows.

    Notes
    -----
    Sivic and Zisserman, "Video Google", ICCV 2003, with nearest neighbours among descriptors of 8
    bits per value in inverted lists (Jegou et al., PAMI 2011) instead of visual words. Local
    features are upright or turned alike, from a third to three times the size, and partly hidden;
    things without texture, and things that bend, have few that agree.

    Examples
    --------
    >>> pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), np.uint8)
    >>> scenes = pixels.repeat(20, 1).repeat(20, 2)
    >>> index = InstanceIndex().fit(scenes, ids=["one", "other"])
    >>> matches = index.query(np.rot90(scenes[1])[:160], k=1)  # its right half, turned
    >>> matches.ids.tolist(), bool(matches.inliers[0] > 30)
    (['other'], True)
    >>> abs(matches.regions[0].round(1)).tolist()
    [[1.0, 0.0], [1.0, 1.0], [0.5, 1.0], [0.5, 0.0]]
    """

    # What an index of vectors has, for those who ask any index.
    metric = "instances"
    recipe_ = None
    made_with_: ClassVar[dict[str, Any]] = {}
    weights = None

    def __init__(
        self,
        n_features: int = 500,
        *,
        n_query_features: int = 1500,
        n_candidates: int = 100,
        random_state: int = 0,
    ) -> None:
        self.n_features = n_features
        self.n_query_features = n_query_features
        self.n_candidates = n_candidates
        self.random_state = random_state

    @property
    def n_features_(self) -> int:
        """Local features of all rows."""
        return self._inverted.n_features

    # -- rows -------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        ids: Column | None = None,
        labels: Column | None = None,
        metadata: Mapping[str, Column] | None = None,
        digests: Sequence[str] | None = None,
    ) -> Self:
        """Take the database.

        Parameters
        ----------
        X : FeatureStore, or images
            Of a store the images are read again, from where its paths say. Images are a sequence
            of paths, PIL images or arrays.
        y : ignored
        ids, labels, metadata, digests : optional
            As for `RetrievalIndex.fit`.

        Returns
        -------
        InstanceIndex
            Images that cannot be read, or have no local features, are left out and in `failures_`.

        Raises
        ------
        ImageDecodeError
            If none is left.
        MissingDependencyError
            If OpenCV or faiss is not installed.
        """
        for name in ("n_features", "n_query_features", "n_candidates"):
            require_count(name, getattr(self, name))
        sources, columns = _take_images(X, (ids, labels, metadata, digests))
        reader = LocalReader(self._row_describer(), sources)
        order = np.random.default_rng(self.random_state).permutation(len(sources))
        inverted = build_inverted_file(reader.read(order), len(sources), self.random_state)
        self._take(columns, inverted, reader)
        return self

    def add(
        self,
        X: Any,
        *,
        ids: Column | None = None,
        labels: Column | None = None,
        metadata: Mapping[str, Column] | None = None,
        digests: Sequence[str] | None = None,
    ) -> Self:
        """Add images at the end; those that cannot be taken are in `failures_`.

        Parameters
        ----------
        X, ids, labels, metadata, digests
            As for `fit`, with the columns that the index has. None of the ids may be in it.

        Raises
        ------
        ParameterError
            If an id is there already; nothing is changed then.
        ImageDecodeError
            If none of the images can be taken.
        """
        check_is_fitted(self)
        n = self.n_samples_fit_
        sources, added = _take_images(X, (ids, labels, metadata, digests), first=n)
        columns = self._columns.join(added)
        reader = LocalReader(self._row_describer(), sources, first=n)
        inverted = self._inverted.add(reader.read(np.arange(len(sources))))
        self._take(columns, inverted, reader)
        return self

    def _row_describer(self) -> LocalDescriber:
        return LocalDescriber(self.n_features, AREA_PX)

    def _take(self, columns: Columns, inverted: InvertedFile, reader: LocalReader) -> None:
        """Take the images that a reader has read, in the order of their rows."""
        before = np.arange(reader.first)
        rows = np.concatenate([before, np.array(reader.rows, np.intp)])
        order = np.argsort(rows, kind="stable")
        names = columns.ids.tolist()
        self.failures_ = [(names[row], reason) for row, reason in sorted(reader.failures)]
        self._columns = columns.select(rows[order])
        self._inverted = inverted.select(order)
        if self._inverted.is_worn:
            self._inverted = self._inverted.compact()

    def remove(self, ids: Any) -> Self:
        """Remove rows by id; the others keep their order.

        Raises
        ------
        ParameterError
            If an id is not in the index, with the nearest one; nothing is removed then.
        """
        check_is_fitted(self)
        kept = np.ones(self.n_samples_fit_, bool)
        kept[self._columns.rows_of(ids)] = False
        self._columns = self._columns.select(kept)
        self._inverted = self._inverted.select(np.flatnonzero(kept))
        if kept.any() and self._inverted.is_worn:
            self._inverted = self._inverted.compact()
        return self

    # -- questions --------------------------------------------------------------------------------

    def describer(self) -> LocalDescriber:
        """Return what makes local features of decoded images for `query`."""
        return LocalDescriber(self.n_query_features, QUERY_AREA_PX)

    def describe(self, images: Any) -> Described:
        """Return the local features of queries, those that cannot be read left out.

        Parameters
        ----------
        images : path, PIL image, uint8 array, tensor, or a sequence of these
        """
        from featx.images.inputs import as_sources

        sources = as_sources(images)
        reader = LocalReader(self.describer(), sources, keep_empty=True)
        features = list(reader.read(np.arange(len(sources))))
        return Described(tuple(reader.rows), tuple(features), tuple(reader.failures))

    def query(self, X: Any, k: int = 10, *, filter: Any = None) -> Matches:
        """Find the images that show what a query shows.

        Parameters
        ----------
        X : path, PIL image, uint8 array, tensor, LocalFeatures, or a sequence of these
            Queries.
        k : int, default 10
            Matches; all where the index has fewer.
        filter : dict, or array-like of shape (n_samples,), bool, optional
            As for `RetrievalIndex.query`.

        Returns
        -------
        Matches
            With `inliers` and `regions`; arrays of shape (k,) for one image, else (n_queries, k).
            Distances are 1 / (1 + inliers * share), at most 1, for images that were verified; the
            share is that of the query which the match covers, so that of several things in view
            the one that fills the picture comes first. The others follow in order of their votes,
            at 1 + 1 / (1 + votes): those above 1 may show anything. 2 where nothing is alike.

        Raises
        ------
        ImageDecodeError
            If an image cannot be read.
        ParameterError
            If no row fits the filter.
        """
        check_is_fitted(self)
        require_count("k", k)
        among = self._columns.mask(filter)
        queries, names, is_single = self._take_queries(X)
        n_allowed = self.n_samples_fit_ if among is None else int(among.sum())
        found = [self._rank(query, min(k, n_allowed), among) for query in queries]
        rows, distances, inliers, regions = (
            np.stack(column) for column in zip(*found, strict=True)
        )
        labels = None if self.labels_ is None else self.labels_[rows]
        matches = Matches(self.ids_[rows], distances, rows, labels, names, inliers, regions)
        return matches[0] if is_single else matches

    def _take_queries(self, X: Any) -> tuple[list[LocalFeatures], tuple[str, ...], bool]:
        """Return the local features of queries, their names, and whether one was given alone."""
        from featx.images.inputs import as_sources
        from featx.retrieval._queries import is_single_image

        if isinstance(X, LocalFeatures):
            return [X], ("image 0",), True
        if isinstance(X, list | tuple) and X and all(isinstance(x, LocalFeatures) for x in X):
            return list(X), tuple(f"image {i}" for i in range(len(X))), False
        sources = as_sources(X, name="X")
        names = tuple(s if isinstance(s, str) else f"image {i}" for i, s in enumerate(sources))
        found = self.describe(sources)
        if found.failures:
            position, reason = found.failures[0]
            raise ImageDecodeError(f"query {names[position]!r}: {reason}; give another image")
        return list(found.features), names, is_single_image(X, len(sources))

    def _rank(
        self, query: LocalFeatures, k: int, among: Mask | None
    ) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp], Floats]:
        """Return rows, distances, inliers and regions of one query, (k,) each."""
        votes = self._inverted.vote(query, among)
        scores = votes.scores if among is None else np.where(among, votes.scores, -1)
        order = np.argsort(-scores, kind="stable")
        order = order[: max(k, self.n_candidates)]
        order = order[scores[order] >= 0]
        agreements = [
            self._inverted.verify(query, votes, int(row)) for row in order[: self.n_candidates]
        ]
        agreements += [NO_AGREEMENT] * (len(order) - len(agreements))
        distances = np.array(
            [_distance(one, scores[row]) for one, row in zip(agreements, order, strict=True)],
            np.float32,
        )
        best = np.argsort(distances, kind="stable")[:k]
        inliers = np.array([agreements[i].inliers for i in best], np.intp)
        regions = np.stack([agreements[i].region for i in best])
        return order[best], distances[best], inliers, regions

    # -- files ------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one HDF5 file, beside and renamed: a crash leaves the old one.

        Raises
        ------
        StoreWriteError
            If it cannot be written.
        """
        check_is_fitted(self)
        write_instances(path, InstanceContent(self.get_params(), self._columns, self._inverted))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> InstanceIndex:
        """Read an index, all of it.

        Raises
        ------
        FileFormatError
            If it is missing, foreign, of another version or damaged.
        MissingDependencyError
            If faiss is not installed.
        """
        content = read_instances(path)
        index = cls(**content.parameters)
        index._columns, index._inverted = content.columns, content.inverted
        index.failures_ = []
        return index


def _distance(agreement: Agreement, votes: float) -> float:
    if agreement.inliers:
        return 1 / (1 + agreement.inliers * agreement.share)
    return 1 + 1 / (1 + votes)


def _take_images(X: Any, given: tuple[Any, ...], *, first: int = 0) -> tuple[list[Any], Columns]:
    """Return images, and what is known of each."""
    from featx.images.inputs import as_sources

    for module in ("cv2", "faiss"):  # before images are read for minutes
        require(module, extra="instances", purpose="instance retrieval")
    if isinstance(X, FeatureStore):
        sources: list[Any] = X.paths.tolist()
    else:
        sources = as_sources(X, name="X")
        if given[0] is None and sources and all(isinstance(source, str) for source in sources):
            given = (sources, *given[1:])
    if not sources:
        raise ParameterError("X: got no images, expected one at least")
    return sources, Columns.of(X, len(sources), *given, first=first)
