"""Progress of long work: a bar on a terminal and in a notebook, else a plain line now and then."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

__all__ = ["TIME_FORMAT", "Progress", "count_steps", "end_step", "hide_progress", "time_stamp"]

LINE_EVERY_S = 10.0
NOTEBOOK = "ipykernel.zmqshell"  # the module of a notebook's kernel, by which tqdm.auto knows it
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
_hidden = [False]


@contextlib.contextmanager
def hide_progress(hide: bool = True) -> Iterator[None]:
    """Show no progress of anything meanwhile, whatever it is called with."""
    before, _hidden[0] = _hidden[0], hide
    try:
        yield
    finally:
        _hidden[0] = before


_at_step: contextvars.ContextVar[Callable[[], Any] | None] = contextvars.ContextVar(
    "_at_step", default=None
)


@contextlib.contextmanager
def count_steps(advance: Callable[[], Any]) -> Iterator[None]:
    """Have `end_step` call `advance` meanwhile, so that work need not know who watches it."""
    token = _at_step.set(advance)
    try:
        yield
    finally:
        _at_step.reset(token)


def end_step() -> None:
    """Say that a step of long work has ended."""
    if (advance := _at_step.get()) is not None:
        advance()


def time_stamp() -> str:
    """Return the local time, as it stands before each line of a log."""
    return time.strftime(TIME_FORMAT)


class Progress:
    """Count finished items, with rate and time left.

    Parameters
    ----------
    total : int
        Number of items expected.
    label : str
        What is being done, for example ``"extract"``.
    unit : str, default "img"
        What is counted.
    enabled : bool or None, default None
        None shows a bar on a terminal, which goes when the work is done, and in a notebook, where
        it stays; elsewhere, such as in a log, a plain line every 10 s. False shows nothing.

    Examples
    --------
    >>> with Progress(3, "extract", enabled=False) as progress:
    ...     progress.advance(3)
    >>> progress.done
    3
    """

    def __init__(
        self, total: int, label: str, *, unit: str = "img", enabled: bool | None = None
    ) -> None:
        self.total, self.label, self.unit, self.done = total, label, unit, 0
        self._enabled = enabled is not False and not _hidden[0]
        self._start = self._last = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self._enabled:
            return self
        in_notebook = NOTEBOOK in sys.modules
        if in_notebook or (sys.stderr is not None and sys.stderr.isatty()):
            self._bar = _choose_bar(in_notebook)(
                total=self.total,
                desc=self.label,
                unit=self.unit,
                file=sys.stderr,
                leave=in_notebook,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, n: int = 1) -> None:
        """Count `n` more items as done."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
        elif self._enabled and time.monotonic() - self._last >= LINE_EVERY_S:
            self._last = time.monotonic()
            self._line()

    def _line(self) -> None:
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        left_s = max(self.total - self.done, 0) / max(rate, 1e-9)
        sys.stderr.write(
            f"{time_stamp()} {self.label}: {self.done}/{self.total} {self.unit}, "
            f"{rate:.1f} {self.unit}/s, {left_s:.0f} s left\n"
        )
        sys.stderr.flush()


def _choose_bar(in_notebook: bool) -> Any:
    """Return the class of bars: tqdm's of text, or its widget where ipywidgets is installed."""
    if not in_notebook:
        from tqdm import tqdm

        return tqdm
    with warnings.catch_warnings():
        # It says that ipywidgets is missing. A bar of text does without.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm as auto

    return auto
