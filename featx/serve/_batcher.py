"""Gather items that arrive at the same time, and run them together on one thread.

A network takes little longer for eight images than for one, and two threads that run it at once
slow each other down.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Batcher"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """One worker thread that takes up to `size` items at a time.

    Parameters
    ----------
    run : callable
        Turns items into as many results, in order. One that is an exception is raised where its
        item came from; if `run` raises, all are.
    size : int
        Most items per call.
    wait_s : float
        How long the first item of a call waits for others, in seconds.

    Attributes
    ----------
    sizes : list of int
        How often a call had i + 1 items.

    Examples
    --------
    >>> batcher = Batcher(lambda items: [2 * x for x in items], size=4, wait_s=0.001)
    >>> futures = [batcher.submit(x) for x in range(3)]
    >>> [future.result() for future in futures]
    [0, 2, 4]
    >>> batcher.close()
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        size: int,
        wait_s: float,
    ) -> None:
        self._run, self._size, self._wait_s = run, size, wait_s
        self.sizes = [0] * size
        self._queue: queue.SimpleQueue[tuple[Item, Future[Result]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="featx-batcher", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """About how many items no call has taken yet."""
        return self._queue.qsize()

    def submit(self, item: Item) -> Future[Result]:
        """Append an item to the queue.

        Raises
        ------
        RuntimeError
            If it is closed.
        """
        future: Future[Result] = Future()
        with self._lock:  # else an item could come after the end mark, and wait forever
            if self._is_closed:
                raise RuntimeError("the batcher is closed")
            self._queue.put((item, future))
        return future

    def close(self) -> None:
        """Finish the items in the queue and end the thread."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._gather()
            # leave out those that were cancelled, since their clients have gone
            batch = [(i, f) for i, f in batch if f.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)

    def _gather(self) -> tuple[list[tuple[Item, Future[Result]]], bool]:
        first = self._queue.get()
        if first is None:
            return [], True
        batch = [first]
        until = time.monotonic() + self._wait_s
        while len(batch) < self._size:
            try:
                more = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if more is None:
                return batch, True
            batch.append(more)
        return batch, False

    def _answer(self, batch: list[tuple[Item, Future[Result]]]) -> None:
        self.sizes[len(batch) - 1] += 1
        results: Sequence[Result | Exception]
        try:
            results = self._run([item for item, _ in batch])
        except Exception as err:  # noqa: BLE001 - the thread must outlive any query
            results = [err] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
