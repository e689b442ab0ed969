"""Paths that a command writes to, checked before its work."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any

from featx.errors import ParameterError, StoreWriteError, nearest

__all__ = ["Output", "add_output", "add_page", "check_outputs"]

PAGE = {".html": "page", ".htm": "page", ".json": "numbers"}
# Arguments that name what is read. The others are words, and a file may be called like a word.
INPUTS = ("source", "image", "store", "other", "index", "model", "labels", "weights",
          "against")  # fmt: skip


class Output(str):
    """A path to write to.

    ``kinds`` is what `featx.files.outputs.check_output` calls it, or that for each ending that
    the path may have; ``flag`` is the option.
    """

    kinds: str | dict[str, str]
    flag: str

    @property
    def kind(self) -> str:
        """The kind of file, by its ending where that decides."""
        if isinstance(self.kinds, str):
            return self.kinds
        suffix = os.path.splitext(self)[1].lower()  # noqa: PTH122
        if suffix not in self.kinds:
            raise ParameterError(
                f"{self.flag}: got {str(self)!r}, expected a name that ends in "
                f"{', '.join(self.kinds)}.{nearest(suffix, self.kinds)}"
            )
        return self.kinds[suffix]


def add_output(
    parser: argparse._ActionsContainer,
    flag: str,
    kinds: str | dict[str, str],
    **options: Any,
) -> None:
    """Add a path to write to."""
    parser.add_argument(flag, type=_output(flag, kinds), **options)


def add_page(parser: argparse.ArgumentParser, text: str) -> None:
    """Add --html, the page to write; where a result names it, it is printed last."""
    add_output(parser, "--html", PAGE, metavar="OUT.html", help=f"write a page with {text}")


def _output(flag: str, kinds: str | dict[str, str]) -> Callable[[str], Output]:
    def path(word: str) -> Output:
        found = Output(word)
        found.kinds, found.flag = kinds, flag if flag.startswith("-") else flag.upper()
        return found

    return path


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse outputs that would replace an input, each other, or a file of another kind.

    What the command reads is what `INPUTS` name, and the files of ``--backbone NAME=FILE``.

    Raises
    ------
    ParameterError
        For an ending that is none of the output's, or one file for two outputs.
    StoreWriteError
        As `featx.files.outputs.check_output`.
    """
    outputs = {n: value for n, value in vars(args).items() if isinstance(value, Output)}
    if not outputs:
        return
    from featx.files.outputs import check_output
    from featx.files.remote import is_url, plain_path

    inputs = list(_inputs(args))
    places: dict[str, Output] = {}
    for output in outputs.values():
        if is_url(str(output)):
            continue
        if output.kinds == "folder":
            _check_folder(output)
            continue
        place = str(check_output(plain_path(output), output.kind, inputs=inputs))
        if place in places:
            raise ParameterError(
                f"{output.flag}: got {str(output)!r}, which {places[place].flag} names, too; "
                "expected two files"
            )
        places[place] = output


def _inputs(args: argparse.Namespace) -> Iterator[str]:
    from featx.files.outputs import files_of

    for name in INPUTS:
        value = getattr(args, name, None)
        for word in value if isinstance(value, list) else [value]:
            if word and not isinstance(word, Output):
                yield from map(str, files_of(word)) if name == "weights" else [word]
    named = getattr(args, "backbones", [])
    for word in named or []:
        if file := word.partition("=")[2]:
            yield from map(str, files_of(file))


def _check_folder(output: Output) -> None:
    if os.path.lexists(output) and not os.path.isdir(output):  # noqa: PTH112
        raise StoreWriteError(
            f"{output.flag} {str(output)!r}: is a file, expected a folder or a new name"
        )
