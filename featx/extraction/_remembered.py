"""What an extraction asked for last time, so that one that finds nothing new loads no network.

A table's notes say which request made it. Where the same is asked again, on the same machine, with
the same packages and the same weights file, its recipes are known at once. The network is loaded
when an image has to go through it, and its recipes are compared then.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from featx._version import __version__
from featx.errors import FeatxError
from featx.extraction._options import RunOptions
from featx.extraction._precision import AS_TABLE
from featx.extraction.loaded import LoadedEncoder
from featx.fingerprint import json_digest
from featx.recipe import Recipe
from featx.store import StoreWriter, store_info, table_notes

if TYPE_CHECKING:
    from featx.engines import EngineChoice
    from featx.extraction.encoder import Encoder

__all__ = [
    "AnyEncoder",
    "OtherRecipesError",
    "RememberedEncoder",
    "forget_request",
    "note_request",
    "remembered_encoder",
    "request_of",
]

NOTE = "request"
PACKAGES = ("torch", "torchvision", "timm", "openvino", "nncf")


class OtherRecipesError(Exception):
    """The network gives other recipes than it did when the request was remembered."""

    def __init__(self, loaded: LoadedEncoder) -> None:
        super().__init__(loaded)
        self.loaded = loaded


class RememberedEncoder:
    """A `LoadedEncoder` as far as an extraction needs one before it reads an image.

    Parameters
    ----------
    recipes : tuple of Recipe
        One for each table.
    notes : dict
        What the table is made with that remembers the request.
    run : RunOptions
        How it is to be run.
    load : callable
        Loads the network.
    """

    def __init__(
        self,
        recipes: tuple[Recipe, ...],
        notes: dict[str, Any],
        run: RunOptions,
        load: Callable[[], LoadedEncoder],
    ) -> None:
        self.recipes, self.run, self._load = recipes, run, load
        self.device = str(notes["device"])
        reason = str(notes[NOTE]["precision_reason"])
        # what the machine would take by itself is not known without the network
        self.precision_reason = AS_TABLE if reason.startswith("auto") else reason
        self.preprocessing_reason = str(notes[NOTE]["preprocessing_reason"])

    @functools.cached_property
    def _loaded(self) -> LoadedEncoder:
        loaded = self._load()
        if loaded.recipes != self.recipes:
            raise OtherRecipesError(loaded)
        return loaded

    @property
    def made_with(self) -> dict[str, Any]:
        """What is to be noted of the network: nothing before it is loaded."""
        return self._loaded.made_with if "_loaded" in vars(self) else {}

    def choose_engine(self, n_images: int) -> EngineChoice:
        """Load the network and choose what runs it."""
        return self._loaded.choose_engine(n_images)

    def embed(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        """Read images and run the network."""
        return self._loaded.embed(*arguments, **options)


AnyEncoder = LoadedEncoder | RememberedEncoder


def request_of(encoder: Encoder, run: RunOptions) -> str | None:
    """Return a digest of what is asked for; None where it cannot be told apart from another."""
    if not isinstance(encoder.backbone, str) or encoder.transform is not None:
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
    machine = [platform.node(), os.environ.get("CUDA_VISIBLE_DEVICES"), run.device, run.engine]
    try:
        return json_digest([asked, packages, machine])
    except TypeError:  # a value that is refused later
        return None


def note_request(loaded: LoadedEncoder, request: str | None) -> LoadedEncoder:
    """Return the loaded encoder with a note of what asked for it."""
    if request is not None:
        fingerprints = [recipe.fingerprint for recipe in loaded.recipes]
        loaded.made_with[NOTE] = {
            "digest": request,
            "fingerprints": fingerprints,
            "precision_reason": loaded.precision_reason,
            "preprocessing_reason": loaded.preprocessing_reason,
        }
    return loaded


def forget_request(
    store: str | os.PathLike[str], recipes: tuple[Recipe, ...], *, timeout_s: float
) -> None:
    """Remove the note from tables that the request no longer gives."""
    with StoreWriter(store, timeout_s=timeout_s) as writer:
        for recipe in recipes:
            writer.table(recipe, has_labels=False, made_with={NOTE: None})


def remembered_encoder(
    store: str | os.PathLike[str],
    request: str | None,
    run: RunOptions,
    load: Callable[[], LoadedEncoder],
) -> RememberedEncoder | None:
    """Return the encoder that a request made before; None where a store does not know it."""
    if request is None or not os.path.isfile(store):  # noqa: PTH113
        return None
    with contextlib.suppress(FeatxError, OSError):  # whoever writes there says what is wrong
        tables = {info.key: info.recipe for info in store_info(store).tables}
        for notes in table_notes(store).values():
            note = notes.get(NOTE) or {}
            recipes = tuple(tables.get(name) for name in note.get("fingerprints", ()))
            if note.get("digest") == request and recipes and None not in recipes:
                return RememberedEncoder(recipes, notes, run, load)  # type: ignore[arg-type]
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
