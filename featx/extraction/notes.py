"""What a store says of earlier extractions: which requests made its tables, in which recipes.

A table's notes say which request made it. Where the same is asked again, on the same machine, with
the same packages and the same weights file, its recipes are known at once, and an extraction that
finds nothing new loads no network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx._version import __version__
from featx.backbones.names import is_plugin
from featx.errors import FeatxError
from featx.extraction.options import RunOptions
from featx.extraction.shards import shards_folder
from featx.fingerprint import json_digest
from featx.recipe import Recipe
from featx.store import StoreWriter, store_info
from featx.store.tables import TableInfo

if TYPE_CHECKING:
    from featx.extraction.encoder import Encoder
    from featx.extraction.loaded import LoadedEncoder

__all__ = [
    "AS_TABLE",
    "NotedEncoder",
    "find_encoder",
    "forget_request",
    "list_recipes",
    "load_encoder",
]

AS_TABLE = "auto: as the table that exists"
NOTE = "request"
MAX_CPUINFO = 1 << 13  # of the first core
PACKAGES = ("torch", "torchvision", "timm", "transformers", "openvino", "nncf")


@dataclass(frozen=True)
class NotedEncoder:
    """What a store's notes say of an encoder, which is enough until an image has to be read.

    Parameters
    ----------
    recipes : tuple of Recipe
        One for each table.
    run : RunOptions
        How it is to be run.
    load : callable
        Loads the network, which may give other recipes by now.
    device, precision_reason, preprocessing_reason : str
        As `LoadedEncoder` has them.
    made_with : mapping
        What is to be noted of the network: nothing before it is loaded.
    """

    recipes: tuple[Recipe, ...]
    run: RunOptions
    load: Callable[[], LoadedEncoder]
    device: str
    precision_reason: str
    preprocessing_reason: str
    made_with: Mapping[str, Any] = field(default_factory=dict)


def find_encoder(
    encoder: Encoder, run: RunOptions, store: str | os.PathLike[str]
) -> NotedEncoder | LoadedEncoder:
    """Return what a store's notes say of an encoder; loaded where they say nothing."""
    request = _request_digest(encoder, run)
    load = functools.partial(_load_soon, encoder, run, store)
    if request is None or not os.path.isfile(store):  # noqa: PTH113
        return load()
    with contextlib.suppress(FeatxError, OSError):  # whoever writes there says what is wrong
        tables = store_info(store).tables
        recipes = {table.key: table.recipe for table in tables}
        for table in tables:
            note = table.made_with.get(NOTE) or {}
            noted = [recipes.get(key) for key in note.get("fingerprints", ())]
            found = tuple(recipe for recipe in noted if recipe is not None)
            if note.get("digest") != request or not found or len(found) < len(noted):
                continue
            reason = str(note["precision_reason"])
            return NotedEncoder(
                found,
                run,
                load,
                device=str(table.made_with["device"]),
                # what the machine would take by itself is not known without the network
                precision_reason=AS_TABLE if reason.startswith("auto") else reason,
                preprocessing_reason=str(note["preprocessing_reason"]),
            )
    return load()


def load_encoder(
    encoder: Encoder, run: RunOptions, store: str | os.PathLike[str]
) -> LoadedEncoder:
    """Load an encoder to fill a store, with a note of what asked for it."""
    from featx.backbones.licenses import warn_of_license

    loaded = encoder.load(run, known=list_recipes(store))
    warn_of_license(loaded.backbone.name, loaded.backbone.license)
    request = _request_digest(encoder, run)
    if request is None:
        return loaded
    note = {
        "digest": request,
        "fingerprints": [recipe.fingerprint for recipe in loaded.recipes],
        "precision_reason": loaded.precision_reason,
        "preprocessing_reason": loaded.preprocessing_reason,
    }
    return dataclasses.replace(loaded, made_with={**loaded.made_with, NOTE: note})


def _load_soon(encoder: Encoder, run: RunOptions, store: str | os.PathLike[str]) -> LoadedEncoder:
    """Do what `load_encoder` does, without torch where a graph is kept; keeps one where not."""
    from featx.extraction.requests import keep_request, load_request

    request = _request_digest(encoder, run, _processor())
    # weights by name on a hub may be others by now
    if request is None or "/" in str(encoder.backbone) or ":" in str(encoder.backbone):
        return load_encoder(encoder, run, store)
    found = load_request(request, run)
    known = list_recipes(store) if encoder.precision == "auto" else []
    if found is not None and not _has_other_precision(found.recipes[0], known):
        return found
    loaded = load_encoder(encoder, run, store)
    is_own_choice = not _has_other_precision(loaded.recipes[0], known)
    return keep_request(request, loaded) if is_own_choice else loaded


def _has_other_precision(recipe: Recipe, known: Sequence[Recipe]) -> bool:
    """Tell whether a table differs in its precision alone, which "auto" may have to follow."""
    return any(
        each != recipe and dataclasses.replace(recipe, precision=each.precision) == each
        for each in known
    )


def forget_request(writer: StoreWriter, recipes: tuple[Recipe, ...]) -> None:
    """Remove the note from tables that the request no longer gives."""
    for recipe in recipes:
        writer.table(recipe, has_labels=False, made_with={NOTE: None})


def list_recipes(store: str | os.PathLike[str]) -> list[Recipe]:
    """Return the recipes that a store and its shards have tables of, the largest first.

    What cannot be read is left out: whoever writes there says what is wrong with it.
    """
    folder = shards_folder(store)
    shards = sorted(folder.glob("*.h5")) if folder.is_dir() else []
    tables: list[TableInfo] = []
    for path in (Path(store), *shards):
        with contextlib.suppress(FeatxError, OSError):
            tables += store_info(path).tables if path.is_file() else ()
    tables.sort(key=lambda table: -table.n_samples)
    return [table.recipe for table in tables if table.recipe is not None]


def _request_digest(encoder: Encoder, run: RunOptions, machine: str = "") -> str | None:
    """Return a digest of what is asked for; None where it cannot be told apart from another.

    A machine is known by its name, or by what is given in its place.
    """
    if not isinstance(encoder.backbone, str) or encoder.transform is not None:
        return None
    if is_plugin(encoder.backbone):
        return None
    recipe = encoder.recipe
    asked = {**vars(encoder), "recipe": None if recipe is None else recipe.fingerprint}
    weights = encoder.weights
    if weights is not None and os.path.exists(weights):  # noqa: PTH110
        if os.path.isdir(weights):  # noqa: PTH112 - its time says little of what lies in it
            return None
        status = os.stat(weights)  # noqa: PTH116
        asked["weights"] = [os.path.abspath(weights), status.st_size, status.st_mtime_ns]  # noqa: PTH100
    packages = {"featx": __version__, **{name: _version(name) for name in PACKAGES}}
    machine = machine or platform.node()
    where = [machine, os.environ.get("CUDA_VISIBLE_DEVICES"), run.device, run.engine]
    try:
        return json_digest([asked, packages, where])
    except TypeError:  # a value that is refused later
        return None


@functools.cache
def _processor() -> str:
    """Return what the processor is able to do, where Linux says it; each container has a name."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            lines = file.read(MAX_CPUINFO).splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@functools.cache  # reading one takes a millisecond
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
