"""Keep decoders off the user's terminal, and the user's settings off the decoders.

Pillow warns about odd metadata through `warnings`, and libtiff writes to file descriptor 2 from C.
Neither says more than the reason that the failures table keeps. ``LOAD_TRUNCATED_IMAGES`` would
have a cut file pass here that a reader process refuses. These switches act on the whole process,
so that nested and concurrent uses share one: the first in turns it on, the last out turns it off.
Reader processes have no terminal at all (`featx.images._worker`); this is for the calling process.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable

from PIL import ImageFile

__all__ = ["no_stderr", "no_truncated", "no_warnings"]


class _Shared:
    """A switch of the whole process that is on while at least one holder needs it."""

    def __init__(self, turn_on: Callable[[], Callable[[], None]]) -> None:
        self._turn_on = turn_on
        self._turn_off: Callable[[], None] = lambda: None
        self._n_holders = 0
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):  # a thread that holds it does not go on in a child
            os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        self._lock = threading.Lock()
        if self._n_holders:
            self._n_holders = 0
            self._turn_off()
            self._turn_off = lambda: None

    def __enter__(self) -> None:
        with self._lock:
            if self._n_holders == 0:
                self._turn_off = self._turn_on()
            self._n_holders += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_holders = max(self._n_holders - 1, 0)  # 0 already where it has forked
            if self._n_holders == 0:
                self._turn_off()
                self._turn_off = lambda: None


def _ignore_warnings() -> Callable[[], None]:
    catcher = warnings.catch_warnings()
    catcher.__enter__()
    warnings.simplefilter("ignore")
    return lambda: catcher.__exit__(None, None, None)


def _identity_of_2() -> tuple[int, int] | None:
    try:
        status = os.fstat(2)
    except OSError:
        return None
    return status.st_dev, status.st_ino


# What standard error is; Python has none in a process that was started with descriptor 2 closed.
_STDERR = None if sys.__stderr__ is None else _identity_of_2()


def _discard_stderr() -> Callable[[], None]:
    # A daemon may have closed it, and descriptor 2 be any file by now, of which nothing may go.
    if _STDERR is None or _identity_of_2() != _STDERR:
        return lambda: None
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)

    def restore() -> None:
        os.dup2(saved, 2)
        os.close(saved)

    return restore


def _refuse_truncated() -> Callable[[], None]:
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        return lambda: None
    ImageFile.LOAD_TRUNCATED_IMAGES = False

    def restore() -> None:
        ImageFile.LOAD_TRUNCATED_IMAGES = True

    return restore


no_truncated = _Shared(_refuse_truncated)
no_warnings = _Shared(_ignore_warnings)
no_stderr = _Shared(_discard_stderr)
