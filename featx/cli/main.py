"""``featx``: one sub-command a module, errors as one line, results as text or one JSON object.

Modules of the commands, and what runs them, are imported only when a command runs, so that
``featx --help`` and commands that need no network start fast.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from featx._version import __version__
from featx.cli._streams import prepare_streams, print_error

__all__ = ["main"]

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # as a shell reports SIGINT

# name -> one line of help; each lives in featx/cli/<name>.py
COMMANDS = {
    "demo": "run five tasks on the sample images and write a report",
    "extract": "run a network over images once and keep its features",
    "info": "show what a store holds, or the versions for a bug report",
    "verify": "compare every row of a store with its checksum",
    "export": "write a store as a table, or a model as .onnx or .xml",
    "suggest": "choose images to label next",
    "label": "label images on a page that suggests which to label first",
    "train": "train a classifier on labelled images or a store",
    "finetune": "train the later layers of a network on labelled images",
    "predict": "label images with a trained classifier",
    "evaluate": "measure the accuracy of a classifier on a store with labels",
    "audit": "find wrong labels, outliers, copies and poor pictures",
    "index": "build a retrieval index from a store",
    "sync": "copy a store's rows to a database and keep them in step",
    "query": "find images of an index by example images or words",
    "map": "draw all images on one page, similar ones near each other",
    "duplicates": "find exact and near copies in a store, or across two",
    "serve": "serve a search page and a JSON API for an index",
    "compare": "find the best network for labelled images: accuracy and speed",
    "bench": "measure where the time of an extraction goes",
    "backbones": "list networks with their weights and licences",
}


class Parser(argparse.ArgumentParser):
    """argparse with the nearest name on a miss, and the usage of the command that was meant."""

    commands: Mapping[str, argparse.ArgumentParser]

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse a word that the command does not take, with the command's own usage."""
        found, left = self.parse_known_args(args, namespace)
        if left:
            from featx.errors import nearest

            command = self.commands[found.command]
            hint = nearest(left[0], command._option_string_actions)
            command.error(f"unrecognized arguments: {' '.join(left)}{hint and '.' + hint}")
        return found

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, exit with status 2."""
        self.print_usage(sys.stderr)
        hint = ""
        if "invalid choice" in message:
            from featx.errors import nearest

            wrong = message.split("invalid choice: ")[1].split("'")[1]
            known = message.split("choose from")[1].split(",")
            hint = nearest(wrong, [c.strip("' )") for c in known])
        self.exit(2, f"{self.prog}: {message}{hint}\n")


def build_parser(only: str | None = None) -> Parser:
    """Make the parser; with `only`, options of that one command (the others just by name)."""
    parser = Parser(
        prog="featx",
        description="Classify and search images with features of pretrained networks.",
    )
    # with -V, so that the column is wide enough for the names of the commands below it
    parser.add_argument("-V", "--version", action="version", version=f"featx {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parser.commands = commands.choices
    for name, line in COMMANDS.items():
        command = commands.add_parser(
            name, help=line, description=line[0].upper() + line[1:] + "."
        )
        if only not in (None, name):
            continue
        from featx.cli._messages import name_options

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
    try:
        prepare_streams()
        args = build_parser(named if named in COMMANDS else "").parse_args(words)
        flags = args.flags
        from featx.cli._command import run_command

        result = run_command(args)
    except KeyboardInterrupt:
        print_error(f"featx {named}: interrupted")
        return EXIT_INTERRUPTED
    except Exception as err:  # noqa: BLE001 - no traceback reaches a user who did not ask for it
        from featx.cli._messages import describe_error

        if "--debug" in words:
            import traceback

            traceback.print_exc()
        print_error(f"featx {named}: {describe_error(err, flags)}")
        return EXIT_FAILED
    if result.get("interrupted"):
        return EXIT_INTERRUPTED
    return EXIT_FAILED if result.get("ok") is False else 0
