"""Optional packages: imported where they are used, with the install command when missing."""

from __future__ import annotations

import importlib
import os
from typing import Any

from featx.errors import MissingDependencyError

__all__ = ["connect_ray", "require"]


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


def connect_ray(purpose: str) -> Any:
    """Return Ray, connected: to ``RAY_ADDRESS``, `ray.init`'s cluster, or a new one here.

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.
    """
    ray = require("ray", extra="ray", purpose=purpose)
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports to Ray's makers
        # Ray warns that actors may outlive their arguments, which the driver keeps.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    return ray
