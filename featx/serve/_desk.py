"""Behind the page of featx label: one session, one stroke at a time, measured beside it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from featx.errors import FeatxError, ImageDecodeError, StoreWriteError
from featx.files.outputs import check_output
from featx.files.paths import show_path
from featx.labelling import LabelSession
from featx.labelling.measures import Measures
from featx.labelling.suggest import Suggestion
from featx.serve._decoding import Thumbnails
from featx.serve._options import ServeOptions
from featx.serve._refusal import RefusalError
from featx.tasks import train

__all__ = ["Desk"]

QUIET_S = 0.05  # without a stroke; its guesses and new suggestions are asked for within it
LONGEST_WAIT_S = 0.5  # for quiet, before each fit: measures come even where strokes never end

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Desk:
    """A labelling session for one page, or for several that take turns.

    Parameters
    ----------
    session : LabelSession
        Used by one thread at a time.
    options : ServeOptions
        Limits.
    out : str
        Where `train` saves the model.
    """

    def __init__(self, session: LabelSession, options: ServeOptions, *, out: str) -> None:
        self.session, self.options, self.out = session, options, out
        self._thumbnails = Thumbnails(options.max_pixels)
        self._strokes = ThreadPoolExecutor(1, thread_name_prefix="featx-label")
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="featx-measure")
        self._measuring: Future[Measures] | None = None
        self._measured: Measures | None = None
        self._measured_at = -1  # revision of the label file
        self._n_at_work = 0  # strokes; changed on the event loop alone
        self._last_stroke_s = 0.0

    async def read_state(self) -> dict[str, Any]:
        """Return what the page shows beside the images; reads what others wrote to the file."""
        return await self._wait(self._refresh_state)

    async def suggest(self, n: int, strategy: str) -> list[dict[str, Any]]:
        """Return what to label next."""
        return self._dicts(await self._run(lambda: self.session.suggest(n, strategy)))

    async def find_likely(self, name: str, n: int) -> list[dict[str, Any]]:
        """Return images that probably have a class or an attribute."""
        return self._dicts(await self._run(lambda: self.session.find_likely(name, n)))

    async def find_doubtful(self, n: int) -> list[dict[str, Any]]:
        """Return labelled images to look at again."""
        return self._dicts(await self._run(lambda: self.session.find_doubtful(n)))

    async def find_similar(self, row: int, n: int) -> list[dict[str, Any]]:
        """Return images that look like one."""
        return self._dicts(await self._run(lambda: self.session.find_similar(row, n)))

    async def find_by_words(self, text: str, n: int) -> list[dict[str, Any]]:
        """Return images that words describe."""
        return self._dicts(await self._run(lambda: self.session.find_by_words(text, n)))

    async def label(self, labels: dict[int, Any]) -> dict[str, Any]:
        """Label images, and return the state; the file has them by then, guesses come later."""

        def stroke() -> dict[str, Any]:
            self.session.add(labels)
            return {"state": self._state()}

        return await self._run(stroke)

    async def guess(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return what all labels so far let expect of some images, and the labels they have."""

        def look() -> dict[str, Any]:
            session = self.session
            guesses = session.guess(list(rows))
            given = {s.row: session.labels_of(s.row) for s in guesses}
            return {
                "suggestions": self._dicts(guesses),
                "given": {row: label for row, label in given.items() if label is not None},
                "revision": session.file.revision,
            }

        return await self._run(look)

    async def undo(self) -> dict[str, Any]:
        """Take the last stroke back."""

        def stroke() -> dict[str, Any]:
            rows = self.session.undo()
            return {"rows": rows, "state": self._state()}

        return await self._run(stroke)

    async def skip(self, rows: Sequence[int]) -> None:
        """Leave images out of further suggestions."""
        await self._run(lambda: self.session.skip(rows))

    async def train(self) -> dict[str, Any]:
        """Train and save the model, as ``featx train STORE --labels L.csv --out OUT`` does."""

        def train_and_save() -> dict[str, Any]:
            session = self.session
            task = "attributes" if session.attributes else "classification"
            training = train(
                session.store, session.file.path, task=task,
                attributes=list(session.attributes) or None,
            )  # fmt: skip
            check_output(self.out, "model", inputs=[session.store.path, session.file.path])
            training.save(self.out, session.store)
            return {**training.to_dict(), "out": show_path(self.out)}

        return await self._run(train_and_save)

    async def thumbnail(self, row: int, client: str) -> bytes:
        """Return a small JPEG of an image."""
        try:
            return await self._thumbnails.of(self.session.paths[row], client)
        except IndexError as err:
            raise RefusalError(404, f"row {row}: is not in the store") from err
        except ImageDecodeError as err:
            raise RefusalError(404, f"row {row}: {err}") from err

    def close(self) -> None:
        """End the threads and the readers."""
        self._strokes.shutdown(cancel_futures=True)
        self._beside.shutdown(cancel_futures=True)
        self._thumbnails.close()

    async def _run(self, work: Callable[[], T]) -> T:
        """Do what somebody waits for; measures leave it the processor."""
        self._n_at_work += 1
        try:
            return await self._wait(work)
        finally:
            self._n_at_work -= 1
            self._last_stroke_s = time.monotonic()

    async def _wait(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._strokes, work)
        except StoreWriteError as err:
            raise RefusalError(507, str(err)) from err
        except FeatxError as err:
            raise RefusalError(422, str(err)) from err

    def _wait_for_quiet(self) -> None:
        """Leave the processor to strokes: they are waited for, and measures are not."""
        end = time.monotonic() + LONGEST_WAIT_S
        while self._n_at_work or time.monotonic() < self._last_stroke_s + QUIET_S:
            if time.monotonic() > end:
                return
            time.sleep(QUIET_S / 10)

    def _refresh_state(self) -> dict[str, Any]:
        self.session.refresh()
        return self._state()

    def _state(self) -> dict[str, Any]:
        session = self.session
        self._measure()
        measures = self._measured or Measures(len(session.file.values), {})
        counts = session.count()
        return {
            "n_samples": len(session.paths),
            "n_labels": len(session.file.values),
            "names": [{"name": name, "n_labels": n} for name, n in counts.items()],
            "is_multilabel": bool(session.attributes),
            "labels_path": show_path(session.file.path),
            "messages": session.file.messages,
            "revision": session.file.revision,
            "measures": measures.to_dict(),
            "is_measuring": self._measuring is not None,
            "can_undo": session.can_undo,
            "can_train": session.can_train,
        }

    def _measure(self) -> None:
        """Take over measures that are ready, and begin anew where labels came since."""
        if self._measuring is not None and self._measuring.done():
            err = self._measuring.exception()
            if err is None:
                self._measured = self._measuring.result()
            else:
                logger.error("fault while measuring", exc_info=err)
            self._measuring = None
        if self._measuring is None and self._measured_at != self.session.file.revision:
            self._measured_at = self.session.file.revision
            self._measuring = self._beside.submit(
                self.session.prepare_measures(self._wait_for_quiet)
            )

    def _dicts(self, suggestions: Sequence[Suggestion]) -> list[dict[str, Any]]:
        """Return suggestions as the page gets them, with the file's name alone."""
        return [
            {
                **s.to_dict(),
                "path": None,
                "name": show_path(s.path.replace("\\", "/").rpartition("/")[2]),
            }
            for s in suggestions
        ]
