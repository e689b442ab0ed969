"""Fill a store from images: only what is new, changed or failed goes through the network.

Three stages overlap. Reader processes decode ahead of the network, within a bounded number of
batches; this thread runs the network; one writer thread appends and commits. What was committed
stays whatever happens next, and a second run starts from there.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from featx._remote import is_url
from featx.errors import ParameterError, StoreWriteError
from featx.extraction._failures import Failures, most_failures
from featx.extraction._merge import NotYetError, fill_table
from featx.extraction._precision import known_recipes
from featx.extraction._ray import RayOptions, fill_shards
from featx.extraction._remembered import (
    AnyJob,
    OtherRecipesError,
    forget_request,
    note_request,
    remembered_job,
    request_of,
)
from featx.extraction._run import Run
from featx.extraction._shards import Shard, Shards, device_of, shard_of, shards_folder
from featx.extraction.items import Items, items_of_manifest
from featx.extraction.job import DEFAULT_BACKBONE, Job, prepare_job
from featx.extraction.plan import make_plan
from featx.extraction.summary import ExtractionSummary
from featx.images import ImageManifest
from featx.store import FeatureStore, StoreWriter, TableWriter, open_store, working_copy

if TYPE_CHECKING:
    from torch import nn

__all__ = ["extract", "fill_store"]


def extract(
    source: Any,
    store: str | os.PathLike[str],
    *,
    backbone: str | nn.Module = DEFAULT_BACKBONE,
    weights: str | os.PathLike[str] | None = "default",
    layers: str | Sequence[str] | None = None,
    poolings: str | Sequence[str] | None = None,
    augment: str = "none",
    resize_px: int | None = None,
    crop_px: int | None = None,
    decode: str = "reduced",
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    transform: Callable[[Any], Any] | None = None,
    max_pixels: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    on_error: str = "record",
    max_failures: int | None = None,
    prune: bool = False,
    progress: bool | None = None,
    shard: str | tuple[int, int] | None = None,
    ray: RayOptions | None = None,
) -> FeatureStore:
    """Run a network over images once and keep the features in an HDF5 store.

    Running it again does only what is new, changed or failed. A renamed or copied image is
    recognised by its content. Rows of images that are no longer in the source stay, unless `prune`
    is set and their files are gone; so does the row of an image that can no longer be read, beside
    its failure.

    Parameters
    ----------
    source : path, URL, glob, CSV manifest, sequence of these, or ImageManifest
        Where the images are; see `ImageManifest.from_source`.
    store : path or URL
        The HDF5 file; made if absent, else added to. One at a URL is written in a copy on this
        machine, which is put there at the end.
    backbone : str or nn.Module, default "featx_small"
        A name from `list_backbones`, or a network of your own.
    weights : str, path or None, default "default"
        The catalogue's best weights, the name of others, a local ``.pth`` or ``.safetensors``
        file or a folder with one, or None for seeded random ones. A published file gets its own
        preprocessing, whatever it is called.
    layers : str or list of str, optional
        Modules by dotted name; default the input of the final classifier ("penultimate"), for a
        network of your own what it returns ("output"). Several layers and poolings come from one
        decode and one forward pass; each pair is a table.
    poolings : str or list of str, optional
        "avg", "max", "gem(3)", "spoc", "crow", "mac", "rmac", "cls", "flatten".
    augment : str, default "none"
        "hflip" (2 views), "multi-scale" (3), "ten-crop" (10), "sixteen-view" (16) or "patches(1)"
        to "patches(6)" (1 to 91), averaged, or concatenated with ":keep". Time grows
        with the number of views.
    resize_px, crop_px : int, optional
        Shorter side after resizing and side of the centre crop, in pixels; default what the
        weights ask for. Time grows with the square of the crop.
    decode : {"reduced", "full"}, default "reduced"
        Whether a large JPEG may be shrunk while it is decoded.
    device : str, default "auto"
        "cpu", "cuda", "cuda:1", …; auto takes a GPU where there is one.
    precision : {"auto", "float32", "bfloat16", "float16", "int8"}, default "auto"
        Auto is that of the table that the store has, if it differs in nothing else and this
        machine can; else bfloat16 where the device computes it natively, else float32.
    engine : {"auto", "torch", "compile", "openvino", "ray"}, default "auto"
        What runs the network. "compile" is `torch.compile`: 1.5 to 1.7 times as fast on a GPU,
        after 15 to 20 s for each size of batch, for networks that are slower than reading.
        "openvino" (``pip install 'featx[openvino]'``) is faster on a CPU and gives torch's
        features to 1e-5 of the largest element in float32, so tables are shared.
        Auto takes it on a CPU for 128 images or more, views counted, where it is installed and
        agrees with torch on trial images; `summary.engine_reason` says what was taken and why.
        "ray" (``pip install 'featx[ray]'``) reads on a Ray cluster, each of whose actors takes
        what auto takes: the one that ``RAY_ADDRESS`` or `ray.init` names, else this machine.
    transform : callable, optional
        For a network of your own: PIL image → float tensor (3, H, W).
    max_pixels : int, optional
        Largest image that is decoded; larger ones are failures. Default 178,956,970, half of it
        for AVIF and HEIF. A reader needs up to 12 bytes for each pixel, but for large JPEGs, which
        shrink while they are decoded (``decode="reduced"``), a sixtieth of that.
    batch_size : int, optional
        Images a forward pass: 32 on a CPU, 256 on a GPU, where it is halved until its memory takes
        it. More costs memory and seldom gains beyond 64 on a CPU.
    workers : int, optional
        Reader processes; default one a core, 0 reads in this process.
    on_error : {"record", "raise"}, default "record"
        What an image that cannot be read, or whose features are not finite, becomes: a row of the
        failures table, or an error at the first.
    max_failures : int, optional
        How many such images there may be; one more ends the extraction in an error that names the
        first of them, with what was finished kept. Default: any number.
    prune : bool, default False
        Whether to remove images that are neither in the source nor on the disk any more, from all
        tables of the store; see `FeatureStore.prune`. Images of other sources stay.
    progress : bool, optional
        Default: a bar on a terminal, else a line every 10 s. False is silent.
    shard : "RANK/WORLD", (rank, world) or "auto", optional
        Share the images out among several processes, on one machine or on several that see one
        folder; each is called alike but for its rank ("auto" takes it from torchrun or SLURM).
        Each fills a file of its own in ``F.h5.shards``; the last to finish puts them together, row
        for row what one process makes. Whatever is missing, because a process died, is done by
        calling it again, or by a call without `shard`, which takes over what the shards have.
    ray : RayOptions, optional
        What engine "ray" asks of the cluster, `featx.extraction.RayOptions`; default one core an
        actor.

    Returns
    -------
    FeatureStore
        Open for reading, with `summary` (an `ExtractionSummary`). With several layers or poolings
        it shows the first table; see `FeatureStore.select`. Of a shard, while others are at work,
        its own file: `summary.waiting` then counts the images that are missing.

    Raises
    ------
    ManifestError
        If `source` has no images.
    WeightsError, BackboneError, ParameterError
        If the network cannot be had or does not fit the request.
    StoreWriteError
        If the store is locked by another writer or the disk is full; what was committed stays.
    ImageDecodeError
        If more images than `max_failures` cannot be read, or one and `on_error` is "raise".
    KeyboardInterrupt
        On Ctrl-C, after everything finished has been committed.

    Examples
    --------
    >>> import featx, tempfile, pathlib
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (64, 48), "red").save(folder / "red.png")
    >>> store = featx.extract(folder, folder / "f.h5", backbone="resnet18", weights=None)
    >>> store.shape
    (1, 512)
    >>> store.summary.extracted
    1
    """
    part = shard_of(shard)
    if engine == "ray":
        engine, ray = "auto", ray or RayOptions()
    elif ray is not None:
        raise ParameterError(f"ray: got options with engine {engine!r}, expected engine 'ray'")
    summary = fill_store(
        source,
        store,
        prepare=functools.partial(
            prepare_job,
            backbone,
            weights=weights,
            layers=layers,
            poolings=poolings,
            augment=augment,
            resize_px=resize_px,
            crop_px=crop_px,
            decode=decode,
            device=device_of(device, part),
            precision=precision,
            engine=engine,
            transform=transform,
            max_pixels=max_pixels,
        ),
        batch_size=batch_size,
        workers=workers,
        on_error=on_error,
        max_failures=max_failures,
        prune=prune,
        progress=progress,
        shard=part,
        ray=ray,
    )
    if summary.interrupted:
        raise KeyboardInterrupt
    path = part.path(store) if part is not None and summary.waiting else store
    opened = open_store(path, table=summary.fingerprint)
    opened.summary = summary
    return opened


def fill_store(
    source: Any,
    store: str | os.PathLike[str],
    *,
    prepare: Callable[..., Job],
    batch_size: int | None = None,
    workers: int | None = None,
    on_error: str = "record",
    max_failures: int | None = None,
    prune: bool = False,
    progress: bool | None = None,
    lock_timeout_s: float = 0.0,
    shard: Shard | None = None,
    ray: RayOptions | None = None,
) -> ExtractionSummary:
    """Do the work of `extract` and return its figures; the CLI and the transformer call this.

    Parameters
    ----------
    source : Any
        As for `extract`, or `Items`.
    prepare : callable
        Loads the network, given as `known` the recipes that the store has tables of, the largest
        first; called once the source is known to hold images. Of a `functools.partial` of
        `prepare_job` only where an image has to be read, if the store remembers the request.
    lock_timeout_s : float, default 0.0
        How long to wait for another writer, in seconds; -1 waits as long as it takes.
    shard : Shard, optional
        The part of the work that this process does; see `extract`.
    ray : RayOptions, optional
        Read on a Ray cluster first; see `extract`.
    """
    if is_url(store):
        if shard is not None or ray is not None:
            raise ParameterError(
                f"store {store!r}: got a URL for an extraction by several processes, expected a "
                "path on a file system that all of them see"
            )
        with working_copy(str(store), timeout_s=lock_timeout_s) as copy:
            return fill_store(
                source, copy, prepare=prepare, batch_size=batch_size, workers=workers,
                on_error=on_error, max_failures=max_failures, prune=prune, progress=progress,
                lock_timeout_s=lock_timeout_s,
            )  # fmt: skip
    start = time.monotonic()
    most = most_failures(on_error, max_failures)
    if batch_size is not None and batch_size < 1:
        raise ParameterError(f"batch_size: got {batch_size!r}, expected at least 1")
    if isinstance(source, Items):
        items = source
    else:
        items = items_of_manifest(ImageManifest.from_source(source))
    if ray is not None and shard is not None:
        raise ParameterError(
            "shard: got one together with engine 'ray', which shares the work out itself; "
            "expected one of the two"
        )
    request = request_of(prepare)

    def load() -> Job:
        return note_request(prepare(known=known_recipes(store)), request)

    job = (None if shard or ray else remembered_job(store, request, load)) or load()
    begun = time.monotonic()
    how: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "progress": progress}
    if ray is not None:
        _fill_on_ray(job, items, store, prepare, ray, most, lock_timeout_s, how)
    own = None if shard is None else _fill_shard(job, items, store, shard, most, how)
    if own is not None and own.interrupted:
        return own.summary(start)
    lock_s = lock_timeout_s if own is None else -1
    try:
        try:
            run = fill_table(job, items, store, Failures(most), how, prune, lock_s, own)
        except OtherRecipesError as err:
            forget_request(store, job.recipes, timeout_s=lock_s)
            run = fill_table(err.job, items, store, Failures(most), how, prune, lock_s, own)
    except NotYetError as err:
        assert own is not None
        others = len(items.names) - len(own.items.names)  # where a shard at work hides how many
        return dataclasses.replace(own.summary(start), waiting=min(err.n_missing, others))
    if ray is not None and run.extracted:
        run.read_s = time.monotonic() - begun
    summary = run.summary(start)
    if own is None:
        return summary
    return dataclasses.replace(summary, images_per_second=own.summary(start).images_per_second)


def _fill_on_ray(
    job: AnyJob,
    items: Items,
    store: str | os.PathLike[str],
    prepare: Callable[..., Job],
    options: RayOptions,
    max_failures: int | None,
    lock_timeout_s: float,
    how: dict[str, Any],
) -> None:
    """Have a cluster read what neither the store nor a shard has into shards."""
    folder = shards_folder(store)
    with (
        closing(StoreWriter(store, timeout_s=lock_timeout_s)) as writer,
        Shards(folder, job.recipes) as shards,
    ):
        wanted = make_plan(items, _tables(writer, job), elsewhere=shards).read
        left = items.take([i for i in wanted if items.names[i] not in shards])
    fill_shards(
        folder,
        left,
        prepare=functools.partial(prepare, known=job.recipes),
        fingerprints=[recipe.fingerprint for recipe in job.recipes],
        options=options,
        n_images=len(items.names),
        max_failures=max_failures,
        **how,
    )


def _fill_shard(
    job: AnyJob,
    items: Items,
    store: str | os.PathLike[str],
    shard: Shard,
    max_failures: int | None,
    how: dict[str, Any],
) -> Run:
    """Read this process' part of what the store lacks into its own file."""
    n = len(items.names)
    mine = items.take(range(n)[shard.part(n)])
    if os.path.exists(store):  # noqa: PTH110
        with closing(StoreWriter(store, timeout_s=-1)) as writer:
            mine = mine.take(make_plan(mine, _tables(writer, job)).read)
    path = shard.path(store)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as err:
        raise StoreWriteError(
            f"folder {str(path.parent)!r}: cannot be made ({err.strerror or err}); the folder of "
            "the store must exist and be writable for all processes"
        ) from err
    with StoreWriter(path) as writer:
        run = Run(job, mine, writer, Failures(max_failures), n_images=n)
        run.fill(**how)
    return run


def _tables(writer: StoreWriter, job: AnyJob) -> list[TableWriter]:
    return [writer.table(recipe, has_labels=False) for recipe in job.recipes]
