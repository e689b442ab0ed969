"""What is left of an engine in a process that was forked from one where it has run.

Only the thread that forks goes on in the child. The other threads of OpenMP and OpenVINO are gone
there, and waiting for them never ends: torch therefore computes with one thread, and an engine
that cannot be told to is refused. Images are read in separate processes, which a child starts as
any other process does.
"""

from __future__ import annotations

import os
import sys

from featx.errors import BackboneError

__all__ = ["has_lost_threads", "note_use", "require_threads"]

_used: set[str] = set()
_lost: set[str] = set()


def note_use(engine: str) -> None:
    """Remember that an engine may have started threads in this process."""
    if not _used and hasattr(os, "register_at_fork"):  # Windows forks nothing
        os.register_at_fork(after_in_child=_in_child)
    _used.add(engine)


def has_lost_threads(engine: str) -> bool:
    """Tell whether an engine has run in a process that this one was forked from."""
    return engine in _lost


def require_threads(engine: str) -> None:
    """Refuse an engine whose threads have stayed in another process.

    Raises
    ------
    BackboneError
        With what to do.
    """
    if engine in _lost:
        raise BackboneError(
            f"engine: got {engine!r} in a process that was forked from one where it has run, so "
            "that its threads are not here, expected a process of its own: start it with "
            "multiprocessing.get_context('spawn'), or use engine 'torch'"
        )


def _in_child() -> None:
    _lost.update(_used - {"torch"})
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
