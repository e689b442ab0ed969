"""Extraction on a Ray cluster: Ray Data hands out the work, each actor fills shards of the store.

Ray starts the actors, brings dead ones and lost nodes back and gives their work to others. A shard
is a store with a journal, so that whoever takes one over goes on where its predecessor was killed;
the driver puts them together. All nodes must see the images and the folder of the store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx._optional import require
from featx._progress import Progress
from featx.errors import FeatxError, ParameterError, require_count, require_number
from featx.extraction.encoder import Encoder
from featx.extraction.fill import fill
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.notes import load_encoder
from featx.extraction.options import RunOptions
from featx.extraction.processes import find_missing
from featx.extraction.shards import shards_folder
from featx.extraction.summary import ExtractionSummary
from featx.files.remote import RemoteFile
from featx.images import ImageManifest
from featx.store import StoreWriter

__all__ = ["RayOptions", "fill_on_ray"]

# How long to wait for a writer that died with its node: its lock ends with its process.
LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class RayOptions:
    """What an extraction asks of a Ray cluster.

    Parameters
    ----------
    actors : int, optional
        Copies of the network. Default: as many as the cluster has room for.
    cpus_per_actor : float, default 1
        Cores of each; torch and OpenVINO take as many threads. One each is fastest where the
        network runs on the processor.
    gpus_per_actor : float, default 0
        GPUs of each; a share such as 0.5 lets two use one.
    images_per_shard : int, default 512
        Handed out at a time. What a killed actor had not committed of one is read again.

    Examples
    --------
    >>> RayOptions(actors=8, cpus_per_actor=4, gpus_per_actor=1)
    RayOptions(actors=8, cpus_per_actor=4, gpus_per_actor=1, images_per_shard=512)
    """

    actors: int | None = None
    cpus_per_actor: float = 1
    gpus_per_actor: float = 0
    images_per_shard: int = 512

    def __post_init__(self) -> None:
        if self.actors is not None:
            require_count("actors", self.actors)
        require_number("cpus_per_actor", self.cpus_per_actor, 0)
        require_number("gpus_per_actor", self.gpus_per_actor, 0)
        require_count("images_per_shard", self.images_per_shard)


class _Reader:
    """An actor: the network, loaded once."""

    def __init__(
        self,
        load: Callable[[], LoadedEncoder],
        fingerprints: Sequence[str],
        n_images: int,
        max_failures: int | None,
    ) -> None:
        self._loaded, self._n_images, self._max_failures = load(), n_images, max_failures
        found = [recipe.fingerprint for recipe in self._loaded.recipes]
        self._problem = ""
        if found != list(fingerprints):
            self._problem = (
                f"a node's network gives features of recipe {', '.join(found)}, expected "
                f"{', '.join(fingerprints)}, the driver's; name the precision, and a weights file "
                "that is the same everywhere"
            )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Fill the shards named."""
        work = [json.loads(text) for text in batch["work"]]
        problems = [self._problem or self._fill(**one) for one in work]
        return {"n_images": [len(one["paths"]) for one in work], "problem": problems}

    def _fill(
        self,
        path: str,
        paths: list[str],
        remote: dict[str, list[int]],
        labels: list[str] | None,
        columns: dict[str, list[str]],
    ) -> str:
        """Fill one; return what is wrong, for the driver to say: trying again helps nothing."""
        images = ImageManifest(
            tuple(paths),
            None if labels is None else tuple(labels),
            {name: tuple(values) for name, values in columns.items()},
            {url: RemoteFile(url, *told) for url, told in remote.items()},
        )
        try:
            with StoreWriter(path, timeout_s=LOCK_TIMEOUT_S) as writer:
                fill(
                    images,
                    writer,
                    self._loaded,
                    max_failures=self._max_failures,
                    n_images=self._n_images,
                )
        except FeatxError as err:
            return str(err)
        return ""


def fill_on_ray(
    images: ImageManifest,
    store: str | os.PathLike[str],
    encoder: Encoder,
    run: RunOptions,
    options: RayOptions,
    *,
    max_failures: int | None = None,
    prune: bool = False,
    lock_timeout_s: float = 0.0,
) -> ExtractionSummary:
    """Have a cluster read what a store lacks into shards, and put these together here.

    Parameters
    ----------
    run : RunOptions
        How the encoder is run in each actor; one with one core reads by itself.

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.
    FeatxError
        If a shard cannot be filled, or a node's network gives other features than the driver's.
    """
    data = require("ray.data", extra="ray", purpose="engine 'ray'")
    start = time.monotonic()
    loaded = load_encoder(encoder, run, store)
    missing = find_missing(
        images, store, loaded.recipes, retry=True, lock_timeout_s=lock_timeout_s
    )
    if missing:
        load = functools.partial(encoder.load, _run_of_actor(run, options), known=loaded.recipes)
        fingerprints = [recipe.fingerprint for recipe in loaded.recipes]
        arguments = (load, fingerprints, len(images), max_failures)
        with _silence(data), Progress(len(missing), "extract", enabled=run.progress) as bar:
            folder = shards_folder(store)
            for n_done in _fill_shards(data, images.subset(missing), folder, arguments, options):
                bar.advance(n_done)
    with StoreWriter(store, timeout_s=lock_timeout_s) as writer:
        whole = fill(images, writer, loaded, max_failures=max_failures, prune=prune)
    rate = whole.extracted / (time.monotonic() - start)
    return dataclasses.replace(whole, images_per_second=rate)


def _run_of_actor(run: RunOptions, options: RayOptions) -> RunOptions:
    """Return how an actor runs the encoder; one with a single core reads by itself."""
    n_threads = max(1, int(options.cpus_per_actor))
    workers = (n_threads if n_threads > 1 else 0) if run.workers is None else run.workers
    return dataclasses.replace(run, workers=workers, progress=False)


def _fill_shards(
    data: Any,
    images: ImageManifest,
    folder: Path,
    arguments: tuple[Any, ...],
    options: RayOptions,
) -> Iterator[int]:
    """Have actors, made with `arguments`, read images into shards; yield how many are done."""
    folder.mkdir(exist_ok=True)
    work = [
        {"work": json.dumps({"path": str(folder / _name_shard(part)), **_to_json(part)})}
        for part in _parts(images, options.images_per_shard)
    ]
    ray = _connect_ray("engine 'ray'")
    done = data.from_items(work, override_num_blocks=len(work)).map_batches(
        _Reader,
        fn_constructor_args=arguments,
        batch_size=1,
        compute=data.ActorPoolStrategy(**_pool(ray, options, len(work))),
        num_cpus=options.cpus_per_actor,
        num_gpus=options.gpus_per_actor,
    )
    try:
        for row in done.iter_rows():
            if row["problem"]:
                raise FeatxError(f"engine 'ray': {row['problem']}")
            yield int(row["n_images"])
    except ray.exceptions.RayError as err:
        raise FeatxError(
            f"engine 'ray': {' '.join(str(err).split())[-400:]}; what was finished is kept: "
            "solve this and run again"
        ) from err


@contextlib.contextmanager
def _silence(data: Any) -> Iterator[None]:
    """Keep Ray Data from reporting every step; errors are raised all the same."""
    context, log = data.DataContext.get_current(), logging.getLogger("ray.data")
    bars, level = context.enable_progress_bars, log.level
    context.enable_progress_bars = False
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        log.setLevel(level)


def _pool(ray: Any, options: RayOptions, n_shards: int) -> dict[str, int]:
    """Return the number of actors; where none is asked for, what there is room for."""
    if options.actors is not None:
        return {"size": min(options.actors, n_shards)}
    there = ray.cluster_resources()
    most = n_shards
    for name, each in (("CPU", options.cpus_per_actor), ("GPU", options.gpus_per_actor)):
        if each and there.get(name, 0) < each:
            raise ParameterError(
                f"engine 'ray': an actor asks for {each:g} {name}, but the whole cluster has "
                f"{there.get(name, 0):g}; ask for less, or name the number of actors to wait for "
                "nodes that are still to come"
            )
        if each:
            most = min(most, int(there[name] / each))
    return {"min_size": 1, "max_size": most}


def _parts(images: ImageManifest, size: int) -> list[ImageManifest]:
    n = len(images)
    return [images.subset(range(start, min(start + size, n))) for start in range(0, n, size)]


def _to_json(images: ImageManifest) -> dict[str, Any]:
    """Return them as JSON knows them; names of files that are not UTF-8 come through escaped."""
    told = {url: file for url in images.paths if (file := images.remote.get(url)) is not None}
    return {
        "paths": images.paths,
        "remote": {url: (file.size_bytes, file.mtime_ns) for url, file in told.items()},
        "labels": images.labels,
        "columns": dict(images.columns),
    }


def _name_shard(images: ImageManifest) -> str:
    """Name a shard by its images, so that a run that comes later finds it."""
    digest = hashlib.sha256("\0".join(images.paths).encode("utf-8", "surrogateescape"))
    return f"ray-{digest.hexdigest()[:16]}.h5"


def _connect_ray(purpose: str) -> Any:
    """Return Ray, connected: to ``RAY_ADDRESS``, `ray.init`'s cluster, or a new one here.

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.
    """
    ray = require("ray", extra="ray", purpose=purpose)
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports to Ray's makers
        # Ray warns that actors may outlive their arguments, which the driver keeps.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    return ray
