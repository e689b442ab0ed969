"""The header of a file of safetensors: JSON that says what tensors it holds, and notes."""

from __future__ import annotations

import json
from typing import IO, Any

__all__ = ["MAX_HEADER_BYTES", "is_safetensors", "read_header"]

MAX_HEADER_BYTES = 16 * 2**20  # a thousand tensors take 100 kB


def is_safetensors(head: bytes) -> bool:
    """Tell whether a file begins as one of safetensors does: with the length of a JSON header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES


def read_header(file: IO[bytes]) -> dict[str, dict[str, Any]]:
    """Return the header of a file of safetensors; {} where there is none that can be read."""
    file.seek(0)
    head = file.read(9)
    if not is_safetensors(head):
        return {}
    file.seek(8)
    try:
        header = json.loads(file.read(int.from_bytes(head[:8], "little")))
    except (ValueError, RecursionError):
        return {}
    is_plain = isinstance(header, dict) and all(isinstance(v, dict) for v in header.values())
    return header if is_plain else {}
