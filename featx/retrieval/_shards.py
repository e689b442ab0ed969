"""Parts of a sharded index, and where they run: in this process, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import connect_ray
from featx.errors import FeatxError, ParameterError
from featx.recipe import Recipe
from featx.retrieval._index import RetrievalIndex
from featx.retrieval._matches import Matches

__all__ = ["LocalShards", "RayShards", "Shard", "ShardInfo"]

# A shard whose node is lost is loaded anew on another, and asked again, so many times.
RETRIES = 3


@dataclass(frozen=True)
class ShardInfo:
    """What a shard must share with the others, and what must be known of it to ask it."""

    name: str
    metric: str
    n_features: int
    n_samples: int
    recipe: Recipe | None
    made_with: dict[str, Any]
    has_labels: bool


class Shard:
    """One part. An error of featx is an answer: on Ray, asking again would not help.

    Parameters
    ----------
    name : str
        For messages.
    source : path or RetrievalIndex
        Loaded here where it is a path.
    mmap : bool
        As for `RetrievalIndex.load`.
    """

    def __init__(self, name: str, source: Any, mmap: bool) -> None:
        self._name, self._index, self._error = name, source, None
        if isinstance(source, str | os.PathLike):
            try:
                self._index = RetrievalIndex.load(source, mmap=mmap)
            except FeatxError as err:
                self._error = err

    def describe(self) -> ShardInfo | FeatxError:
        """Say what the others must share."""
        index = self._index
        return self._error or ShardInfo(
            name=self._name,
            metric=index.metric,
            n_features=index.n_features_in_,
            n_samples=index.n_samples_fit_,
            recipe=index.recipe_,
            made_with=index.made_with_,
            has_labels=index.labels_ is not None,
        )

    def query(
        self, vectors: NDArray[np.float32], k: int, where: Any, ranks: Any
    ) -> Matches | FeatxError:
        """Return the nearest rows, (n_queries, at most k)."""
        try:
            return self._error or self._index.query(vectors, k, filter=where, rerank=ranks)
        except FeatxError as err:
            return err


class LocalShards:
    """Shards in this process, asked one after the other: each search takes all cores."""

    def __init__(self, sources: Sequence[Any], *, mmap: bool) -> None:
        self._shards = [
            Shard(
                repr(os.fspath(source))
                if isinstance(source, str | os.PathLike)
                else f"shards[{i}]",
                source,
                mmap,
            )
            for i, source in enumerate(sources)
        ]

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Return what a method of each shard gives, in their order."""
        return [getattr(shard, method)(*arguments) for shard in self._shards]

    def close(self) -> None:
        """Let go of the shards."""
        self._shards = []


class RayShards:
    """Shards on a Ray cluster, an actor each, asked all at once.

    An actor that dies, or whose node is lost, is started anew by Ray and loads its file again.
    """

    def __init__(self, sources: Sequence[Any], *, mmap: bool, num_cpus: float) -> None:
        for i, source in enumerate(sources):
            if not isinstance(source, str | os.PathLike):
                raise ParameterError(
                    f"shards[{i}]: got {type(source).__name__} with engine 'ray', expected the "
                    "file of an index, which its actor loads"
                )
        self._ray = connect_ray("engine 'ray'")
        there = self._ray.cluster_resources().get("CPU", 0)
        if num_cpus * len(sources) > there:
            raise ParameterError(
                f"engine 'ray': {len(sources)} shards ask for {num_cpus:g} CPU each, but the "
                f"whole cluster has {there:g}; ask for less (num_cpus), or add nodes"
            )
        # not resolved here: the nodes may see them where this machine does not
        self._paths = [os.path.abspath(source) for source in sources]  # noqa: PTH100
        actor = self._ray.remote(
            num_cpus=num_cpus, max_restarts=RETRIES, max_task_retries=RETRIES
        )(Shard)
        self._actors = [actor.remote(repr(path), path, mmap) for path in self._paths]

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Return what a method of each shard gives, in their order; arguments travel once."""
        shared = [self._ray.put(argument) for argument in arguments]
        found = [getattr(actor, method).remote(*shared) for actor in self._actors]
        return [self._get(each, path) for each, path in zip(found, self._paths, strict=True)]

    def _get(self, reference: Any, path: str) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as err:
            raise FeatxError(
                f"shard {path!r}: its actor is lost "
                f"({' '.join(str(err).split())[-300:]}), expected a cluster with room for it that "
                "sees the file; without it no answer would be whole"
            ) from err

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._ray.kill(actor)
        self._actors = []
