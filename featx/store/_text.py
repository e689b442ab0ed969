"""Text as HDF5 keeps it: variable-length UTF-8, where a file name may hold any byte but NUL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError

__all__ = [
    "TEXT",
    "column_name",
    "dataset_name",
    "decode",
    "encode",
    "encode_all",
    "read_attribute",
    "text_array",
    "write_attribute",
]

TEXT = h5py.string_dtype("utf-8")


def encode(text: str, what: str) -> bytes:
    """Return UTF-8; undecodable bytes of a file name come back as they were.

    Raises
    ------
    ParameterError
        If `text` is no text, or holds a NUL, which HDF5's strings end at.
    """
    if not isinstance(text, str):
        raise ParameterError(f"{what}: got {text!r} of type {type(text).__name__}, expected str")
    raw = text.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ParameterError(
            f"{what}: got {text!r} with a NUL character, expected text without; remove it"
        )
    return raw


def encode_all(texts: Sequence[str], what: str) -> list[bytes]:
    """Return UTF-8 of each, as `encode`; messages add the number of the text to `what`."""
    try:
        raw = [str.encode(text, "utf-8", "surrogateescape") for text in texts]
    except TypeError:
        raw = [b"\0"]
    if b"\0" in b"".join(raw):
        return [encode(text, f"{what} {i}") for i, text in enumerate(texts)]
    return raw


def decode(raw: bytes) -> str:
    """Undo `encode`."""
    return raw.decode("utf-8", "surrogateescape")


def text_array(raw: Sequence[bytes]) -> NDArray[np.str_]:
    """Decode many into a NumPy array of str."""
    return np.array([decode(value) for value in raw], dtype=np.str_)


def dataset_name(column: str) -> str:
    """Return the HDF5 name of a metadata column: "/" separates groups there, so it is escaped.

    Examples
    --------
    >>> dataset_name("width/height")
    'width%2Fheight'
    >>> column_name(dataset_name("50% off/.")) == "50% off/."
    True
    """
    name = column.replace("%", "%25").replace("/", "%2F")
    return "%2E" if name == "." else name


def column_name(dataset: str) -> str:
    """Undo `dataset_name`."""
    return dataset.replace("%2E", ".").replace("%2F", "/").replace("%25", "%")


def write_attribute(holder: Any, name: str, text: str) -> None:
    """Set a text attribute; of fixed length, so that it lies in a header with a checksum.

    HDF5 keeps attributes of variable length in heaps without checksums, where a flipped byte gave
    other text, or made HDF5 2.0 loop for ever.
    """
    holder.attrs[name] = np.bytes_(text.encode("utf-8", "surrogateescape"))


def read_attribute(holder: Any, name: str) -> str:
    """Return a text attribute."""
    value = holder.attrs[name]
    if not isinstance(value, bytes):
        raise TypeError(f"attribute {name!r} is {type(value).__name__}, expected text")
    return value.decode("utf-8", "surrogateescape")
