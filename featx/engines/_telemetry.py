"""Keep OpenVINO and nncf from reporting to their makers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

__all__ = ["without_telemetry"]

TELEMETRY = "openvino_telemetry"


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Make the import of the package that reports an ImportError, unless it has happened."""
    if TELEMETRY in sys.modules:
        yield
        return
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[TELEMETRY]
