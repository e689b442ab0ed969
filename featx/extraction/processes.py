"""Extraction by several processes: each fills a shard, the last puts them together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.errors import ParameterError, StoreWriteError
from featx.extraction.encoder import Encoder
from featx.extraction.fill import fill
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.notes import load_encoder
from featx.extraction.options import RunOptions
from featx.extraction.plan import make_plan
from featx.extraction.shards import Shards, shards_folder
from featx.extraction.summary import ExtractionSummary, Tally
from featx.images import ImageManifest
from featx.recipe import Recipe
from featx.store import StoreWriter

__all__ = ["Shard", "device_of", "fill_shard", "find_missing", "shard_of"]

# Where schedulers say which process of how many this is: torchrun, then SLURM.
SCHEDULERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


@dataclass(frozen=True)
class Shard:
    """Which process of how many this is.

    Parameters
    ----------
    rank : int
        From 0.
    world : int
        Number of processes.
    """

    rank: int
    world: int

    def part(self, n: int) -> slice:
        """Return the positions of n that are this process': neighbours, as many as others have."""
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)

    def path(self, store: str | os.PathLike[str]) -> Path:
        """Return this process' own file for a store."""
        return shards_folder(store) / f"{self.rank:05}-of-{self.world:05}.h5"


def shard_of(value: Any) -> Shard | None:
    """Return the shard that is asked for.

    Parameters
    ----------
    value : None, "auto", "RANK/WORLD" or (rank, world)
        "auto" is what torchrun (RANK, WORLD_SIZE) or SLURM (SLURM_PROCID, SLURM_NTASKS) has put
        into the environment.

    Raises
    ------
    ParameterError
        If it is none of these, or the environment says nothing.

    Examples
    --------
    >>> shard_of("3/8")
    Shard(rank=3, world=8)
    """
    if value is None or isinstance(value, Shard):
        return value
    words: Sequence[Any] = ()
    if value == "auto":
        words = next(
            (
                [os.environ[k] for k in keys]
                for keys in SCHEDULERS
                if all(map(os.environ.get, keys))
            ),
            (),
        )
        if not words:
            known = " nor ".join(" and ".join(keys) for keys in SCHEDULERS)
            raise ParameterError(
                f"shard: got 'auto', but the environment has neither {known}; start it with "
                "torchrun or srun, or say which part this is, such as 0/8"
            )
    elif isinstance(value, str):
        words = value.split("/")
    elif isinstance(value, Sequence):
        words = value
    try:
        rank, world = map(int, words)
    except (TypeError, ValueError):
        rank, world = -1, 0
    if not 0 <= rank < world:
        raise ParameterError(
            f"shard: got {value!r}{'' if value != 'auto' else f' ({words})'}, expected "
            "RANK/WORLD with 0 <= RANK < WORLD, such as 0/8 to 7/8"
        )
    return Shard(rank, world)


def device_of(device: str, shard: Shard | None) -> str:
    """Return the device of this process: of several GPUs the one that the scheduler counts."""
    local = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID")
    if shard is None or device not in ("auto", "cuda") or local is None:
        return device
    import torch

    n = torch.cuda.device_count()
    return f"cuda:{int(local) % n}" if n else device


def fill_shard(
    images: ImageManifest,
    store: str | os.PathLike[str],
    encoder: Encoder,
    run: RunOptions,
    shard: Shard,
    *,
    max_failures: int | None = None,
    prune: bool = False,
) -> ExtractionSummary:
    """Read one part of what a store lacks; put all parts together where none is missing.

    Returns
    -------
    ExtractionSummary
        Of the whole store, or of this part, with `waiting` the number of images that others have
        not done yet.
    """
    run = dataclasses.replace(run, device=device_of(run.device, shard))
    loaded = load_encoder(encoder, run, store)
    part = _fill_part(images, store, loaded, shard, max_failures)
    if part.interrupted:
        return part
    try:
        missing = find_missing(images, store, loaded.recipes, retry=False, lock_timeout_s=-1)
        n_missing = len(missing)
    except StoreWriteError:  # somebody is at work on a shard, which hides how many
        n_missing = len(images)
    if n_missing:
        return dataclasses.replace(part, waiting=min(n_missing, len(images) - part.images))
    with StoreWriter(store, timeout_s=-1) as writer:
        whole = fill(images, writer, loaded, max_failures=max_failures, prune=prune)
    return dataclasses.replace(whole, images_per_second=part.images_per_second)


def find_missing(
    images: ImageManifest,
    store: str | os.PathLike[str],
    recipes: Sequence[Recipe],
    *,
    retry: bool,
    lock_timeout_s: float,
) -> list[int]:
    """Return the positions of images that neither a store nor its shards have.

    Parameters
    ----------
    retry : bool
        Whether those that the store lists as failures count.

    Raises
    ------
    StoreWriteError
        If the store, or a shard, is locked by another writer.
    """
    with (
        closing(StoreWriter(store, timeout_s=lock_timeout_s)) as writer,  # which writes nothing
        Shards(shards_folder(store), recipes) as shards,
    ):
        tables = [writer.table(recipe, has_labels=False) for recipe in recipes]
        wanted = make_plan(images, tables, in_shards=shards).read
        tried = set() if retry else {failure.path for failure in writer.failures}
        names = images.paths
        return [i for i in wanted if names[i] not in shards and names[i] not in tried]


def _fill_part(
    images: ImageManifest,
    store: str | os.PathLike[str],
    loaded: LoadedEncoder,
    shard: Shard,
    max_failures: int | None,
) -> ExtractionSummary:
    """Read this process' part of what the store lacks into its own file."""
    positions: Sequence[int] = range(len(images))[shard.part(len(images))]
    if positions and os.path.exists(store):  # noqa: PTH110
        with closing(StoreWriter(store, timeout_s=-1)) as writer:
            tables = [writer.table(recipe, has_labels=False) for recipe in loaded.recipes]
            read = make_plan(images.subset(positions), tables).read
        positions = [positions[i] for i in read]
    if not positions:
        return ExtractionSummary.of(None, loaded, Tally(), failed=0, elsewhere=0, seconds=0.0)
    path = shard.path(store)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as err:
        raise StoreWriteError(
            f"folder {str(path.parent)!r}: cannot be made ({err.strerror or err}); the folder of "
            "the store must exist and be writable for all processes"
        ) from err
    # A folder that cannot be listed is a failure of the whole, not of each part.
    mine = dataclasses.replace(images.subset(positions), unreadable={})
    with StoreWriter(path) as writer:
        return fill(mine, writer, loaded, max_failures=max_failures, n_images=len(images))
