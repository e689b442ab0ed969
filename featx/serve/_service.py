"""Everything behind the routes: decode in processes, run the network and search on one thread."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from featx.errors import (
    FeatxError,
    FileFormatError,
    FingerprintMismatchError,
    ImageDecodeError,
    ParameterError,
    StoreWriteError,
    hide_secrets,
)
from featx.files.atomic import replacing
from featx.files.locks import hold_index
from featx.files.remote import is_url
from featx.retrieval import InstanceIndex, RetrievalIndex, load_index
from featx.serve._batcher import Batcher
from featx.serve._database import Database, FileState, Shown, file_state
from featx.serve._decoding import LARGE_PX, MAX_LARGE, Decoder, Thumbnails, Views
from featx.serve._instances import LocalNetwork
from featx.serve._labeller import Labeller
from featx.serve._map import Map
from featx.serve._options import ServeOptions
from featx.serve._refusal import RefusalError
from featx.serve._schema import Answer, Wording
from featx.serve._uploads import Uploads

if TYPE_CHECKING:
    from featx.extraction import LoadedEncoder

__all__ = ["Asked", "Service", "load_service"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
MAX_NAMES = 100  # "animal" is 398 classes


@dataclass(frozen=True)
class Asked:
    """How much is asked for, and of which rows; k = 0 asks for the vector alone.

    Words are added to what an image asks.
    """

    k: int = 0
    label: str | None = None
    filters: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True)
class _Query:
    """A query in line: an image's views, a row that is there already, or words alone."""

    asked: Asked
    views: Views | None = None
    row: int | None = None


Floats: TypeAlias = NDArray[np.float32]
_Found: TypeAlias = tuple[Any, Answer]  # a vector, or local features


class Service:
    """An index, its network and a model, for many clients at a time.

    Parameters
    ----------
    database : Database
        What is searched.
    network : LoadedEncoder or LocalNetwork
        Of the database's recipe.
    labeller : Labeller, optional
        Of the same recipe.
    options : ServeOptions
        Limits and switches.
    held : ExitStack
        Closed at the end: the lock of an index that may be changed.
    map_ : Map, optional
        A map of the database.
    """

    def __init__(
        self,
        database: Database,
        network: LoadedEncoder | LocalNetwork,
        labeller: Labeller | None,
        options: ServeOptions,
        held: contextlib.ExitStack,
        map_: Map | None = None,
    ) -> None:
        self._held, self.map = held, map_
        self.database, self.network, self.labeller = database, network, labeller
        self.options = options
        self.batcher: Batcher[_Query, _Found] = Batcher(
            self._answer, size=options.batch_size, wait_s=options.wait_ms / 1000
        )
        self._uploads = Decoder(network.preprocessor())
        self._thumbnails = Thumbnails(options.max_pixels)
        self._pictures = Thumbnails(options.max_pixels, LARGE_PX, MAX_LARGE)
        self._kept = Uploads(int(options.keep_uploads_mb * 1e6))
        self._seen: FileState | None = database.file_state
        self._refused: FileState | None = None
        self.problem: str | None = None
        self._writer = ThreadPoolExecutor(1, "featx-writer")
        # Beside the index, so that featx query and spatial re-ranking find them, too.
        self._added_dir = Path(os.path.abspath(f"{database.path}.images"))  # noqa: PTH100

    def close(self) -> None:
        """Finish what is running; nothing may be asked afterwards."""
        self._uploads.close()
        self._thumbnails.close()
        self._pictures.close()
        self._writer.shutdown(wait=True)
        self.batcher.close()
        self._held.close()

    @property
    def n_images(self) -> int:
        """Images that went through the network, or were described, so far."""
        network = self.network
        return network.n_images if isinstance(network, LocalNetwork) else network.backbone.n_images

    async def query(self, data: bytes, asked: Asked, client: str = "") -> Answer:
        """Find what looks like an image.

        Raises
        ------
        RefusalError
            If the bytes are no image, or there is no such label or column.
        """
        answer = (await self._embed(data, asked, client))[1]
        return dataclasses.replace(answer, upload=self._kept.keep(data))

    async def embed(self, data: bytes, client: str = "") -> Floats:
        """Return an image's vector, (n_features,).

        Raises
        ------
        RefusalError
            If the bytes are no image, or the index compares local features.
        """
        if not self.network.recipes:
            raise RefusalError(422, "image: this index compares local features, and no vectors")
        vector: Floats = (await self._embed(data, Asked(), client))[0]
        return vector

    async def embed_words(self, text: str) -> Floats:
        """Return the vector of words, (n_features,).

        Raises
        ------
        RefusalError
            If the network has no words, or not these.
        """
        asked = await asyncio.to_thread(self.database.ask, text)
        vector: Floats = asked.vectors()[0]
        return vector

    async def find(self, asked: Asked) -> Answer:
        """Find what words say.

        Raises
        ------
        RefusalError
            If the network has no words or not these, or there is no such label or column.
        """
        return (await self._search(_Query(asked)))[1]

    async def neighbours(self, name: int | str, asked: Asked, client: str = "") -> Answer:
        """Find what looks like an image of the index, itself left out, or like a kept upload.

        Raises
        ------
        RefusalError
            If there is no such image, label or column.
        """
        upload = self._upload(name)
        if upload is not None:
            return await self.query(upload, asked, client)
        found = self.database.describe(name)
        answer = (await self._search(_Query(asked, row=found.row)))[1]
        return dataclasses.replace(answer, query=found)

    def _upload(self, name: int | str) -> bytes | None:
        """Return a kept upload; None where the name is that of an image of the index."""
        if isinstance(name, int) or not name.startswith("upload"):
            return None
        upload = self._kept.get(name)
        if upload is None:
            raise RefusalError(404, f"{name}: is no upload that is still kept")
        return upload

    async def thumbnail(
        self, name: int | str, client: str = "", *, is_large: bool = False
    ) -> bytes:
        """Return a JPEG of an image of the index, or of a kept upload.

        Raises
        ------
        RefusalError
            If there is no such image, or it cannot be read.
        """
        source = self._upload(name) or self.database.image_of(name)
        if not isinstance(source, str | bytes):
            raise RefusalError(404, f"row {name}: the index knows no image of it")
        try:
            return await (self._pictures if is_large else self._thumbnails).of(source, client)
        except ImageDecodeError as err:
            if isinstance(source, str) and is_url(source):
                # the server's message may repeat any part of the URL
                logger.warning("row %s: %r: %s", name, hide_secrets(source), err)
                raise RefusalError(
                    404, f"row {name}: its image cannot be fetched; the log says why"
                ) from err
            raise RefusalError(404, f"row {name}: its image cannot be shown: {err}") from err

    async def add(
        self,
        data: bytes,
        *,
        suffix: str,
        label: str | None,
        metadata: Mapping[str, str],
        client: str = "",
    ) -> int:
        """Keep an image beside the index, add it, and return its row.

        Raises
        ------
        RefusalError
            If the bytes are no image, a label lacks or is too many, there is no such column, the
            image is there already, or the disk does not take it; nothing has changed then.
        """
        if (label is None) == self.database.has_labels:
            got, expected = ("none", "one") if label is None else (repr(label), "none")
            raise RefusalError(422, f"label: got {got}, expected {expected}, as the index has")
        vector, _ = await self._embed(data, Asked(), client)
        return await self._write(partial(self._keep, data, suffix, vector, label, metadata))

    async def remove(self, name: int | str) -> None:
        """Remove an image, and its file if it was added here.

        Raises
        ------
        RefusalError
            If there is no such image, or the disk does not take it; nothing has changed then.
        """
        await self._write(partial(self._remove, name))

    async def relabel(self, name: int | str, label: str) -> None:
        """Give an image another label.

        Raises
        ------
        RefusalError
            If there is no such image, the index has no labels, or the disk does not take it;
            nothing has changed then.
        """
        await self._write(lambda: self.database.relabel(name, label))

    async def follow_file(self) -> None:
        """Serve the index's file anew, if it has changed and can be read."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._follow_file)

    async def _write(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work)
        except StoreWriteError as err:
            logger.error("%s", err)  # noqa: TRY400 - a full disk is no fault to trace
            raise RefusalError(
                507, "the index cannot be written, so nothing was changed; the log says why"
            ) from err

    async def _embed(self, data: bytes, asked: Asked, client: str) -> _Found:
        try:
            views = await self._uploads.read(data, client)
        except ImageDecodeError as err:
            raise RefusalError(422, f"image: {err}") from err
        return await self._search(_Query(asked, views=views))

    async def _search(self, query: _Query) -> _Found:
        try:
            return await asyncio.wrap_future(self.batcher.submit(query))
        except FileFormatError as err:
            logger.error("%s", err)  # noqa: TRY400 - another program's doing
            raise RefusalError(
                503, "the index's file was changed while it is served; make it anew"
            ) from err

    def _answer(self, queries: Sequence[_Query]) -> list[_Found | Exception]:
        database = self.database  # which may be replaced meanwhile
        images = [query.views for query in queries if query.views is not None]
        embedded = iter(self.network.embed_views(images) if images else ())
        vectors = [_vector(database, query, embedded) for query in queries]
        good = [v for v in vectors if isinstance(v, np.ndarray)] if self.labeller else []
        predictions = iter(self.labeller(np.stack(good)) if self.labeller and good else ())
        found: list[_Found | Exception] = []
        for query, vector in zip(queries, vectors, strict=True):
            if isinstance(vector, RefusalError):
                found.append(vector)
                continue
            prediction = None if vector is None else next(predictions, None)
            try:
                matches = [] if query.asked.k == 0 else database.nearest(
                    vector, query.asked.k, query.asked.label, text=query.asked.text,
                    filters=query.asked.filters, leave_out=query.row,
                )  # fmt: skip
                text = _describe_words(database, query.asked.text)
                answer = Answer(matches, prediction, text=text, collection=database.collection)
                found.append((vector, answer))
            except RefusalError as err:
                found.append(err)
        return found

    def _keep(
        self,
        data: bytes,
        suffix: str,
        vector: Any,
        label: str | None,
        metadata: Mapping[str, str],
    ) -> int:
        digest = hashlib.sha256(data).hexdigest()
        place = self._added_dir / f"{digest}{suffix}"
        is_new = not place.exists()
        try:
            self._added_dir.mkdir(exist_ok=True)
            with replacing(place) as beside:
                beside.write_bytes(data)
        except OSError as err:
            raise StoreWriteError(f"image {str(place)!r}: cannot be written ({err})") from err
        try:
            return self.database.add(vector, str(place), label, digest=digest, metadata=metadata)
        except BaseException:
            if is_new:
                place.unlink()
            raise

    def _remove(self, name: int | str) -> None:
        place = Path(str(self.database.remove(name)))
        if place.parent == self._added_dir:
            place.unlink(missing_ok=True)

    def _follow_file(self) -> None:
        """Read a changed file once nobody has written to it since the last look."""
        state = file_state(self.database.path)
        is_settled, self._seen = state == self._seen, state
        if state == self.database.file_state:
            self.problem = None
        elif state is None:
            self.problem = "the index's file is gone; what it held is served on"
        elif is_settled and state != self._refused:
            self._read_file(state)

    def _read_file(self, state: FileState) -> None:
        path = self.database.path
        try:
            index = load_index(path, mmap=not self.options.writable)
            if isinstance(index, RetrievalIndex):
                index.set_params(weights=self.database.weights)
            found = None if index.recipe_ is None else index.recipe_.fingerprint
            expected = next((recipe.fingerprint for recipe in self.network.recipes), None)
            if found != expected:
                raise FingerprintMismatchError(
                    f"index {path!r}: was made anew with another network, settings or kind "
                    f"({found}), expected recipe {expected}; start the server again to serve it"
                )
            self.database = self.database.follow(index, state)
        except FeatxError as err:
            logger.error("the changed index is not served: %s", err)  # noqa: TRY400
            self._refused = state
            self.problem = (
                "the index's file has changed and cannot be served, so what it held before is "
                "served on; the log says why"
            )
        else:
            self._thumbnails.clear()
            self._pictures.clear()
            self.problem = None
            n = self.database.n_samples
            logger.warning("the index's file has changed: %d images are served now", n)


def _describe_words(database: Database, text: str | None) -> list[Wording]:
    meant = [] if text is None else database.ask(text).to_dicts()
    return [Wording(one["text"], one["is_wanted"], one["names"][:MAX_NAMES]) for one in meant]


def _vector(database: Database, query: _Query, embedded: Iterator[Any]) -> Any:
    """Return what is compared of a row, or of the next image; refuse that one alone of its batch.

    A vector, or of an index of instances local features.
    """
    if query.row is None and query.views is None:
        return None
    try:
        vector = next(embedded) if query.row is None else database.vector(query.row)
    except RefusalError as err:
        return err
    if isinstance(vector, np.ndarray) and not np.isfinite(vector).all():
        return RefusalError(422, "image: the network's features of it are not finite")
    return vector


def _require_no_model(path: str, model: str | None) -> None:
    if model is not None:
        raise ParameterError(
            f"model: got {model!r} with {path!r}, an index of instances, expected none: it "
            "compares local features, and a model takes a network's; serve another kind of index"
        )


def load_service(
    path: str,
    model: str | None,
    options: ServeOptions,
    *,
    weights: str | None,
    device: str,
    map_page: str | None = None,
) -> Service:
    """Do what `featx.serve.open_service` says."""
    from featx.extraction import RunOptions
    from featx.extraction.embed import load_by_recipe

    with contextlib.ExitStack() as held:
        if options.writable and Path(path).is_file():  # else reading it says what is wrong
            path = str(held.enter_context(hold_index(path)))
        state = file_state(path)
        index = load_index(path, mmap=not options.writable)
        network: LoadedEncoder | LocalNetwork
        if isinstance(index, InstanceIndex):
            _require_no_model(path, model)
            network, labeller = LocalNetwork(index, options.max_pixels), None
        else:
            index.set_params(weights=weights)
            run = RunOptions(device, max_pixels=options.max_pixels)
            network = load_by_recipe(
                index.recipe_, index.made_with_, run, weights=weights, thing=f"index {path!r}"
            )
            network.choose_engine(1)  # int8 is calibrated before it can be asked
            labeller = None if model is None else Labeller(model, network.recipes[0])
        database = Database(
            index,
            path,
            state=state,
            shown=Shown.of(options),
            copy_distance=options.copy_distance,
        )
        shown = None if map_page is None else Map(map_page, database)
        return Service(database, network, labeller, options, held.pop_all(), shown)
