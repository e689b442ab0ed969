"""Optional packages: imported where they are used, with the install command when missing."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from featx.errors import MissingDependencyError

__all__ = ["is_installed", "require"]


def require(module: str, *, extra: str, purpose: str) -> Any:
    """Import an optional package.

    Parameters
    ----------
    module : str
        Name to import, for example ``"matplotlib.pyplot"``.
    extra : str
        The extra of featx that installs it.
    purpose : str
        What needs it, for the message, for example ``"Matches.plot"``.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        With the install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as err:
        package = module.partition(".")[0]
        raise MissingDependencyError(
            f"{purpose} needs the package {package!r}, which is not installed ({err}); "
            f"install it with: pip install 'featx[{extra}]'"
        ) from err


def is_installed(module: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # masked
        return False
