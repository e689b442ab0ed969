"""What a person reads: errors, failed images, labels and figures, in the words of the options."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any

from featx._repr import show_count
from featx.errors import FeatxError, hide_secrets

__all__ = [
    "describe_agreement",
    "describe_error",
    "describe_failures",
    "keep_known_options",
    "list_failures",
    "name_options",
    "show_coverage",
    "show_figure",
]

MAX_LISTED = 20

# What the library calls what files give.
CONTENTS = {"y": "labels", "y_true": "labels", "X": "features"}
# These stay text until one is used, since every command starts and few fail.
# Text in quotes stays as it is; a name is what begins the message, or has an underscore.
_NAMES = r"'[^']*'|^[A-Za-z_]\w*(?=: )|\b[a-z]+(?:_[a-z]+)+\b=?"
# A piece of advice that ends in an option, as ", or pass labels (--labels L.csv)".
_ADVICE = r"'[^']*'|[,;]?(?: or)? [^',;:()]*\((--[a-z-]+)[^()]*\)"


def name_options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the command's options by the names of the library's parameters."""
    flags = dict(CONTENTS)
    for action in parser._actions:
        if action.option_strings:
            flag = max(action.option_strings, key=len)
            # the library says "layers" of several and "layer" of one
            flags[action.dest] = flags[flag.strip("-").replace("-", "_")] = flag
        elif action.metavar:
            flags[action.dest] = str(action.metavar)
    return flags


def describe_error(err: BaseException, flags: dict[str, str]) -> str:
    """Return what went wrong, on one line.

    Only what nothing else explains is called a fault in featx.
    """
    if isinstance(err, FeatxError):
        message = re.sub(_NAMES, lambda found: _flag(found[0], flags), str(err))
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
    return re.sub(_ADVICE, lambda found: found[0] if found[1] in {None, *known} else "", text)


def _flag(word: str, flags: dict[str, Any]) -> str:
    name = word.removesuffix("=")
    flag = str(flags.get(name, ""))
    if not flag:
        return word
    return f"{flag} " if word.endswith("=") else flag


def describe_failures(failures: list[dict[str, str]]) -> str:
    """Say on one line that no image could be read, and why the first could not."""
    first = failures[0]
    n = len(failures)
    which = "the image" if n == 1 else f"none of the {n} images"
    more = f", and {n - 1} more" if n > 1 else ""
    return (
        f"{which} could {'not ' if n == 1 else ''}be read: {first['path']!r} "
        f"({first['reason']}){more}; expected at least one that is whole: check the source"
    )


def list_failures(failures: list[dict[str, str]]) -> list[str]:
    """Return a line per image, as far as a person reads."""
    lines = [f"{f['path']}: could not be read: {f['reason']}" for f in failures[:MAX_LISTED]]
    if len(failures) > MAX_LISTED:
        lines.append(f"{len(failures) - MAX_LISTED} more could not be read (--json lists all)")
    return lines


def show_coverage(result: dict[str, Any]) -> list[str]:
    """Say what the join of labels left over, from the keys of `Coverage.to_dict`."""
    lines = []
    if n := result["n_unlabelled"]:
        examples = _list_examples(result["unlabelled"], n)
        have = "has no label and was" if n == 1 else "have no label and were"
        lines.append(f"{show_count(n, 'image')} {have} left out: {examples}")
    if n := result["n_unused"]:
        near = f"; nearest: {result['nearest']}" if result["nearest"] else ""
        rows = f"{show_count(n, 'row')} of {result['labels_from']} {'fits' if n == 1 else 'fit'}"
        examples = _list_examples(result["unused"], n)
        lines.append(f"{rows} none of the images: {examples}{near}")
    return lines


def _list_examples(examples: list[str], n: int) -> str:
    return ", ".join(examples) + (", ..." if n > len(examples) else "")


def show_figure(value: float | None) -> str:
    """Return a measured figure as text; NaN and None were not measured."""
    return "not measured" if value is None or math.isnan(value) else f"{value:.3f}"


def describe_agreement(match: dict[str, Any]) -> str:
    """Say how many local features of a match agree, "" where images were not compared."""
    inliers = match.get("inliers", -1)
    if inliers == 0 and "region" in match:
        return "not verified"
    return f"{inliers} features agree" if inliers >= 0 else ""
