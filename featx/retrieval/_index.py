"""`RetrievalIndex`: exact nearest neighbours of images and of vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.errors import ParameterError, nearest
from featx.recipe import Recipe, require_same_recipe
from featx.retrieval._columns import checked_ids, column
from featx.retrieval._file import IndexContent, read_index, write_index
from featx.retrieval._matches import Matches
from featx.retrieval._names import reranking
from featx.retrieval._queries import Queries, as_queries, check_vectors, recipe_backbone
from featx.retrieval._rerank import Ranking, RankingInput, Reranking, require_count
from featx.retrieval._search import METRICS, Vectors, row_norms, search
from featx.store import FeatureStore

__all__ = ["RetrievalIndex"]

STORAGES = ("memory", "store")


class RetrievalIndex(BaseEstimator):  # type: ignore[misc]
    """A mapping from feature vectors to what lies nearest to them, found exactly.

    Parameters
    ----------
    metric : {"cosine", "euclidean", "dot"}, default "cosine"
        Distance, ascending: 1 - cos, where a vector of zeros is at 1 from all; the length of the
        difference; minus the inner product.
    storage : {"memory", "store"}, default "memory"
        "memory" holds n_samples * n_features float32. "store" leaves the vectors in the feature
        store that the index is fitted on and reads them at every query, which takes 1.2 to 1.5
        times as long; it can neither `add` nor `remove`. A `numpy.memmap` of float32 stays one.
    weights : str or path, optional
        Where the weights of the recipe's network are, for queries by image. Default: where they
        were when the features were extracted.
    device : str, default "auto"
        Where to run that network.

    Attributes
    ----------
    ids_ : ndarray of shape (n_samples,)
        What the rows are called: a store's paths, else what was given, else row numbers.
    labels_ : ndarray of shape (n_samples,), or None
        Labels of the rows.
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
    A query of one image or vector gives arrays (k,), of many (n_queries, k). Time grows with
    n_queries * n_samples * n_features; memory does not depend on n_samples beyond the vectors.

    Examples
    --------
    >>> index = RetrievalIndex().fit([[1.0, 0.0], [0.0, 1.0]], ids=["east", "north"])
    >>> index.query([3.0, 1.0], k=1).ids.tolist()
    ['east']
    >>> index.add([[1.0, 0.2]], ids=["east by north"]).query([3.0, 1.0], k=1).ids.tolist()
    ['east by north']
    """

    def __init__(
        self,
        metric: str = "cosine",
        *,
        storage: str = "memory",
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
    ) -> None:
        self.metric = metric
        self.storage = storage
        self.weights = weights
        self.device = device

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        ids: Sequence[Any] | NDArray[Any] | None = None,
        labels: Sequence[Any] | NDArray[Any] | None = None,
    ) -> Self:
        """Take the database.

        Parameters
        ----------
        X : FeatureStore, or array-like of shape (n_samples, n_features)
            Finite.
        y : None
            Ignored, as in scikit-learn's neighbours.
        ids : sequence of str or int, optional
            A name for each row, each once. Default: a store's paths, else row numbers.
        labels : sequence, optional
            Default: the store's.

        Returns
        -------
        RetrievalIndex

        Raises
        ------
        ParameterError
            If a parameter is unknown, ids come twice or lengths differ.
        """
        for name, value, known in (
            ("metric", self.metric, METRICS),
            ("storage", self.storage, STORAGES),
        ):
            if value not in known:
                raise ParameterError(
                    f"{name}: got {value!r}, expected one of {', '.join(known)}."
                    f"{nearest(str(value), known)}"
                )
        data, ids, labels = self._database(X, ids, labels)
        self._vectors = Vectors(data, row_norms(data))
        n = data.shape[0]
        self.n_features_in_ = data.shape[1]
        self.ids_ = np.arange(n) if ids is None else checked_ids(ids, n)
        self.labels_ = None if labels is None else column("labels", labels, n)
        self.recipe_: Recipe | None = X.recipe if isinstance(X, FeatureStore) else None
        self.made_with_: dict[str, Any] = X.made_with if isinstance(X, FeatureStore) else {}
        self._rerankings: dict[str, Reranking] = {}
        return self

    @property
    def n_samples_fit_(self) -> int:
        """Number of rows."""
        return self._vectors.shape[0]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "ids_")

    def add(
        self,
        X: Any,
        *,
        ids: Sequence[Any] | NDArray[Any] | None = None,
        labels: Sequence[Any] | NDArray[Any] | None = None,
    ) -> Self:
        """Add rows at the end.

        Parameters
        ----------
        X : FeatureStore, or array-like of shape (n_new, n_features)
            Of the index's recipe.
        ids : sequence, optional
            None of which may be in the index. Default: a store's paths, else the next row numbers.
        labels : sequence, optional
            Needed where the index has labels and X is no store with labels.

        Raises
        ------
        FingerprintMismatchError
            If X is a store of another recipe.
        ParameterError
            If an id is there already, or the index cannot grow.
        """
        mine = self._own_memory("add")
        if isinstance(X, FeatureStore):
            require_same_recipe(X.recipe, self.recipe_, thing=X.path, maker="index in memory")
            ids = X.paths if ids is None else ids
            labels = X.labels if labels is None else labels
        new = check_vectors(np.asarray(X), self.n_features_in_)
        n = len(mine)
        names = np.arange(n, n + len(new)) if ids is None else ids
        if (labels is None) != (self.labels_ is None):
            got, expected = ("none", "one") if labels is None else ("some", "none")
            raise ParameterError(
                f"labels: got {got}, expected {expected} for each row, as the index has"
            )
        both = np.concatenate([mine, new])
        all_ids = checked_ids([*self.ids_.tolist(), *np.asarray(names).tolist()], len(both))
        if self.labels_ is not None and labels is not None:
            added = column("labels", labels, len(new))
            self.labels_ = np.concatenate([self.labels_, added])
        self.ids_ = all_ids
        self._vectors = Vectors(both, np.concatenate([self._vectors.norms, row_norms(new)]))
        return self

    def remove(self, ids: Any) -> Self:
        """Remove rows by id; the others keep their order.

        Raises
        ------
        ParameterError
            If an id is not in the index, with the nearest one; nothing is removed then.
        """
        mine = self._own_memory("remove")
        unwanted = [ids] if isinstance(ids, str | int) else list(ids)
        row = {name: i for i, name in enumerate(self.ids_.tolist())}
        missing = [name for name in unwanted if name not in row]
        if missing:
            raise ParameterError(
                f"ids: got {missing[0]!r} ({len(missing)} such ids), expected ids of the index."
                f"{nearest(str(missing[0]), map(str, row))}"
            )
        kept = np.ones(len(mine), bool)
        kept[[row[name] for name in unwanted]] = False
        self.ids_ = self.ids_[kept]
        self.labels_ = None if self.labels_ is None else self.labels_[kept]
        self._vectors = Vectors(mine[kept], self._vectors.norms[kept])
        return self

    def query(
        self,
        X: Any,
        k: int = 10,
        *,
        rerank: str | Reranking | None = None,
        images: Any = None,
    ) -> Matches:
        """Find what is nearest to images or vectors.

        Parameters
        ----------
        X : path, PIL image, uint8 array, tensor, vector, FeatureStore, or a sequence of these
            Images go through the network that the index's features were made with. Arrays of one
            or two dimensions are vectors.
        k : int, default 10
            Neighbours; all where the index has fewer.
        rerank : str or object, optional
            Another order than plain distance. "aqe" and "alpha-qe" search twice and give the
            metric's distances to the expanded query; "k-reciprocal", "diffusion" and "spatial"
            reorder the first candidates, whose distances then lie from 0 to 1, and leave the rest
            below, above 1. Or an object with other parameters, such as
            `featx.retrieval.AlphaQueryExpansion(n=5)`. "spatial" compares images, and reads those
            of the first 100 candidates: see `featx.retrieval.SpatialVerification`.
        images : sequence of images, optional
            What X shows, one image a row, where X are vectors and "spatial" is to compare images.

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
            If vectors do not fit, there is no such re-ranking, or it lacks the images.
        """
        check_is_fitted(self)
        require_count("k", k)
        ranks = self._reranking(rerank)
        if isinstance(X, FeatureStore):
            require_same_recipe(X.recipe, self.recipe_, thing=X.path, maker="index in memory")
        queries = as_queries(
            X,
            self.n_features_in_,
            recipe=self.recipe_,
            weights=self._weights,
            device=self.device,
            images=images,
        )
        found = self._ranked(queries, min(k, self.n_samples_fit_), ranks)
        rows, distances, inliers = found.rows, found.distances, found.inliers
        if queries.is_single:
            rows, distances = rows[0], distances[0]
            inliers = None if inliers is None else inliers[0]
        labels = None if self.labels_ is None else self.labels_[rows]
        return Matches(self.ids_[rows], distances, rows, labels, queries.names, inliers)

    def _ranked(self, queries: Queries, k: int, ranks: Reranking | None) -> Ranking:
        recipe = self.recipe_

        def backbone() -> Any:
            assert recipe is not None
            return recipe_backbone(recipe, weights=self._weights, device=self.device)

        given = RankingInput(
            self._vectors,
            self.metric,
            queries.vectors,
            k,
            self.ids_,
            queries.images,
            None if recipe is None else backbone,
        )
        return given.nearest(k) if ranks is None or not queries.names else ranks.rank(given)

    def _reranking(self, rerank: str | Reranking | None) -> Reranking | None:
        """Return what ranks; of a name always the same object, which may have learned."""
        if isinstance(rerank, str) and rerank in self._rerankings:
            return self._rerankings[rerank]
        ranks = reranking(rerank)
        if isinstance(rerank, str) and ranks is not None:
            self._rerankings[rerank] = ranks
        return ranks

    @property
    def _weights(self) -> Any:
        return self.weights or self.made_with_.get("weights", "default")

    def kneighbors(self, X: Any = None, n_neighbors: int = 5, return_distance: bool = True) -> Any:
        """Find neighbours as scikit-learn's estimators do.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), or None
            None asks for the neighbours of every row, itself left out.
        n_neighbors : int, default 5
            At most n_samples_fit_, less one where X is None.
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
        exclude = np.arange(self.n_samples_fit_) if X is None else None
        if X is None:
            queries = np.asarray(self._vectors.data[:], np.float32)
        elif isinstance(X, FeatureStore):
            queries = check_vectors(X[:], self.n_features_in_)
        else:
            queries = validate_data(self, X, reset=False, dtype=np.float32)
        rows, distances = search(
            self._vectors, queries, n_neighbors, metric=self.metric, exclude=exclude
        )
        return (distances, rows) if return_distance else rows

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one HDF5 file, beside and renamed: a crash leaves the old one.

        Raises
        ------
        StoreWriteError
            If it cannot be written.
        """
        check_is_fitted(self)
        content = IndexContent(
            self.metric, self._vectors, self.ids_, self.labels_, self.recipe_, self.made_with_
        )
        write_index(path, content)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False) -> RetrievalIndex:
        """Read an index.

        Parameters
        ----------
        path : path
            A file of `save`.
        mmap : bool, default False
            Map the vectors instead of reading them: opens at once whatever its size and shares
            memory between processes, but skips their checksums and cannot `add` or `remove`.

        Raises
        ------
        FileFormatError
            If it is missing, foreign, of another version or damaged.
        """
        content = read_index(path, mmap=mmap)
        index = cls(content.metric)
        index._vectors, index.ids_ = content.vectors, content.ids
        index.labels_, index.recipe_ = content.labels, content.recipe
        index.made_with_, index.n_features_in_ = content.made_with, content.vectors.shape[1]
        index._rerankings = {}
        return index

    def _database(self, X: Any, ids: Any, labels: Any) -> tuple[Any, Any, Any]:
        if isinstance(X, FeatureStore):
            data = X if self.storage == "store" else check_vectors(X[:], None)
            return data, X.paths if ids is None else ids, X.labels if labels is None else labels
        if self.storage == "store":
            raise ParameterError(
                f"storage: got 'store' with X of type {type(X).__name__}, expected a FeatureStore"
            )
        if isinstance(X, np.memmap) and X.dtype == np.float32 and X.ndim == 2:
            return X, ids, labels
        return validate_data(self, X, dtype=np.float32), ids, labels

    def _own_memory(self, method: str) -> NDArray[np.float32]:
        check_is_fitted(self)
        data = self._vectors.data
        if isinstance(data, FeatureStore | np.memmap):
            raise ParameterError(
                f"{method}: got an index whose vectors are in a {type(data).__name__}, expected "
                "one in memory; fit it with storage='memory', or load it with mmap=False"
            )
        mine: NDArray[np.float32] = data
        return mine
