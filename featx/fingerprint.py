"""Content hashes.

Whatever is cached is keyed by a hash of everything that changes it: an image by its bytes, a table
by its recipe (`featx.recipe`). SHA-256 throughout: the processors that people have do it in
hardware.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.files.atomic import open_regular

__all__ = ["array_digest", "bytes_digest", "file_digest", "json_digest"]


def bytes_digest(data: bytes | memoryview) -> str:
    """Hash bytes.

    Returns
    -------
    str
        64 lower-case hexadecimal digits (SHA-256).

    Examples
    --------
    >>> bytes_digest(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | Path) -> str:
    """Hash a regular file's content without holding it in memory.

    Returns
    -------
    str
        64 lower-case hexadecimal digits (SHA-256).

    Raises
    ------
    OSError
        If it cannot be read, or is a folder, pipe, socket or device.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_digest(array: NDArray[Any]) -> str:
    """Hash an array: its dtype, its shape and its elements in C order.

    Returns
    -------
    str
        64 lower-case hexadecimal digits (SHA-256). An array never has the digest of a file.

    Examples
    --------
    >>> a = np.zeros((2, 3), np.uint8)
    >>> array_digest(a) == array_digest(a.reshape(3, 2))
    False
    """
    array = np.ascontiguousarray(array)
    head = f"array {array.dtype.str} {array.shape}\n".encode()
    digest = hashlib.sha256(head)
    digest.update(array.view(np.uint8).reshape(-1).data if array.size else b"")
    return digest.hexdigest()


def json_digest(value: Any) -> str:
    """Hash a JSON value in its canonical form: sorted keys, no spaces.

    Returns
    -------
    str
        64 lower-case hexadecimal digits (SHA-256).

    Examples
    --------
    >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return bytes_digest(text.encode())
