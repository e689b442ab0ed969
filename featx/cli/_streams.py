"""Standard output and error, which may be closed, full, or in an encoding of few characters."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from typing import Any

__all__ = ["prepare_streams", "print_error", "print_result", "show_name"]

# What a terminal obeys instead of showing it; the line feed and the tab are ours.
_CONTROLS = {n: f"\\x{n:02x}" for n in (*range(32), 127)}
# A byte that is not UTF-8, as Python's repr has it in messages.
_BYTE = r"(?<!\\)\\udc([89a-f][0-9a-f])"
_ESCAPES = {n: text for n, text in _CONTROLS.items() if chr(n) not in "\n\t"}


def show_name(name: str) -> str:
    """Return a path or label as it stands within a line: a line feed in it begins no new one."""
    return name.translate(_CONTROLS)


def prepare_streams() -> None:
    """Give what is closed a place, and let any text be written in any encoding."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened, a store, would get what is printed
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_result(result: dict[str, Any] | str) -> None:
    """Print text, or an object as JSON, and see that it has arrived.

    In JSON a name that is not UTF-8 is what Python makes of it, with escapes: lossless. In text
    `show_path` shows it.

    Raises
    ------
    StoreWriteError
        If standard output is closed or takes no more. A reader that has gone is no error.
    """
    # here, not above: --help takes from this module only what it prints with
    import json

    from featx.errors import StoreWriteError
    from featx.files.paths import show_path

    text = json.dumps(_finite(result), allow_nan=False)
    if isinstance(result, str):
        text = show_path(result).translate(_ESCAPES)
    if not text:
        return
    try:
        if sys.stdout is None:
            raise OSError("it is closed")  # noqa: TRY301 - the same to the user
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_stdout()
    except OSError as err:
        _leave_stdout()
        raise StoreWriteError(
            f"standard output: cannot be written ({err.strerror or err}), expected a place for "
            "the answer, which is lost; the files that the command names are complete"
        ) from err


def print_error(line: str) -> None:
    """Print a line on standard error, where that is possible."""
    import re

    from featx.files.paths import show_path

    with contextlib.suppress(OSError):
        line = re.sub(_BYTE, r"\\x\1", line)
        sys.stderr.write(show_name(show_path(line)) + "\n")
        sys.stderr.flush()


def _leave_stdout() -> None:
    """Let what is left in the buffer go nowhere: Python would complain about it at exit."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _finite(value: Any) -> Any:
    """Return a result as JSON knows it: what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
