"""`ShardedIndex`: several indices asked as one, here or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError, nearest, require_count
from featx.recipe import Recipe, require_same_recipe
from featx.retrieval._matches import Matches
from featx.retrieval._queries import as_queries
from featx.retrieval._shard import About, Answer, LocalShards, RayShards, Shards, list_shards

__all__ = ["ShardedIndex"]

ENGINES = ("local", "ray")


class ShardedIndex:
    """Indices over parts of a collection, asked as one; a context manager.

    Parameters
    ----------
    shards : folder, or sequence of files or RetrievalIndex
        Parts of the collection, in the order in which their rows count. Of a folder all files,
        by name. They must share metric, width and recipe; kinds may differ.
    engine : {"local", "ray"}, default "local"
        "local" asks one after the other in this process, each with all cores. "ray"
        (``pip install 'featx[ray]'``) loads each file in an actor of its own and asks all at once,
        for collections that no single memory holds; all nodes must see the files.
    mmap : bool, default False
        As for `RetrievalIndex.load`.
    num_cpus : float, default 1
        Cores that Ray sets aside for each shard.
    weights : str or path, optional
        As for `RetrievalIndex`, for queries by image.
    device : str, default "auto"
        Where to run the network for those: here, once, whatever the engine.

    Attributes
    ----------
    n_samples : int
        Rows of all shards.
    starts_ : tuple of int
        Number of each shard's first row.
    metric : str
    n_features_in_ : int
    recipe_ : Recipe or None
    made_with_ : dict

    Raises
    ------
    ParameterError
        If there is no shard, or two do not fit together.
    FingerprintMismatchError
        If two hold features of different recipes.
    FileFormatError
        If a file is missing, no index or damaged.

    Notes
    -----
    Of exact shards the answer is that of one exact index over all rows, up to the rounding of
    distances (1e-6): each shard names its k nearest, and of all those the k nearest are kept,
    equal distances in order of rows. Of approximate ones it is the best of what they find. Ids are
    not compared across shards: an image that is in two is found twice. Re-rankings need one index.

    Examples
    --------
    >>> from featx import RetrievalIndex
    >>> west = RetrievalIndex().fit([[1.0, 0.0]], ids=["east"])
    >>> rest = RetrievalIndex().fit([[0.0, 1.0], [1.0, 0.1]], ids=["north", "nearly east"])
    >>> with ShardedIndex([west, rest]) as index:
    ...     index.n_samples, index.query([1.0, 0.0], k=2).ids.tolist()
    (3, ['east', 'nearly east'])
    """

    def __init__(
        self,
        shards: str | os.PathLike[str] | Sequence[Any],
        *,
        engine: str = "local",
        mmap: bool = False,
        num_cpus: float = 1,
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
    ) -> None:
        if engine not in ENGINES:
            raise ParameterError(
                f"engine: got {engine!r}, expected one of {', '.join(ENGINES)}."
                f"{nearest(str(engine), ENGINES)}"
            )
        self.weights, self.device = weights, device
        parts = list_shards(shards) if isinstance(shards, str | os.PathLike) else list(shards)
        if not parts:
            raise ParameterError(f"shards: got none in {shards!r}, expected at least one index")
        self._shards: Shards = (
            RayShards(parts, mmap=mmap, num_cpus=num_cpus)
            if engine == "ray"
            else LocalShards(parts, mmap=mmap)
        )
        try:
            self._about = self._shards.about()
            _require_alike(self._about)
        except BaseException:
            self.close()
            raise
        first, sizes = self._about[0], [about.n_samples for about in self._about]
        self.metric, self.n_features_in_ = first.metric, first.n_features
        self.recipe_: Recipe | None = first.recipe
        self.made_with_ = first.made_with
        self.n_samples = sum(sizes)
        self.starts_ = tuple(np.cumsum([0, *sizes[:-1]]).tolist())

    def __len__(self) -> int:
        return self.n_samples

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the shards; on Ray this ends their actors."""
        self._shards.close()

    def query(self, X: Any, k: int = 10, *, filter: Mapping[str, Any] | None = None) -> Matches:
        """Find what is nearest to images or vectors, in all shards.

        Parameters
        ----------
        X, k
            As for `RetrievalIndex.query`.
        filter : dict, optional
            As there; a mask over rows is not taken.

        Returns
        -------
        Matches
            ``indices`` count through the shards in their order.

        Raises
        ------
        ParameterError, ImageDecodeError, FingerprintMismatchError
            As `RetrievalIndex.query`.
        FeatxError
            If a shard on Ray is lost for good; never an answer without it.
        """
        require_count("k", k)
        if filter is not None and not isinstance(filter, Mapping):
            raise ParameterError(
                f"filter: got {type(filter).__name__}, expected a dict of columns and values"
            )
        queries = as_queries(self, X)
        answers = self._shards.ask(queries.vectors, k, filter)
        found = _merged(answers, self.starts_, k)
        matches = Matches(found.ids, found.distances, found.rows, found.labels, queries.names)
        return matches[0] if queries.is_single else matches


def _require_alike(shards: Sequence[About]) -> None:
    """Refuse what cannot answer as one."""
    first = shards[0]
    for other in shards[1:]:
        for what, a, b in (
            ("metric", first.metric, other.metric),
            ("n_features", first.n_features, other.n_features),
            ("labels", first.has_labels, other.has_labels),
        ):
            if a != b:
                raise ParameterError(
                    f"shard {other.name}: got {what} {b!r}, expected {a!r} as in {first.name}; "
                    "make them with the same settings"
                )
        if (first.recipe is None) != (other.recipe is None):
            raise ParameterError(
                f"shards {first.name} and {other.name}: one of them was made outside featx, "
                "expected features of one recipe; extract both with the same settings"
            )
        require_same_recipe(
            other.recipe, first.recipe, thing=f"shard {other.name}", maker=f"shard {first.name}"
        )


def _merged(answers: Sequence[Answer | None], starts: Sequence[int], k: int) -> Answer:
    """Keep the k nearest of all, equal distances in order of rows."""
    there = [(start, answer) for start, answer in zip(starts, answers, strict=True) if answer]
    rows = np.concatenate([start + answer.rows for start, answer in there], axis=1)
    distances = np.concatenate([answer.distances for _, answer in there], axis=1)
    order = np.lexsort((rows, distances), axis=1)[:, :k]

    def kept(column: NDArray[Any]) -> NDArray[Any]:
        return np.take_along_axis(column, order, axis=1)

    ids = np.concatenate([answer.ids for _, answer in there], axis=1)
    labels = [answer.labels for _, answer in there if answer.labels is not None]
    return Answer(
        kept(rows),
        kept(distances),
        kept(ids),
        kept(np.concatenate(labels, axis=1)) if labels else None,
    )
