"""Names of a package that are loaded on first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["load_later"]


def load_later(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__``, which imports a name from where it lives.

    Parameters
    ----------
    package : str
        The module's ``__name__``.
    homes : mapping
        The module that each name is in; one that begins with a dot is inside the package.

    Examples
    --------
    >>> load = load_later("featx", {"Recipe": ".recipe"})
    >>> load("Recipe").__name__
    'Recipe'
    >>> load("Recipes")
    Traceback (most recent call last):
    AttributeError: module 'featx' has no attribute 'Recipes'
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name], package), name)

    return load
