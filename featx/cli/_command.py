"""One command, once its words are understood: its surroundings, its work, and what it prints."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
import time
import warnings
from typing import Any, NoReturn

from featx._progress import TIME_FORMAT, hide_progress, time_stamp
from featx.cli._messages import keep_known_options
from featx.cli._outputs import check_outputs
from featx.cli._streams import print_error, print_result
from featx.errors import hide_secrets

__all__ = ["run_command"]

HELD_S = 5.0


def run_command(args: argparse.Namespace) -> dict[str, Any]:
    """Run a command, print what it returns, and return that."""
    held: list[str] = []  # warnings
    _set_up(args, held)
    check_outputs(args)
    module = importlib.import_module(f"featx.cli.{args.command}")
    with hide_progress(args.quiet):
        result: dict[str, Any] = module.run(args)
    _print_held(held)
    if result:  # a command that runs until it is stopped has printed when it was ready
        print_result(result if args.json else _show(module, result))
        for line in _notes(module, result, args):
            print_error(f"featx {args.command}: {line}")
    return result


def _show(module: Any, result: dict[str, Any]) -> str:
    """Return the command's text, and where its page is."""
    page = result.get("report", result.get("html"))
    text: str = module.show(result)
    return text if page is None else f"{text}\npage: {page}"


def _notes(module: Any, result: dict[str, Any], args: argparse.Namespace) -> list[str]:
    """Return what goes to standard error beside a result: why it is none, or what is missing."""
    if "error" in result:
        return [result["error"]]
    return [] if args.json or not hasattr(module, "notes") else module.notes(result)


def _print_held(held: list[str]) -> None:
    while held:
        print_error(held.pop(0))


def _set_up(args: argparse.Namespace, held: list[str]) -> None:
    """Give logs, warnings and the signals of batch systems the shape of a command line.

    Warnings of the first seconds wait in `held`: a command that refuses says why on one line.
    """
    start = time.monotonic()
    # Torch's threads wait for one another after every step; where they spin meanwhile, they keep
    # the cores from the readers. Read when torch is imported, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(
        level=logging.DEBUG if args.debug else logging.WARNING,
        format=f"%(asctime)s featx {args.command}: %(levelname)s: %(name)s: %(message)s",
        datefmt=TIME_FORMAT,
        stream=sys.stderr,
    )

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        text = keep_known_options(" ".join(str(message).split()), args.flags)
        held.append(f"{time_stamp()} featx {args.command}: warning: {hide_secrets(text)}")
        if time.monotonic() - start > HELD_S:
            _print_held(held)

    if not args.debug:
        warnings.showwarning = warn

    def stop(_: int, __: Any) -> NoReturn:
        raise KeyboardInterrupt

    # not in the main thread: then there is no terminal either
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, stop)
