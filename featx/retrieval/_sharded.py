"""`ShardedIndex`: several indices asked as one, here or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.errors import FeatxError, ParameterError, choose, require_count
from featx.recipe import Recipe, require_same_recipe
from featx.retrieval._columns import NoRowFitsError, is_text
from featx.retrieval._matches import Matches
from featx.retrieval._queries import as_queries
from featx.retrieval._shards import LocalShards, RayShards, ShardInfo

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
        choose("engine", engine, ENGINES)
        self.weights, self.device = weights, device
        parts = _list_files(shards) if isinstance(shards, str | os.PathLike) else list(shards)
        if not parts:
            raise ParameterError(f"shards: got none in {shards!r}, expected at least one index")
        self._shards = (
            RayShards(parts, mmap=mmap, num_cpus=num_cpus)
            if engine == "ray"
            else LocalShards(parts, mmap=mmap)
        )
        try:
            infos = _check_answers(self._shards.call("describe"))
            _require_alike(infos)
        except BaseException:
            self.close()
            raise
        first, sizes = infos[0], [info.n_samples for info in infos]
        self.metric, self.n_features_in_ = first.metric, first.n_features
        self.recipe_: Recipe | None = first.recipe
        self.made_with_ = first.made_with
        self.n_samples: int = sum(sizes)
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

    def query(
        self,
        X: Any = None,
        k: int = 10,
        *,
        text: str | Sequence[str] | None = None,
        filter: Any = None,
    ) -> Matches:
        """Find what is nearest to images or vectors, or what words say, in all shards.

        Parameters
        ----------
        X, k, text
            As for `RetrievalIndex.query`.
        filter : str, sequence of str, or dict, optional
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
        if not (filter is None or isinstance(filter, Mapping) or is_text(filter)):
            raise ParameterError(
                f"filter: got {type(filter).__name__}, expected a dict of columns and values, or "
                "conditions in text"
            )
        queries = as_queries(self, X, text=text)
        call = ("query", queries.vectors, k, filter, queries.ranks)
        answers = _check_answers(self._shards.call(*call))
        matches = _merge(answers, self.starts_, k, queries.names)
        return matches[0] if queries.is_single else matches


def _list_files(folder: str | os.PathLike[str]) -> list[str]:
    """Return the files of a folder, sorted, hidden ones left out."""
    if not os.path.isdir(folder):  # noqa: PTH112
        raise ParameterError(
            f"shards: got {os.fspath(folder)!r}, expected a folder of indices, or a list of files"
        )
    with os.scandir(folder) as entries:
        return sorted(e.path for e in entries if e.is_file() and not e.name.startswith("."))


def _check_answers(answers: Sequence[Any]) -> Sequence[Any]:
    """Raise the first error among answers; that no row fits the filter must be said by all."""
    for answer in answers:
        if isinstance(answer, FeatxError) and not isinstance(answer, NoRowFitsError):
            raise answer
    if all(isinstance(answer, NoRowFitsError) for answer in answers):
        raise answers[0]
    return answers


def _require_alike(shards: Sequence[ShardInfo]) -> None:
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


def _merge(
    answers: Sequence[Any], starts: Sequence[int], k: int, names: tuple[str, ...]
) -> Matches:
    """Keep the k nearest of all, equal distances in order of rows."""
    found = [
        (n, answer)
        for n, answer in zip(starts, answers, strict=True)
        if isinstance(answer, Matches)
    ]
    rows = np.concatenate([start + matches.indices for start, matches in found], axis=1)
    distances = np.concatenate([matches.distances for _, matches in found], axis=1)
    order = np.lexsort((rows, distances), axis=1)[:, :k]

    def keep(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.take_along_axis(np.concatenate(columns, axis=1), order, axis=1)

    labels = [matches.labels for _, matches in found if matches.labels is not None]
    return Matches(
        keep([matches.ids for _, matches in found]),
        keep([distances]),
        keep([rows]),
        keep(labels) if labels else None,
        names,
    )
