"""Locks that a fork waits for.

Only the thread that forks goes on in the child: what another thread held there, and had half done,
would stay held and half done for ever.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

__all__ = ["fork_lock"]

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_held: list[Any] = []


def fork_lock() -> Any:
    """Return a lock, for what takes seconds at most, that no child ever finds held."""
    lock = threading.RLock()  # whoever forks may hold it
    _locks.add(lock)
    return lock


def _acquire() -> None:
    held = list(_locks)
    for lock in held:
        lock.acquire()
    _held.append(held)


def _release() -> None:
    for lock in _held.pop():
        lock.release()


if hasattr(os, "register_at_fork"):  # Windows forks nothing
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_release)
