"""Say what a user's transform is, so that another one gives another recipe."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from featx.fingerprint import bytes_digest

__all__ = ["describe_transform"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe_transform(transform: Callable[[Any], Any]) -> str:
    """Describe a transform in one line that is the same in every process.

    Parameters
    ----------
    transform : callable
        A function, or an object such as ``torchvision.transforms.Compose``.

    Returns
    -------
    str
        A function's name with a hash of its source; otherwise the object's `repr`. Two objects of
        a class whose `repr` does not tell them apart are taken for the same: give such a class a
        `__repr__` with its settings.

    Examples
    --------
    >>> from torchvision.transforms import CenterCrop, Compose, ToTensor
    >>> describe_transform(Compose([CenterCrop(8), ToTensor()]))
    'Compose( CenterCrop(size=(8, 8)) ToTensor() )'
    """
    if inspect.isroutine(transform):
        name = f"{transform.__module__}:{transform.__qualname__}"
        try:
            source = inspect.getsource(transform)
        except (OSError, TypeError):  # typed at a prompt, or built in
            code = getattr(transform, "__code__", None)
            source = "" if code is None else repr((code.co_code, code.co_names))
        return f"{name} {bytes_digest(source.encode())[:16]}"
    return " ".join(_ADDRESS.sub("", repr(transform)).split())
