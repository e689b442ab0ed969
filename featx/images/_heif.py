"""HEIF, in which telephones keep photographs: read where pillow-heif is (extra ``heic``)."""

from __future__ import annotations

import importlib.util
from typing import Any

from featx._optional import require

__all__ = ["HEAD_BYTES", "HEIF_SUFFIXES", "has_heif_reader", "is_heif", "open_heif"]

HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEAD_BYTES = 64
"""How much of a file tells its format."""
# ISO/IEC 23008-12, annex B: pictures coded with HEVC, and sequences of them.
BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
ANY_CODEC, AV1 = {b"mif1", b"msf1"}, {b"avif", b"avis"}


def is_heif(head: bytes) -> bool:
    """Say whether a file begins like a HEIF file that is not AVIF."""
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, end - 3, 4))}
    return bool(brands & BRANDS) or bool(brands & ANY_CODEC and not brands & AV1)


def has_heif_reader() -> bool:
    """Say whether pillow-heif is installed, without importing it."""
    return importlib.util.find_spec("pillow_heif") is not None


def open_heif(file: Any) -> Any:
    """Open a HEIF file as a Pillow image, without registering its plugin for the whole process."""
    return require("pillow_heif", extra="heic", purpose="HEIF").HeifImageFile(file, "")
