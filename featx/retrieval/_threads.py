"""Threads that multiply matrices side by side, instead of one product that all of them share.

Then what numpy does with the products, in one thread each time, is done by all of them too.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = ["Shared", "run_in_threads"]

T = TypeVar("T")
_limiting = threading.Lock()


class Shared(Generic[T]):
    """An iterator that several threads take from, each item going to one of them."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items, self._lock = items, threading.Lock()

    def __iter__(self) -> Shared[T]:
        return self

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)

    def stop(self) -> None:
        """Give out nothing more."""
        with self._lock:
            self._items = iter(())


def run_in_threads(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Call `work` in as many threads as numpy's BLAS may use, which meanwhile has one for a call.

    It is called once where BLAS has one thread, as within another call of this function, and where
    there is no setting for it (Apple's Accelerate).

    Parameters
    ----------
    work : callable
        Takes from a `Shared` until it is empty.
    stop : callable
        Called if one raises, or the program is interrupted, so that the others end.
    """
    with contextlib.ExitStack() as stack:
        with _limiting:  # of two calls at a time one would take the other's limit for the setting
            n_threads = min((one["num_threads"] for one in _blas().info()), default=1)
            if n_threads > 1:
                stack.enter_context(_blas().limit(limits=1))
        if n_threads == 1:
            return work()
        pool = stack.enter_context(ThreadPoolExecutor(n_threads, "featx-search"))
        stack.callback(stop)
        started = [pool.submit(_work_alone, work) for _ in range(n_threads)]
        for one in wait(started, return_when=FIRST_EXCEPTION).done:
            one.result()
    return None


def _work_alone(work: Callable[[], None]) -> None:
    with _blas().limit(limits=1):  # where OpenMP is beneath, each thread has its own setting
        work()


@functools.cache
def _blas() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController  # late: few searches need it

    return ThreadpoolController().select(user_api="blas")
