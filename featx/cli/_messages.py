"""Errors as one line, in the words of the command line."""

from __future__ import annotations

import argparse
import re
from typing import Any

from featx.errors import FeatxError, hide_secrets

__all__ = ["describe_error", "keep_known_options", "name_options"]

# What options are called in Python, where that is not the option with underscores.
PARAMETERS = {
    "--resize": "resize_px",
    "--crop": "crop_px",
    "--layer": "layers",
    "--pooling": "poolings",
    "--images": "n_images",
    "--folds": "n_folds",
    "--backbone": "backbones",
}
# What the library calls what files give.
CONTENTS = {"y": "labels", "y_true": "labels", "X": "features"}
# Text in quotes stays as it is; a name is what begins the message, or has an underscore.
_NAMES = re.compile(r"'[^']*'|^[A-Za-z_]\w*(?=: )|\b[a-z]+(?:_[a-z]+)+\b=?")
# A piece of advice that ends in an option, as ", or pass labels (--labels L.csv)".
_ADVICE = re.compile(r"'[^']*'|[,;]?(?: or)? [^',;:()]*\((--[a-z-]+)[^()]*\)")


def name_options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the command's options by the names of the library's parameters."""
    flags = dict(CONTENTS)
    for action in parser._actions:
        if action.option_strings:
            flag = max(action.option_strings, key=len)
            flags[action.dest] = flag
            flags[PARAMETERS.get(flag, action.dest)] = flag
        elif action.metavar:
            flags[action.dest] = str(action.metavar)
    return flags


def describe_error(err: BaseException, flags: dict[str, str]) -> str:
    """Return what went wrong, on one line.

    Only what nothing else explains is called a fault in featx.
    """
    if isinstance(err, FeatxError):
        message = _NAMES.sub(lambda found: _flag(found[0], flags), str(err))
        message = keep_known_options(message, flags)
    elif isinstance(err, OSError):
        place = "" if err.filename is None else f"{err.filename!r}: "
        message = f"{place:.300}{err.strerror or err}, expected a file or folder that can be used"
    elif isinstance(err, MemoryError):
        message = f"there is not enough memory ({err}); free some, or take fewer"
    else:
        message = (
            f"unexpected {type(err).__name__}: {err}; this is a fault in featx: "
            "run again with --debug and report the traceback"
        )
    return hide_secrets(" ".join(message.split()))


def keep_known_options(text: str, flags: dict[str, str]) -> str:
    """Return a message without advice to take an option that the command lacks."""
    known = set(flags.values())
    if "--weights" not in known and "--backbone" in known:  # of several networks
        text = text.replace("--weights FILE", "--backbone NAME=FILE")
    return _ADVICE.sub(lambda found: found[0] if found[1] in {None, *known} else "", text)


def _flag(word: str, flags: dict[str, Any]) -> str:
    name = word.removesuffix("=")
    flag = str(flags.get(name, ""))
    if not flag:
        return word
    return f"{flag} " if word.endswith("=") else flag
