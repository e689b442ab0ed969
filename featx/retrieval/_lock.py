"""One program that changes an index for as long as it runs, such as a writable server.

Whoever else would save over the index meanwhile is refused: what the server confirmed would be
lost. An index that nobody holds has no lock, and the last one to save it wins.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from featx.store._lock import WriterLock

__all__ = ["hold_index", "index_may_be_saved"]

_held: set[Path] = set()


@contextlib.contextmanager
def hold_index(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Keep every other process from saving an index, by whatever link; yield the file itself.

    Raises
    ------
    StoreWriteError
        If another process holds it.
    """
    target = Path(os.path.realpath(path))
    lock = WriterLock(target, 0.0, "index")
    _held.add(target)
    try:
        yield target
    finally:
        _held.discard(target)
        lock.release()


@contextlib.contextmanager
def index_may_be_saved(path: str | os.PathLike[str]) -> Iterator[None]:
    """Save within; it is an error where another process holds the index.

    Raises
    ------
    StoreWriteError
    """
    target = Path(os.path.realpath(path))
    if target in _held or not target.with_name(f".{target.name}.lock").exists():
        yield
        return
    lock = WriterLock(target, 0.0, "index")
    try:
        yield
    finally:
        lock.release()
