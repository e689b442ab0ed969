"""``featx``: one sub-command a module, errors as one line, results as text or one JSON object.

Modules of the commands are imported only when their command runs, so that ``featx --help`` and
commands that need no network start fast.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from featx._progress import TIME_FORMAT, hide_progress, time_stamp
from featx._version import __version__
from featx.cli._messages import describe_error, keep_known_options, name_options
from featx.cli._outputs import check_outputs
from featx.cli._streams import prepare_streams, print_error, print_result
from featx.errors import hide_secrets, nearest

__all__ = ["main"]

EXIT_FAILED = 1
HELD_S = 5.0
EXIT_INTERRUPTED = 130  # as a shell reports SIGINT

# name -> one line of help; each lives in featx/cli/<name>.py
COMMANDS = {
    "demo": "classify and search the sample images, and write a report to open",
    "extract": "run a network over images once and keep the features in a store",
    "info": "say what a store holds",
    "verify": "check every row of a store against its checksums",
    "export": "copy a store's table to .npz, .npy or .parquet",
    "suggest": "choose what to label next",
    "label": "label images on a page that suggests which, and train on the labels",
    "train": "train a classifier on a store",
    "finetune": "train the later layers of a network on labelled images",
    "predict": "label images with a trained classifier",
    "evaluate": "measure a trained classifier on a store with labels",
    "audit": "find wrong labels, outliers, copies and poor pictures in a store",
    "index": "build a retrieval index from a store",
    "query": "find the images of an index that look like the given ones",
    "duplicates": "group exact and near copies in a store, or find those across two",
    "serve": "answer on a web page, and as JSON, what looks like an image",
    "compare": "measure several networks on labelled images: accuracy against speed",
    "bench": "measure where the time of an extraction goes, on your own images",
    "backbones": "list the networks by name",
}


class Parser(argparse.ArgumentParser):
    """argparse with the nearest name on a miss."""

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, exit with status 2."""
        self.print_usage(sys.stderr)
        hint = ""
        if "invalid choice" in message:
            wrong = message.split("invalid choice: ")[1].split("'")[1]
            known = message.split("choose from")[1].split(",")
            hint = nearest(wrong, [c.strip("' )") for c in known])
        self.exit(2, f"{self.prog}: {message}{hint}\n")


def build_parser(only: str | None = None) -> Parser:
    """Make the parser; with `only`, options of that one command (the others just by name)."""
    parser = Parser(prog="featx", description="CNN features off the shelf.")
    parser.add_argument("--version", action="version", version=f"featx {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, line in COMMANDS.items():
        command = commands.add_parser(
            name, help=line, description=line[0].upper() + line[1:] + "."
        )
        if only not in (None, name):
            continue
        module = importlib.import_module(f"featx.cli.{name}")
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        command.add_argument("--quiet", action="store_true", help="show no progress on stderr")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(flags=name_options(command))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str or None, default None
        Words after ``featx``; None takes them from `sys.argv`.

    Returns
    -------
    int
        Exit status: 0 done, 1 a featx error (one line on stderr), 130 interrupted. Wrong usage
        exits with 2 through `SystemExit`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    named = next((w for w in words if not w.startswith("-")), "")
    flags: dict[str, str] = {}
    held: list[str] = []  # warnings
    try:
        prepare_streams()
        args = build_parser(named if named in COMMANDS else "").parse_args(words)
        flags = args.flags
        _set_up(args, held)
        check_outputs(args)
        module = importlib.import_module(f"featx.cli.{args.command}")
        with hide_progress(args.quiet):
            result: dict[str, Any] = module.run(args)
        _print_held(held)
        if result:  # a command that runs until it is stopped has printed when it was ready
            print_result(result if args.json else _show(module, result))
            for line in _notes(module, result, args):
                print_error(f"featx {named}: {line}")
    except KeyboardInterrupt:
        print_error(f"featx {named}: interrupted")
        return EXIT_INTERRUPTED
    except Exception as err:  # noqa: BLE001 - no traceback reaches a user who did not ask for it
        if "--debug" in words:
            traceback.print_exc()
        print_error(f"featx {named}: {describe_error(err, flags)}")
        return EXIT_FAILED
    if result.get("interrupted"):
        return EXIT_INTERRUPTED
    return EXIT_FAILED if result.get("ok") is False else 0


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
