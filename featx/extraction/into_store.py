"""`extract`: images through a network into a store, whatever the store and whoever does the work.

The work itself is `featx.extraction.fill.fill`. A store at a URL, several processes and a Ray
cluster are drivers around it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

from featx.errors import ParameterError, nearest
from featx.extraction.cluster import RayOptions, fill_on_ray
from featx.extraction.encoder import DEFAULT_BACKBONE, Encoder
from featx.extraction.failures import most_failures
from featx.extraction.fill import fill
from featx.extraction.notes import find_encoder
from featx.extraction.options import RunOptions
from featx.extraction.processes import Shard, fill_shard, shard_of
from featx.extraction.summary import ExtractionSummary
from featx.files.remote import is_url
from featx.images import ImageManifest
from featx.images.sources import warn_of_splits
from featx.store import FeatureStore, StoreWriter, open_store
from featx.store.remote import working_copy

if TYPE_CHECKING:
    from torch import nn

__all__ = ["extract", "fill_store"]

OF_ENCODER = {f.name for f in dataclasses.fields(Encoder)} - {"recipe"}
OF_RUN = {f.name for f in dataclasses.fields(RunOptions)}


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
    encoder : Encoder, str or nn.Module, default "featx_base"
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
    chosen, run = _read_options(encoder, options)
    if ray is not None and run.engine != "ray":
        raise ParameterError(f"ray: got options with engine {run.engine!r}, expected engine 'ray'")
    spread = shard_of(shard) or ray
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
        As for `extract`.
    encoder : Encoder
        Loaded once the source is known to hold images, and only where one of them has to be read
        if the store remembers what was asked.
    run : RunOptions, optional
        How it is run; engine "ray" on the cluster that `spread` describes.
    max_failures : int or None
        As `most_failures` gives it.
    lock_timeout_s : float, default 0.0
        How long to wait for another writer, in seconds; -1 waits as long as it takes.
    spread : Shard or RayOptions, optional
        The part of the work that this process does, or a cluster that reads first.
    """
    start = time.monotonic()
    run = run or RunOptions()
    if run.engine == "ray":
        if isinstance(spread, Shard):
            raise ParameterError(
                "shard: got one together with engine 'ray', which shares the work out itself; "
                "expected one of the two"
            )
        run, spread = dataclasses.replace(run, engine="auto"), spread or RayOptions()
    if spread is not None and is_url(store):
        raise ParameterError(
            f"store {store!r}: got a URL for an extraction by several processes, expected a "
            "path on a file system that all of them see"
        )
    images = ImageManifest.from_source(source)
    warn_of_splits(dict.fromkeys(images.labels or ()), "source")
    images = images.look_up_urls()
    limits: dict[str, Any] = {"max_failures": max_failures, "prune": prune}
    if isinstance(spread, Shard):
        summary = fill_shard(images, store, encoder, run, spread, **limits)
    elif isinstance(spread, RayOptions):
        summary = fill_on_ray(
            images, store, encoder, run, spread, lock_timeout_s=lock_timeout_s, **limits
        )
    else:
        copied = working_copy(str(store), timeout_s=lock_timeout_s) if is_url(store) else None
        with copied or contextlib.nullcontext(store) as path:
            found = find_encoder(encoder, run, path)
            with StoreWriter(path, timeout_s=lock_timeout_s) as writer:
                summary = fill(images, writer, found, **limits)
    return dataclasses.replace(summary, seconds=time.monotonic() - start)


def _read_options(
    encoder: Encoder | str | nn.Module, options: dict[str, Any]
) -> tuple[Encoder, RunOptions]:
    """Return the encoder, and how it is run.

    Raises
    ------
    ParameterError
        If there is no such option, or one is given twice.
    """
    unknown = [name for name in options if name not in {*OF_ENCODER, *OF_RUN}]
    if unknown:
        known = sorted({*OF_ENCODER, *OF_RUN})
        raise ParameterError(
            f"{unknown[0]}: got an option of this name, expected one of {', '.join(known)}."
            f"{nearest(unknown[0], known)}"
        )
    fields = {name: value for name, value in options.items() if name in OF_ENCODER}
    run = {name: value for name, value in options.items() if name in OF_RUN}
    if isinstance(encoder, Encoder):
        if fields:
            raise ParameterError(
                f"{next(iter(fields))}: got one together with an Encoder, expected it as a field "
                "of the Encoder: dataclasses.replace(encoder, ...) makes another one"
            )
        return encoder, RunOptions(**run)
    if "backbone" in fields and encoder != DEFAULT_BACKBONE:
        raise ParameterError(
            f"backbone: got {fields['backbone']!r} and {encoder!r}, expected one of the two"
        )
    return Encoder(**{"backbone": encoder, **fields}), RunOptions(**run)
