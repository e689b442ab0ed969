"""A Ray cluster, connected to where the user names one, started on this machine where not."""

from __future__ import annotations

import os
from typing import Any

from featx._optional import require

__all__ = ["connected_ray"]


def connected_ray(purpose: str) -> Any:
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
