"""Everything behind the routes: decode in processes, run the network and search on one thread."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from featx.errors import (
    FileFormatError,
    ImageDecodeError,
    StoreWriteError,
    hide_secrets,
)
from featx.files.atomic import replacing
from featx.files.remote import is_url
from featx.serve._answering import Asked, Floats, Found, Query, answer_queries
from featx.serve._batcher import Batcher
from featx.serve._database import Database
from featx.serve._decoding import LARGE_PX, MAX_LARGE, Decoder, Thumbnails
from featx.serve._follower import Follower
from featx.serve._instances import LocalNetwork
from featx.serve._labeller import Labeller
from featx.serve._map import Map
from featx.serve._options import ServeOptions
from featx.serve._refusal import RefusalError
from featx.serve._schema import Answer
from featx.serve._uploads import Uploads

if TYPE_CHECKING:
    from featx.extraction import LoadedEncoder

__all__ = ["Service"]

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Service:
    """An index, its network and a model, for many clients at a time.

    Parameters
    ----------
    database : Database
        What is searched.
    network : LoadedEncoder or LocalNetwork
        Of the database's recipe, or for an index of instances.
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
        self.batcher: Batcher[Query, Found] = Batcher(
            self._answer, size=options.batch_size, wait_s=options.wait_ms / 1000
        )
        self._uploads = Decoder(network.preprocessor())
        self._thumbnails = Thumbnails(options.max_pixels)
        self._pictures = Thumbnails(options.max_pixels, LARGE_PX, MAX_LARGE)
        self._kept = Uploads(int(options.keep_uploads_mb * 1e6))
        self._follower = Follower(network, database.file_state, options)
        self._writer = ThreadPoolExecutor(1, "featx-writer")
        # Beside the index, so that featx query and spatial re-ranking find them, too.
        self._added_dir = Path(os.path.abspath(f"{database.path}.images"))  # noqa: PTH100

    @property
    def problem(self) -> str | None:
        """Why a changed file of the index is not served."""
        return self._follower.problem

    @property
    def n_images(self) -> int:
        """Images that went through the network, or were described, so far."""
        network = self.network
        return network.n_images if isinstance(network, LocalNetwork) else network.backbone.n_images

    def close(self) -> None:
        """Finish what is running; nothing may be asked afterwards."""
        self._uploads.close()
        self._thumbnails.close()
        self._pictures.close()
        self._writer.shutdown(wait=True)
        self.batcher.close()
        self._held.close()

    async def query(self, data: bytes, asked: Asked, client: str = "") -> Answer:
        """Find what looks like an image.

        Raises
        ------
        RefusalError
            If the bytes are no image, or there is no such label or column.
        """
        answer = (await self._embed(data, asked, client))[1]
        return dataclasses.replace(answer, upload=await self._kept.keep(data))

    async def embed(self, data: bytes, client: str = "") -> Floats:
        """Return an image's vector, (n_features,).

        Raises
        ------
        RefusalError
            If the bytes are no image.
        """
        if isinstance(self.network, LocalNetwork):
            raise RefusalError(422, "image: an index of instances has no vectors")
        vector, _ = await self._embed(data, Asked(), client)
        assert isinstance(vector, np.ndarray)
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
        return (await self._search(Query(asked)))[1]

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
        if isinstance(self.network, LocalNetwork):  # which keeps no features that could be asked
            source = self._image_of(name)
            answer = (await self._embed(source, asked, client, row=found.row))[1]
        else:
            answer = (await self._search(Query(asked, row=found.row)))[1]
        return dataclasses.replace(answer, query=found)

    def _upload(self, name: int | str) -> bytes | None:
        """Return a kept upload; None where the name is that of an image of the index."""
        if isinstance(name, int) or not name.startswith("upload"):
            return None
        upload = self._kept.get(name)
        if upload is None:
            raise RefusalError(404, f"{name}: is no upload that is still kept")
        return upload

    def _image_of(self, name: int | str) -> str:
        """Return the path or URL of a row's image.

        Raises
        ------
        RefusalError
            If there is no such row, or the index knows no image of it.
        """
        source = self.database.image_of(name)
        if not isinstance(source, str):
            raise RefusalError(404, f"row {name}: the index knows no image of it")
        return source

    async def thumbnail(
        self, name: int | str, client: str = "", *, is_large: bool = False
    ) -> bytes:
        """Return a JPEG of an image of the index, or of a kept upload.

        Raises
        ------
        RefusalError
            If there is no such image, or it cannot be read.
        """
        source = self._upload(name) or self._image_of(name)
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

    async def _embed(
        self, source: bytes | str, asked: Asked, client: str, *, row: int | None = None
    ) -> Found:
        try:
            views = await self._uploads.read(source, client)
        except ImageDecodeError as err:
            if row is None:
                raise RefusalError(422, f"image: {err}") from err
            logger.warning("row %d: its image cannot be read: %s", row, hide_secrets(str(err)))
            raise RefusalError(404, f"row {row}: its image cannot be read") from err
        return await self._search(Query(asked, views=views, row=row))

    async def _search(self, query: Query) -> Found:
        try:
            return await asyncio.wrap_future(self.batcher.submit(query))
        except FileFormatError as err:
            logger.error("%s", err)  # noqa: TRY400 - another program's doing
            raise RefusalError(
                503, "the index's file was changed while it was served; build it again"
            ) from err

    def _answer(self, queries: Sequence[Query]) -> list[Found | Exception]:
        # the database may be replaced meanwhile
        return answer_queries(queries, self.database, self.network, self.labeller)

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
        found = self._follower.look(self.database)
        if found is not self.database:
            self.database = found
            self._thumbnails.clear()
            self._pictures.clear()
