"""Everything behind the routes: decode in processes, run the network and search on one thread."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from featx.errors import (
    FileFormatError,
    ImageDecodeError,
    StoreWriteError,
    hide_secrets,
)
from featx.files.atomic import replacing
from featx.files.locks import hold_index
from featx.files.remote import is_url
from featx.retrieval import RetrievalIndex
from featx.serve._batcher import Batcher
from featx.serve._database import Database, Match, file_state
from featx.serve._decoding import Decoder, Thumbnails, Views
from featx.serve._labeller import Labeller, Prediction
from featx.serve._options import ServeOptions
from featx.serve._refusal import RefusalError

if TYPE_CHECKING:
    from featx.extraction import LoadedEncoder

__all__ = ["Answer", "Service", "load_service"]

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """Neighbours, nearest first, and what the model says of the query, where there is a model."""

    matches: list[Match]
    prediction: Prediction | None = None


@dataclass(frozen=True)
class _Query:
    """A query in line: an image's views, or a row that is there already."""

    k: int
    label: str | None = None
    views: Views | None = None
    row: int | None = None


Floats: TypeAlias = NDArray[np.float32]
_Found: TypeAlias = tuple[Floats, Answer]


class Service:
    """An index, its network and a model, for many clients at a time.

    Parameters
    ----------
    database : Database
        What is searched.
    network : LoadedEncoder
        Of the database's recipe.
    labeller : Labeller, optional
        Of the same recipe.
    options : ServeOptions
        Limits and switches.
    held : ExitStack
        Closed at the end: the lock of an index that may be changed.
    """

    def __init__(
        self,
        database: Database,
        network: LoadedEncoder,
        labeller: Labeller | None,
        options: ServeOptions,
        held: contextlib.ExitStack,
    ) -> None:
        self._held = held
        self.database, self.network, self.labeller = database, network, labeller
        self.options = options
        self.batcher: Batcher[_Query, _Found] = Batcher(
            self._answer, size=options.batch_size, wait_s=options.wait_ms / 1000
        )
        self._uploads = Decoder(network.preprocessor())
        self._thumbnails = Thumbnails(options.max_pixels)
        self._writer = ThreadPoolExecutor(1, "featx-writer")
        # Beside the index, so that featx query and spatial re-ranking find them, too.
        self._added_dir = Path(os.path.abspath(f"{database.path}.images"))  # noqa: PTH100

    def close(self) -> None:
        """Finish what is running; nothing may be asked afterwards."""
        self._uploads.close()
        self._thumbnails.close()
        self._writer.shutdown(wait=True)
        self.batcher.close()
        self._held.close()

    async def query(
        self, data: bytes, *, k: int, label: str | None = None, client: str = ""
    ) -> Answer:
        """Find what looks like an image.

        Raises
        ------
        RefusalError
            If the bytes are no image, or there is no such label.
        """
        return (await self._embed(data, _Query(k, label), client))[1]

    async def neighbours(self, row: int, *, k: int, label: str | None = None) -> Answer:
        """Find what looks like an image of the index, itself left out.

        Raises
        ------
        RefusalError
            If there is no such row or label.
        """
        return (await self._search(_Query(k, label, row=row)))[1]

    async def thumbnail(self, row: int, client: str = "") -> bytes:
        """Return a small JPEG of a row's image.

        Raises
        ------
        RefusalError
            If there is no such row, or its image cannot be read.
        """
        source = self.database.image_of(row)
        if not isinstance(source, str):
            raise RefusalError(404, f"row {row}: the index knows no image of it")
        try:
            return await self._thumbnails.of(source, client)
        except ImageDecodeError as err:
            if is_url(source):  # the server's message may repeat any part of the URL
                logger.warning("row %d: %r: %s", row, hide_secrets(source), err)
                raise RefusalError(
                    404, f"row {row}: its image cannot be fetched; the log says why"
                ) from err
            raise RefusalError(404, f"row {row}: its image cannot be shown: {err}") from err

    async def add(self, data: bytes, *, suffix: str, label: str | None, client: str = "") -> int:
        """Keep an image beside the index, add it, and return its row.

        Raises
        ------
        RefusalError
            If the bytes are no image, a label lacks or is too many, the image is there already, or
            the disk does not take it; nothing has changed then.
        """
        if (label is None) == self.database.has_labels:
            got, expected = ("none", "one") if label is None else (repr(label), "none")
            raise RefusalError(422, f"label: got {got}, expected {expected}, as the index has")
        vector, _ = await self._embed(data, _Query(1), client)
        return await self._write(partial(self._keep, data, suffix, vector, label))

    async def remove(self, row: int) -> None:
        """Remove a row, and its file if it was added here.

        Raises
        ------
        RefusalError
            If there is no such row, or the disk does not take it; nothing has changed then.
        """
        await self._write(partial(self._remove, row))

    async def _write(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work)
        except StoreWriteError as err:
            logger.error("%s", err)  # noqa: TRY400 - a full disk is no fault to trace
            raise RefusalError(
                507, "the index cannot be written, so nothing was changed; the log says why"
            ) from err

    async def _embed(self, data: bytes, query: _Query, client: str) -> _Found:
        try:
            views = await self._uploads.read(data, client)
        except ImageDecodeError as err:
            raise RefusalError(422, f"image: {err}") from err
        return await self._search(dataclasses.replace(query, views=views))

    async def _search(self, query: _Query) -> _Found:
        try:
            return await asyncio.wrap_future(self.batcher.submit(query))
        except FileFormatError as err:
            logger.error("%s", err)  # noqa: TRY400 - another program's doing
            raise RefusalError(
                503, "the index's file was changed while it is served; start the server again"
            ) from err

    def _answer(self, queries: Sequence[_Query]) -> list[_Found | Exception]:
        images = [query.views for query in queries if query.views is not None]
        embedded = iter(self.network.embed_views(images) if images else ())
        vectors = [self._vector(query, embedded) for query in queries]
        good = [vector for vector in vectors if not isinstance(vector, RefusalError)]
        predictions = iter(self.labeller(np.stack(good)) if self.labeller and good else ())
        found: list[_Found | Exception] = []
        for query, vector in zip(queries, vectors, strict=True):
            if isinstance(vector, RefusalError):
                found.append(vector)
                continue
            prediction = next(predictions, None)
            try:
                matches = self.database.nearest(vector, query.k, query.label, leave_out=query.row)
                found.append((vector, Answer(matches, prediction)))
            except RefusalError as err:
                found.append(err)
        return found

    def _vector(self, query: _Query, embedded: Iterator[Floats]) -> Floats | RefusalError:
        """Return the vector of a row, or the next image's; refuse that one alone of its batch."""
        try:
            vector = next(embedded) if query.row is None else self.database.vector(query.row)
        except RefusalError as err:
            return err
        if not np.isfinite(vector).all():
            return RefusalError(422, "image: the network's features of it are not finite")
        return vector

    def _keep(self, data: bytes, suffix: str, vector: Floats, label: str | None) -> int:
        name = f"{hashlib.sha256(data).hexdigest()}{suffix}"
        place = self._added_dir / name
        is_new = not place.exists()
        try:
            self._added_dir.mkdir(exist_ok=True)
            with replacing(place) as beside:
                beside.write_bytes(data)
        except OSError as err:
            raise StoreWriteError(f"image {str(place)!r}: cannot be written ({err})") from err
        try:
            return self.database.add(vector, str(place), label)
        except BaseException:
            if is_new:
                place.unlink()
            raise

    def _remove(self, row: int) -> None:
        name = Path(str(self.database.remove(row)))
        if name.parent == self._added_dir:
            name.unlink(missing_ok=True)


def load_service(
    path: str,
    model: str | None,
    options: ServeOptions,
    *,
    weights: str | None,
    device: str,
) -> Service:
    """Do what `featx.serve.open_service` says."""
    from featx.extraction import RunOptions
    from featx.extraction.embed import load_by_recipe

    with contextlib.ExitStack() as held:
        if options.writable and Path(path).is_file():  # else reading it says what is wrong
            path = str(held.enter_context(hold_index(path)))
        state = file_state(path)
        index = RetrievalIndex.load(path, mmap=not options.writable)
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
            show_names=options.show_names,
            copy_distance=options.copy_distance,
        )
        return Service(database, network, labeller, options, held.pop_all())
