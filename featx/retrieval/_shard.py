"""One part of a sharded index: what it says of itself, what it answers, and where it runs."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx._optional import connected_ray
from featx.errors import FeatxError, ParameterError
from featx.recipe import Recipe
from featx.retrieval._columns import NoRowFitsError
from featx.retrieval._index import RetrievalIndex

__all__ = ["About", "Answer", "LocalShards", "RayShards", "Shards", "list_shards"]

# A shard whose node is lost is loaded anew on another, and asked again, so many times.
RETRIES = 3


@dataclass(frozen=True)
class About:
    """What a shard must share with the others, and what the driver needs to know of it."""

    name: str
    metric: str
    n_features: int
    n_samples: int
    recipe: Recipe | None
    made_with: dict[str, Any]
    has_labels: bool


@dataclass(frozen=True)
class Answer:
    """The nearest rows of one shard, (n_queries, at most k), ascending."""

    rows: NDArray[np.intp]
    distances: NDArray[np.float32]
    ids: NDArray[Any]
    labels: NDArray[Any] | None


class Shards(Protocol):
    """Some shards, wherever they are."""

    def about(self) -> list[About]:
        """Describe each."""

    def ask(self, vectors: NDArray[np.float32], k: int, where: Any) -> list[Answer | None]:
        """Ask each; None where no row of a shard fits the filter of all."""

    def close(self) -> None:
        """Let go of them."""


class LocalShards:
    """Shards in this process, asked one after the other: each search takes all cores."""

    def __init__(self, shards: Sequence[Any], *, mmap: bool) -> None:
        self._names, self._indices = [], []
        for i, shard in enumerate(shards):
            is_file = isinstance(shard, str | os.PathLike)
            self._names.append(repr(os.fspath(shard)) if is_file else f"shards[{i}]")
            self._indices.append(RetrievalIndex.load(shard, mmap=mmap) if is_file else shard)

    def about(self) -> list[About]:
        """Describe each."""
        return [_about(n, i) for n, i in zip(self._names, self._indices, strict=True)]

    def ask(self, vectors: NDArray[np.float32], k: int, where: Any) -> list[Answer | None]:
        """Ask each."""
        return _asked([functools.partial(_answer, i, vectors, k, where) for i in self._indices])

    def close(self) -> None:
        """Let go of them."""
        self._indices = []


class RayShards:
    """Shards on a Ray cluster, an actor each, asked all at once.

    An actor that dies, or whose node is lost, is started anew by Ray and loads its file again.
    """

    def __init__(self, shards: Sequence[Any], *, mmap: bool, num_cpus: float) -> None:
        for i, shard in enumerate(shards):
            if not isinstance(shard, str | os.PathLike):
                raise ParameterError(
                    f"shards[{i}]: got {type(shard).__name__} with engine 'ray', expected the "
                    "file of an index, which its actor loads"
                )
        self._ray = connected_ray("engine 'ray'")
        there = self._ray.cluster_resources().get("CPU", 0)
        if num_cpus * len(shards) > there:
            raise ParameterError(
                f"engine 'ray': {len(shards)} shards ask for {num_cpus:g} CPU each, but the whole "
                f"cluster has {there:g}; ask for less (num_cpus), or add nodes"
            )
        # not resolved here: the nodes may see them where this machine does not
        self._names = [os.path.abspath(shard) for shard in shards]  # noqa: PTH100
        actor = self._ray.remote(
            num_cpus=num_cpus, max_restarts=RETRIES, max_task_retries=RETRIES
        )(_Actor)
        self._actors = [actor.remote(name, mmap) for name in self._names]

    def about(self) -> list[About]:
        """Describe each."""
        found = [actor.about.remote() for actor in self._actors]
        return [self._one(reference, i) for i, reference in enumerate(found)]

    def ask(self, vectors: NDArray[np.float32], k: int, where: Any) -> list[Answer | None]:
        """Ask each; the vectors travel once."""
        shared = self._ray.put(vectors)
        found = [actor.answer.remote(shared, k, where) for actor in self._actors]
        return _asked([functools.partial(self._one, ref, i) for i, ref in enumerate(found)])

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._ray.kill(actor)
        self._actors = []

    def _one(self, reference: Any, i: int) -> Any:
        try:
            found = self._ray.get(reference)
        except self._ray.exceptions.RayError as err:
            raise FeatxError(
                f"shard {self._names[i]!r}: its actor is lost "
                f"({' '.join(str(err).split())[-300:]}), expected a cluster with room for it that "
                "sees the file; without it no answer would be whole"
            ) from err
        if isinstance(found, FeatxError):
            raise found
        return found


class _Actor:
    """A shard on Ray. Errors of featx are answers: asking again would not help."""

    def __init__(self, path: str, mmap: bool) -> None:
        self._path, self._index, self._problem = path, None, None
        try:
            self._index = RetrievalIndex.load(path, mmap=mmap)
        except FeatxError as err:
            self._problem = err

    def about(self) -> Any:
        return self._problem or _about(repr(self._path), self._index)

    def answer(self, vectors: NDArray[np.float32], k: int, where: Any) -> Any:
        try:
            return self._problem or _answer(self._index, vectors, k, where)
        except FeatxError as err:
            return err


def _about(name: str, index: Any) -> About:
    return About(
        name=name,
        metric=index.metric,
        n_features=index.n_features_in_,
        n_samples=index.n_samples_fit_,
        recipe=index.recipe_,
        made_with=index.made_with_,
        has_labels=index.labels_ is not None,
    )


def _answer(
    index: Any, vectors: NDArray[np.float32], k: int, where: Mapping[str, Any] | None
) -> Answer:
    found = index.query(vectors, k, filter=where)
    return Answer(found.indices, found.distances, found.ids, found.labels)


def _asked(asks: Sequence[Callable[[], Answer]]) -> list[Answer | None]:
    """Collect answers; it is an error where no row of any shard fits the filter."""
    found: list[Answer | None] = []
    empty: list[NoRowFitsError] = []
    for ask in asks:
        try:
            found.append(ask())
        except NoRowFitsError as err:
            found.append(None)
            empty.append(err)
    if len(empty) == len(found):
        raise empty[0]
    return found


def list_shards(folder: str | os.PathLike[str]) -> list[str]:
    """Return the files of a folder, sorted, hidden ones left out."""
    if not os.path.isdir(folder):  # noqa: PTH112
        raise ParameterError(
            f"shards: got {os.fspath(folder)!r}, expected a folder of indices, or a list of files"
        )
    with os.scandir(folder) as entries:
        return sorted(e.path for e in entries if e.is_file() and not e.name.startswith("."))
