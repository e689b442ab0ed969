"""The errors that featx raises.

Each inherits `FeatxError` and the nearest builtin, so that code written for either world catches
it. A class exists only where somebody would catch it alone. Not-fitted is scikit-learn's own
`NotFittedError`. This module imports nothing else of featx.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BackboneError",
    "FeatxError",
    "FileFormatError",
    "FingerprintMismatchError",
    "ImageDecodeError",
    "ManifestError",
    "MissingDependencyError",
    "ParameterError",
    "StoreWriteError",
    "WeightsError",
    "nearest",
]


class FeatxError(Exception):
    """Base class of every error that featx raises on purpose."""


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
    >>> nearest("zzz", ["resnet18"])
    ''
    """
    found = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f" Did you mean {found[0]!r}?" if found else ""
