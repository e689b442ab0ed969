"""`RetrievalIndex`: nearest neighbours of images and of vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from featx._values import is_frame
from featx.errors import FileFormatError, ParameterError, choose, require_count, require_number
from featx.retrieval._approximate import ApproximateFinder
from featx.retrieval._file import IndexContent, read_index, write_index
from featx.retrieval._kinds import choose_kind
from featx.retrieval._matches import Matches
from featx.retrieval._queries import Queries, as_queries, check_vectors
from featx.retrieval._recall import add_finder, tune_finder
from featx.retrieval._rows import IndexedRows
from featx.retrieval._search import search, search_within
from featx.retrieval._vectors import Mask
from featx.retrieval.ranking import Ranking, RankingInput, Reranking, merge_turns
from featx.retrieval.rerankings import resolve_rerankings
from featx.store import FeatureStore

__all__ = ["RetrievalIndex"]


class RetrievalIndex(IndexedRows):
    """A mapping from feature vectors to what lies nearest to them.

    Parameters
    ----------
    metric : {"cosine", "euclidean", "dot"}, default "cosine"
        Distance, ascending: 1 - cos, where a vector of zeros is at 1 from all; the length of the
        difference; minus the inner product.
    kind : {"auto", "exact", "hnsw", "ivf"}, default "auto"
        "exact" compares a query with every row. "hnsw" (a graph) and "ivf" (lists of rows around
        k-means centroids) look at a part of the rows, through faiss (extra ``ann``), and compare
        what they find with the vectors themselves: distances are right, some neighbours are
        missed. "auto" is exact up to 1 GiB of float32, then "ivf".
    storage : {"memory", "store", "cuda"}, default "memory"
        "memory" holds n_samples * n_features values. "store" leaves the vectors in the feature
        store that the index is fitted on and reads them at every query, which takes 1.2 to 1.5
        times as long; it can neither `add` nor `remove`. "cuda" (or "cuda:1") compares on a GPU,
        exactly. A `numpy.memmap` of float32 or float16 stays one.
    dtype : {"float32", "float16"}, default "float32"
        Of the vectors held in memory and saved; "float16" takes half, rounds at 5e-4 of a value,
        and makes a single exact query about 5 times as slow, many at once hardly. Vectors in a
        store or a memory map stay what they are until they are saved.
    codes : {"auto", "float32", "float16", "int8", "pq"}, default "auto"
        What an approximate kind holds of each vector, besides: 4, 2, 1, or a quarter of a byte a
        feature. "auto" takes the largest, from float16 down, that fits a quarter of the memory;
        an exact kind takes no other.
    target_recall : float, default 0.95
        Share of the exact first 10 that an approximate kind should find. Time rises with it.
    weights : str or path, optional
        Where the weights of the recipe's network are, for queries by image. Default: where they
        were when the features were extracted.
    device : str, default "auto"
        Where to run that network.
    random_state : int, default 0
        Of the rows that k-means learns from and that the recall is measured on.

    Attributes
    ----------
    ids_ : ndarray of shape (n_samples,)
        What the rows are called: a store's paths, else what was given, else row numbers.
    labels_ : ndarray of shape (n_samples,), or None
        Labels of the rows.
    metadata_ : dict of str to ndarray of shape (n_samples,)
        A store's further columns, or what was given.
    kind_ : Kind
        What `kind` and `codes` became, with ``reason``.
    recall_ : Recall or None
        Recall at 10 that an approximate kind had when it was built, for 500 rows that were put in
        afterwards; None for an exact one. `tune` measures again, with your queries.
    recipe_ : Recipe or None
        What the vectors were made with; features of another recipe are refused.
    made_with_ : dict
        Notes of the extraction, the weights file among them.
    n_samples_fit_ : int
        Number of rows.
    n_features_in_ : int
        Length of a vector.

    Notes
    -----
    A query of one image or vector gives arrays (k,), of many (n_queries, k). Time of an exact one
    grows with n_queries * n_samples * n_features; memory does not depend on n_samples beyond the
    vectors.

    HNSW: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
    hierarchical navigable small world graphs", PAMI 2020. Inverted lists and product quantisation:
    Jegou et al., "Product quantization for nearest neighbor search", PAMI 2011.

    Examples
    --------
    >>> index = RetrievalIndex().fit([[1.0, 0.0], [0.0, 1.0]], ids=["east", "north"])
    >>> index.query([3.0, 1.0], k=1).ids.tolist()
    ['east']
    >>> index.add([[1.0, 0.2]], ids=["east by north"]).query([3.0, 1.0], k=1).ids.tolist()
    ['east by north']
    >>> index.kind_.describe()
    'exact'
    """

    # -- questions --------------------------------------------------------------------------------

    def query(
        self,
        X: Any = None,
        k: int = 10,
        *,
        text: str | Sequence[str] | None = None,
        filter: Any = None,
        rerank: str | Reranking | Sequence[str | Reranking] | None = None,
        images: Any = None,
        rotations: int = 1,
    ) -> Matches:
        """Find what is nearest to images or vectors, or what words say.

        Parameters
        ----------
        X : path, PIL image, uint8 array, tensor, vector, FeatureStore, or a sequence of these
            Images go through the network that the index's features were made with. Arrays of one
            or two dimensions are vectors. None where words alone are asked.
        k : int, default 10
            Neighbours; all where the index has fewer.
        text : str or sequence of str, optional
            Words, such as "fire engine", which are added to each image; several add up, and one
            with a minus before it is to be absent: ``"dog -husky"``. Where the network has no
            text tower, they are names of the classes that it was trained on, and distances are 1
            less the share that its classifier gives them, for the first 1,000 candidates.
        filter : str, sequence of str, dict, or array-like of shape (n_samples,), bool, optional
            Rows that may be found. Text: ``"label=cat"``, ``["price<=20", "colour!=red"]``, all
            of them holding, where several values of one column are alternatives, and ranges
            compare numbers. A dict: ``{"year": ["2013", "2014"]}``, ``{"id": [...]}``. Or a mask
            over the rows.
        rerank : str, object, or sequence of these, optional
            Another order than plain distance. "aqe" and "alpha-qe" search twice and give the
            metric's distances to the expanded query; "k-reciprocal", "diffusion" and "spatial"
            reorder the first candidates, whose distances then lie from 0 to 1, and leave the rest
            below, above 1. Or an object with other parameters, such as
            `featx.retrieval.AlphaQueryExpansion(n=5)`. "spatial" compares images, and reads those
            of the first 100 candidates: see `featx.retrieval.SpatialVerification`. Several follow
            each other: ``["spatial", "aqe"]`` averages what was verified.
        images : sequence of images, optional
            What X shows, one per row, where X are vectors and "spatial" is to compare images.
        rotations : int, default 1
            Turns of each image, evenly over the circle: of each match the distance to the nearest
            turn counts. 4 take four times as long, and find what was photographed on its side. Of
            vectors, so many rows in turn belong to one query.

        Returns
        -------
        Matches
            Arrays of shape (k,) for one image or vector, else (n_queries, k). Distances ascend,
            whatever they are.

        Raises
        ------
        ImageDecodeError
            If an image cannot be read.
        FingerprintMismatchError
            If a store of another recipe is given.
        ParameterError
            If vectors do not fit, no row fits the filter, there is no such re-ranking, it lacks
            the images, or a word is not known.
        BackboneError
            If the index's network has no words.
        """
        check_is_fitted(self)
        require_count("k", k)
        require_count("rotations", rotations)
        ranks = resolve_rerankings(rerank)
        among = self._columns.mask(filter)
        n_allowed = self.n_samples_fit_ if among is None else int(among.sum())
        k = min(k, n_allowed)
        queries = self._embed(X, images, text, rotations)
        if queries.images is not None:  # a re-ranking is given one for each vector
            turned = tuple(image for image in queries.images for _ in range(rotations))
            queries = replace(queries, images=turned)
        found = self._rank(queries, k, among, (*queries.ranks, *ranks))
        if rotations > 1:
            found = merge_turns(found, rotations, k)
        matches = self._matches(found, queries.names)
        return matches[0] if queries.is_single else matches

    def query_radius(self, X: Any, radius: float, *, filter: Any = None) -> list[Matches]:
        """Find everything at most `radius` away; every row is compared, whatever the kind.

        Parameters
        ----------
        X : as for `query`
        radius : float
            In the metric's distances.
        filter : as for `query`

        Returns
        -------
        list of Matches
            One for each query, of whatever length.

        Examples
        --------
        >>> index = RetrievalIndex().fit([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
        >>> [matches.ids.tolist() for matches in index.query_radius([[1.0, 0.0]], 0.1)]
        [[0, 2]]
        """
        check_is_fitted(self)
        require_number("radius", radius, -np.inf if self.metric == "dot" else 0, np.inf)
        among, queries = self._columns.mask(filter), self._embed(X)
        found = search_within(self._vectors, queries.vectors, radius, among=among)
        return [
            self._matches(Ranking(rows, distances), (name,))
            for (rows, distances), name in zip(found, queries.names, strict=True)
        ]

    def _embed(self, X: Any, images: Any = None, text: Any = None, rotations: int = 1) -> Queries:
        queries = as_queries(self, X, images, text, rotations)
        if is_frame(X) and queries.images is None:  # vectors, whose columns may be in disorder
            validate_data(self, X, reset=False, skip_check_array=True)
        return queries

    def _rank(
        self, queries: Queries, k: int, among: Mask | None, ranks: tuple[Reranking, ...]
    ) -> Ranking:
        given = RankingInput(
            vectors=self._vectors,
            queries=queries.vectors,
            k=k,
            ids=self.ids_,
            images=queries.images,
            among=among,
            before=ranks if queries.names else (),
            learned=self._learned,
        )
        return given.nearest(k)

    def _matches(self, found: Ranking, names: tuple[str, ...]) -> Matches:
        rows = found.rows
        if np.isnan(found.distances).any():
            row = int(rows[np.isnan(found.distances)][0])
            raise FileFormatError(
                f"the index has numbers that are not finite in row {row} or in one like it: its "
                "file is damaged or forged; build it again with featx index"
            )
        labels = None if self.labels_ is None else self.labels_[rows]
        return Matches(self.ids_[rows], found.distances, rows, labels, names, found.inliers)

    def kneighbors(self, X: Any = None, n_neighbors: int = 5, return_distance: bool = True) -> Any:
        """Find neighbours as scikit-learn's estimators do.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), or None
            None asks for the neighbours of every row, itself left out.
        n_neighbors : int, default 5
            At most `n_samples_fit_`, less one where X is None.
        return_distance : bool, default True
            Whether distances come too.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float32
            Only if asked for.
        indices : ndarray of shape (n_queries, n_neighbors), intp
            Rows of the index.
        """
        check_is_fitted(self)
        require_count("k", n_neighbors)
        most = self.n_samples_fit_ - (X is None)
        if n_neighbors > most:
            raise ParameterError(
                f"n_neighbors: got {n_neighbors}, expected at most {most}, what the index has"
            )
        exclude = None
        if X is None:
            queries, exclude = self.vectors(), np.arange(self.n_samples_fit_)
        elif isinstance(X, FeatureStore):
            queries = check_vectors(X[:], self.n_features_in_)
        else:
            queries = validate_data(self, X, reset=False, dtype=np.float32)
        rows, distances = search(self._vectors, queries, n_neighbors, exclude=exclude)
        return (distances, rows) if return_distance else rows

    def tune(self, queries: Any, *, target_recall: float | None = None) -> Self:
        """Choose the search effort of an approximate index anew, and measure `recall_`.

        Parameters
        ----------
        queries : as X of `query`
            Such as will be asked, not rows of the index: half of them choose, the other half
            measures.
        target_recall : float, optional
            Recall at 10. Default: the parameter of that name.

        Raises
        ------
        ParameterError
            If the index is exact.
        """
        check_is_fitted(self)
        finder = self._vectors.finder
        if not isinstance(finder, ApproximateFinder):
            raise ParameterError("tune: got an exact index, expected kind 'hnsw' or 'ivf'")
        target = self.target_recall if target_recall is None else target_recall
        require_number("target_recall", target, 0, 1)
        asked = self._embed(queries).vectors
        best, self.recall_ = tune_finder(self._vectors, finder, target, queries=asked)
        self._vectors = replace(self._vectors, finder=best)
        return self

    # -- files ------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one HDF5 file, beside and renamed: a crash leaves the old one.

        Raises
        ------
        StoreWriteError
            If it cannot be written.
        """
        check_is_fitted(self)
        content = IndexContent(
            self._vectors,
            self._columns,
            self.recipe_,
            self.made_with_,
            self.kind_,
            self.recall_,
            self.target_recall,
            self.dtype,
        )
        write_index(path, content)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, mmap: bool = False, storage: str = "memory"
    ) -> RetrievalIndex:
        """Read an index.

        Parameters
        ----------
        path : path
            A file of `save`.
        mmap : bool, default False
            Leave the vectors in the file and read those that a query compares: opens at once
            whatever its size and shares the system's cache between processes, but an exact query
            takes about twice as long (many together 1.3 times), checksums are skipped, and
            nothing can be added or removed. What an approximate kind holds besides is read. Where
            another program writes into the file, a query raises `FileFormatError`; `save` puts
            another file in its place, which an index that is open does not see.
        storage : {"memory", "cuda"}, default "memory"
            "cuda" (or "cuda:1") compares on a GPU, exactly, whatever the kind.

        Raises
        ------
        FileFormatError
            If it is missing, foreign, of another version or damaged.
        MissingDependencyError
            If it is approximate and faiss is not installed.
        """
        choose("storage", storage.partition(":")[0], ("memory", "cuda"))
        content = read_index(path, mmap=mmap)
        vectors, recall, kind = content.vectors, content.recall, content.kind
        if storage.startswith("cuda"):
            kind = choose_kind("exact", "auto", *vectors.shape, storage=storage)
            vectors, recall = add_finder(vectors, kind, storage, target=1, seed=0)
        index = cls(
            vectors.metric,
            kind=kind.name,
            codes="auto" if kind.name == "exact" else kind.codes,
            storage=storage,
            dtype=vectors.data.dtype.name,
            target_recall=content.target_recall,
        )
        index.recipe_, index.made_with_ = content.recipe, content.made_with
        index.n_features_in_, index.kind_ = vectors.shape[1], kind
        index._take(content.columns, vectors, recall)
        return index
