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
from contextlib import closing
from typing import TYPE_CHECKING, Any

from featx.errors import ParameterError, StoreWriteError
from featx.extraction._arguments import read_options
from featx.extraction._failures import Failures, most_failures
from featx.extraction._merge import NotYetError, fill_table
from featx.extraction._options import RunOptions
from featx.extraction._precision import known_recipes
from featx.extraction._ray import RayOptions, fill_shards
from featx.extraction._remembered import (
    AnyEncoder,
    OtherRecipesError,
    forget_request,
    note_request,
    remembered_encoder,
    request_of,
)
from featx.extraction._run import Run
from featx.extraction._shards import Shard, Shards, device_of, shards_folder
from featx.extraction.encoder import DEFAULT_BACKBONE, Encoder
from featx.extraction.items import Items, items_of_manifest
from featx.extraction.loaded import LoadedEncoder
from featx.extraction.plan import make_plan
from featx.extraction.summary import ExtractionSummary
from featx.files.remote import is_url
from featx.images import ImageManifest
from featx.store import FeatureStore, StoreWriter, TableWriter, open_store, working_copy

if TYPE_CHECKING:
    from torch import nn

__all__ = ["extract", "fill_store"]


def extract(
    source: Any,
    store: str | os.PathLike[str],
    encoder: Encoder | str | nn.Module = DEFAULT_BACKBONE,
    *,
    on_error: str = "record",
    max_failures: int | None = None,
    prune: bool = False,
    shard: str | tuple[int, int] | None = None,
    ray: RayOptions | None = None,
    **options: Any,
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
    encoder : Encoder, str or nn.Module, default "featx_small"
        What is read from which network; or the network alone, by name or your own, with fields
        of `featx.Encoder` as options: ``extract(source, store, "resnet50", augment="hflip")``.
    on_error : {"record", "raise"}, default "record"
        What an image that cannot be read, or whose features are not finite, becomes: a row of the
        failures table, or an error at the first.
    max_failures : int, optional
        How many such images there may be; one more ends the extraction in an error that names the
        first of them, with what was finished kept. Default: any number.
    prune : bool, default False
        Whether to remove images that are neither in the source nor on the disk any more, from all
        tables of the store; see `FeatureStore.prune`. Images of other sources stay.
    shard : "RANK/WORLD", (rank, world) or "auto", optional
        Share the images out among several processes, on one machine or on several that see one
        folder; each is called alike but for its rank ("auto" takes it from torchrun or SLURM).
        Each fills a file of its own in ``F.h5.shards``; the last to finish puts them together, row
        for row what one process makes. Whatever is missing, because a process died, is done by
        calling it again, or by a call without `shard`, which takes over what the shards have.
    ray : RayOptions, optional
        What engine "ray" asks of the cluster, `featx.extraction.RayOptions`; default one core per
        actor. It reads on the Ray cluster that ``RAY_ADDRESS`` or `ray.init` names, else on this
        machine (``pip install 'featx[ray]'``); each actor takes what the engine "auto" takes.
    **options
        Fields of `featx.Encoder` and of `featx.extraction.RunOptions`: `weights`, `layers`,
        `precision`, ...; `device`, `engine`, `batch_size`, `workers`, `max_pixels`, `progress`.
        `summary.engine_reason` says what the engine "auto" took and why.

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
        If the network cannot be had or does not fit the request, or there is no such option.
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
    >>> store = featx.extract(folder, folder / "f.h5", "resnet18", weights=None)
    >>> store.shape
    (1, 512)
    >>> store.summary.extracted
    1
    """
    chosen, run, spread = read_options(encoder, shard, ray, options)
    summary = fill_store(
        source,
        store,
        chosen,
        run,
        max_failures=most_failures(on_error, max_failures),
        prune=prune,
        spread=spread,
    )
    if summary.interrupted:
        raise KeyboardInterrupt
    path = spread.path(store) if isinstance(spread, Shard) and summary.waiting else store
    opened = open_store(path, table=summary.fingerprint)
    opened.summary = summary
    return opened


def fill_store(
    source: Any,
    store: str | os.PathLike[str],
    encoder: Encoder,
    run: RunOptions | None = None,
    *,
    max_failures: int | None = None,
    prune: bool = False,
    lock_timeout_s: float = 0.0,
    spread: Shard | RayOptions | None = None,
) -> ExtractionSummary:
    """Do the work of `extract` and return its figures; the CLI and the transformer call this.

    Parameters
    ----------
    source : Any
        As for `extract`, or `Items`.
    encoder : Encoder
        Loaded once the source is known to hold images, and only where one of them has to be read
        if the store remembers what was asked.
    run : RunOptions, optional
        How it is run.
    max_failures : int or None
        As `most_failures` gives it.
    lock_timeout_s : float, default 0.0
        How long to wait for another writer, in seconds; -1 waits as long as it takes.
    spread : Shard or RayOptions, optional
        The part of the work that this process does, or a cluster that reads first.
    """
    run = run or RunOptions()
    if is_url(store):
        if spread is not None:
            raise ParameterError(
                f"store {store!r}: got a URL for an extraction by several processes, expected a "
                "path on a file system that all of them see"
            )
        with working_copy(str(store), timeout_s=lock_timeout_s) as copy:
            return fill_store(
                source, copy, encoder, run, max_failures=max_failures, prune=prune,
                lock_timeout_s=lock_timeout_s,
            )  # fmt: skip
    start = time.monotonic()
    if isinstance(source, Items):
        items = source
    else:
        items = items_of_manifest(ImageManifest.from_source(source))
    shard = spread if isinstance(spread, Shard) else None
    if shard is not None:
        run = dataclasses.replace(run, device=device_of(run.device, shard))
    request = request_of(encoder, run)

    def load() -> LoadedEncoder:
        return note_request(encoder.load(run, known=known_recipes(store)), request)

    loaded = (None if spread else remembered_encoder(store, request, run, load)) or load()
    begun = time.monotonic()
    if isinstance(spread, RayOptions):
        _fill_on_ray(loaded, items, store, encoder, spread, max_failures, lock_timeout_s)
    own = None if shard is None else _fill_shard(loaded, items, store, shard, max_failures)
    if own is not None and own.interrupted:
        return own.summary(start)
    fill = functools.partial(
        fill_table, items=items, store=store, prune=prune, own=own,
        lock_timeout_s=lock_timeout_s if own is None else -1,
    )  # fmt: skip
    try:
        try:
            done = fill(loaded, failures=Failures(max_failures))
        except OtherRecipesError as err:
            forget_request(store, loaded.recipes, timeout_s=lock_timeout_s)
            done = fill(err.loaded, failures=Failures(max_failures))
    except NotYetError as err:
        assert own is not None
        others = len(items.names) - len(own.items.names)  # where a shard at work hides how many
        return dataclasses.replace(own.summary(start), waiting=min(err.n_missing, others))
    if isinstance(spread, RayOptions) and done.extracted:
        done.read_s = time.monotonic() - begun
    summary = done.summary(start)
    if own is None:
        return summary
    return dataclasses.replace(summary, images_per_second=own.summary(start).images_per_second)


def _fill_on_ray(
    loaded: AnyEncoder,
    items: Items,
    store: str | os.PathLike[str],
    encoder: Encoder,
    options: RayOptions,
    max_failures: int | None,
    lock_timeout_s: float,
) -> None:
    """Have a cluster read what neither the store nor a shard has into shards."""
    folder = shards_folder(store)
    with (
        closing(StoreWriter(store, timeout_s=lock_timeout_s)) as writer,
        Shards(folder, loaded.recipes) as shards,
    ):
        wanted = make_plan(items, _tables(writer, loaded), elsewhere=shards).read
        left = items.take([i for i in wanted if items.names[i] not in shards])
    fill_shards(
        folder,
        left,
        encoder=encoder,
        run=loaded.run,
        recipes=loaded.recipes,
        options=options,
        n_images=len(items.names),
        max_failures=max_failures,
    )


def _fill_shard(
    loaded: AnyEncoder,
    items: Items,
    store: str | os.PathLike[str],
    shard: Shard,
    max_failures: int | None,
) -> Run:
    """Read this process' part of what the store lacks into its own file."""
    n = len(items.names)
    mine = items.take(range(n)[shard.part(n)])
    if os.path.exists(store):  # noqa: PTH110
        with closing(StoreWriter(store, timeout_s=-1)) as writer:
            mine = mine.take(make_plan(mine, _tables(writer, loaded)).read)
    path = shard.path(store)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as err:
        raise StoreWriteError(
            f"folder {str(path.parent)!r}: cannot be made ({err.strerror or err}); the folder of "
            "the store must exist and be writable for all processes"
        ) from err
    with StoreWriter(path) as writer:
        run = Run(loaded, mine, writer, Failures(max_failures), n_images=n)
        run.fill()
    return run


def _tables(writer: StoreWriter, loaded: AnyEncoder) -> list[TableWriter]:
    return [writer.table(recipe, has_labels=False) for recipe in loaded.recipes]
