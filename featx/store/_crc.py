"""CRC-32: zlib-ng gives zlib's numbers by the processor's own instructions, four times as fast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng.zlib_ng import crc32

__all__ = ["crc32", "feature_crcs"]


def feature_crcs(features: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the CRC-32 of each row's bytes, (n,)."""
    rows = np.ascontiguousarray(features).view(np.uint8)
    return np.fromiter(map(crc32, rows), np.uint32, len(rows))
