"""The errors that featx raises.

Each inherits `FeatxError` and the nearest builtin, so that code written for either world catches
it. A class exists only where somebody would catch it alone. Not-fitted is scikit-learn's own
`NotFittedError`. This module imports nothing else of featx.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

__all__ = [
    "BackboneError",
    "FeatxError",
    "FeatxWarning",
    "FileFormatError",
    "FingerprintMismatchError",
    "ImageDecodeError",
    "ManifestError",
    "MissingDependencyError",
    "ParameterError",
    "StoreWriteError",
    "WeightsError",
    "choose",
    "hide_secrets",
    "nearest",
    "one_line",
    "require_count",
    "require_number",
]

T = TypeVar("T")

# These stay text until one is used: few commands print an error, and every command starts.
# In quotes a URL may hold anything but the quote; elsewhere it ends at a space, or at what usually
# ends a word.
# Repetitions are bounded, since a damaged file may bring a text of any length here.
_QUOTED_URL = r"""(?<=(['"]))[A-Za-z][\w+.-]{0,40}://(?:(?!\1).)*(?=\1)"""
_PLAIN_URL = r"""[A-Za-z][\w+.-]{0,40}://\S*?(?=['"`)\]}>,;:.]{0,9}(?:\s|$))"""
_PARTS = (
    r"(?s)([\w+.-]*://)"
    # a password may have any character in it, but what stands behind a host's colon is a number
    r"([^/?#]*@|[^/?#@:]+:(?!\d*(?:[/?#]|$)).*@)?"
    r"([^?#]*)(\?[^#]*)?(#.*)?"
)
# There what stands before the @ is no user but part of the address.
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")


def hide_secrets(text: str) -> str:
    """Return a text in which URLs show no user, password, value of a query, or fragment.

    These are what signs a URL, or whom it belongs to; the rest says which file is meant.

    Examples
    --------
    >>> hide_secrets("'https://me:pw@host/a.jpg?sig=x&v=2#t' and sftp://me@host/b.jpg: not found")
    "'https://***@host/a.jpg?sig=***&v=***#***' and sftp://***@host/b.jpg: not found"
    """
    quoted = re.sub(_QUOTED_URL, lambda found: _hide(found[0]), text)
    return re.sub(_PLAIN_URL, lambda found: _hide(found[0]), quoted)


def _hide(url: str) -> str:
    found = re.match(_PARTS, url)
    if found is None:
        return url
    start, user, rest, query, fragment = found.groups(default="")
    is_part = start.lower().removesuffix("://") in _CONTAINERS and ":" not in user
    if user and not is_part:
        user = "***@"
    if query:
        pairs = (pair.partition("=") for pair in query[1:].split("&"))
        query = "?" + "&".join(f"{name}=***" if equals else "***" for name, equals, _ in pairs)
    return start + user + rest + query + ("#***" if len(fragment) > 1 else fragment)


class FeatxError(Exception):
    """Base class of every error that featx raises on purpose; its text has no URL's secrets."""

    def __str__(self) -> str:
        return hide_secrets(super().__str__())


class FeatxWarning(UserWarning):
    """Something that was done as asked and was probably not meant."""


class ParameterError(FeatxError, ValueError):
    """An argument has a value that cannot be used."""


class ManifestError(FeatxError, ValueError):
    """A source of images or labels cannot be turned into a manifest."""


class ImageDecodeError(FeatxError, OSError):
    """An image cannot be read; the message is the reason that the failures table keeps."""


class BackboneError(FeatxError, ValueError):
    """A backbone or one of its layers does not exist or does not fit the request."""


class WeightsError(FeatxError, ValueError):
    """Weights cannot be had, or do not fit the backbone."""


class FileFormatError(FeatxError, ValueError):
    """A store, model or index file is not what it should be, or is damaged."""


class StoreWriteError(FeatxError, OSError):
    """A file cannot be written: locked by another writer, disk full, read-only."""


class FingerprintMismatchError(FeatxError, ValueError):
    """Features of one recipe were given where another recipe's were expected."""


class MissingDependencyError(FeatxError, ImportError):
    """An optional package is needed; the message has its install command."""


def one_line(error: BaseException, most: int = 200) -> str:
    r"""Return what an exception says in one line, for a message that quotes it.

    Parameters
    ----------
    error : exception
        Anything that was raised.
    most : int, default 200
        Length at which the text is cut, in characters.

    Examples
    --------
    >>> one_line(ValueError("cannot read\n  this"))
    'cannot read this'
    """
    return " ".join(str(error).split())[:most]


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Say which candidate was probably meant.

    Parameters
    ----------
    name : str
        What the user wrote.
    candidates : iterable of str
        What would have been accepted.

    Returns
    -------
    str
        ``" Did you mean 'x'?"`` with a leading space, or the empty string where nothing is near.

    Examples
    --------
    >>> nearest("mobilnet_v2", ["resnet18", "mobilenet_v2"])
    " Did you mean 'mobilenet_v2'?"
    >>> nearest("imagenet1k_v2", ["IMAGENET1K_V1", "IMAGENET1K_V2"])
    " Did you mean 'IMAGENET1K_V2'?"
    >>> nearest("zzz", ["resnet18"])
    ''
    """
    by_letters = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.casefold(), list(by_letters), n=1, cutoff=0.6)
    return f" Did you mean {by_letters[found[0]]!r}?" if found else ""


def choose(
    name: str, value: Any, options: Iterable[T], *, error: type[FeatxError] = ParameterError
) -> T:
    """Return a value that is one of the options.

    Parameters
    ----------
    name : str
        What the caller calls the value, for the message.
    value : object
        What the user wrote.
    options : iterable
        What is accepted.
    error : type, default ParameterError
        What is raised.

    Raises
    ------
    ParameterError
        Where `value` is none of them: lists them and the nearest.

    Examples
    --------
    >>> choose("metric", "cosine", ("cosine", "dot"))
    'cosine'
    >>> choose("metric", "cosin", ("cosine", "euclidean", "dot"))
    Traceback (most recent call last):
    featx.errors.ParameterError: metric: got 'cosin', expected one of 'cosine', 'euclidean' or \
'dot'. Did you mean 'cosine'?
    """
    accepted = list(options)
    if isinstance(value, Hashable):  # an array equals no option, but one for each element
        for option in accepted:
            if option == value:
                return option
    *first, last = map(repr, accepted) if accepted else ("none",)
    expected = f"one of {', '.join(first)} or {last}" if first else last
    texts = [option for option in accepted if isinstance(option, str)]
    hint = nearest(value, texts) if isinstance(value, str) else ""
    raise error(f"{name}: got {value!r}, expected {expected}.{hint}")


def require_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is not an integer of at least `least`.

    Examples
    --------
    >>> require_count("k", 0)
    Traceback (most recent call last):
    featx.errors.ParameterError: k: got 0, expected an integer of at least 1
    """
    import numbers

    is_integer = not isinstance(value, bool) and isinstance(value, numbers.Integral)
    if not (is_integer and value >= least):
        raise ParameterError(f"{name}: got {value!r}, expected an integer of at least {least}")


def require_number(
    name: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Refuse what is not a finite number from `least` to `most`.

    Parameters
    ----------
    name : str
        What the caller calls the value, for the message.
    value : object
        What the user wrote.
    least, most : float
        The limits, which are accepted themselves.
    above, below : bool, default False
        Whether `least` and `most` are refused.

    Raises
    ------
    ParameterError
        With the range.

    Examples
    --------
    >>> require_number("tol", 0, 0, above=True)
    Traceback (most recent call last):
    featx.errors.ParameterError: tol: got 0, expected a number above 0
    >>> require_number("alpha", 1, 0, 1, below=True)
    Traceback (most recent call last):
    featx.errors.ParameterError: alpha: got 1, expected a number from 0 to below 1
    """
    import numbers

    if not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value):
        number = float(value)
        is_high_enough = number > least if above else number >= least
        if is_high_enough and (number < most if below else number <= most):
            return
    if math.isinf(most):
        expected = f"number above {least:g}" if above else f"finite number of at least {least:g}"
    elif above:
        expected = f"number above {least:g} and {'below' if below else 'at most'} {most:g}"
    else:
        expected = f"number from {least:g} to {'below ' if below else ''}{most:g}"
    raise ParameterError(f"{name}: got {value!r}, expected a {expected}")
