"""Check rows that are to be written, before anything of them is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.errors import ParameterError
from featx.store._records import UNKNOWN_DIGEST, Records, digest_bytes
from featx.store._text import encode, encode_all

_UNKNOWN = UNKNOWN_DIGEST.hex()

__all__ = ["check_digest", "check_features", "check_records"]


def check_features(
    features: ArrayLike, paths: Sequence[str], n_features: int, dtype: str
) -> NDArray[Any]:
    """Return the vectors in the type that the table stores.

    Raises
    ------
    ParameterError
        If the shape does not fit, or a value is not finite: a network that gives NaN has gone
        wrong, and every later step would carry it on.
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.shape[1] != n_features:
        raise ParameterError(
            f"features: got shape {array.shape}, expected (n_samples, {n_features}), the width of "
            "the table; pass the vectors of this table's recipe"
        )
    if len(array) != len(paths):
        raise ParameterError(
            f"features: got {len(array)} rows for {len(paths)} paths, expected as many"
        )
    if array.dtype.kind not in "fiu":
        raise ParameterError(f"features: got dtype {array.dtype}, expected real numbers")
    with np.errstate(over="ignore"):
        stored = np.array(array, np.dtype(dtype).newbyteorder("<"), order="C")
    if not _is_finite(stored):
        row = int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
        column = int(np.flatnonzero(~np.isfinite(stored[row]))[0])
        raise ParameterError(
            f"features of {paths[row]!r}: got {array[row, column]!s} at position {column}, "
            f"expected finite numbers within {dtype}; look at the image and at the precision"
        )
    return stored


def _is_finite(stored: NDArray[Any]) -> bool:
    if stored.dtype.itemsize == 2:  # NumPy takes each half to a float first, which takes long
        return not ((stored.view("<u2") & 0x7C00) == 0x7C00).any()
    return bool(np.isfinite(stored).all())


def check_records(
    n: int,
    *,
    paths: Sequence[str] | None = None,
    digests: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    mtimes: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    metadata: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Records, frozenset[str]]:
    """Return `n` records of what is given, and the names of the fields that are."""
    texts = {"path": paths, "label": labels}
    metadata = dict(metadata or {})
    columns: dict[str, Any] = {
        **texts,
        "digest": digests,
        "size_bytes": sizes,
        "mtime_ns": mtimes,
        **{f"metadata {name}": values for name, values in metadata.items()},
    }
    for name, values in columns.items():
        if values is not None and len(values) != n:
            raise ParameterError(
                f"{name}: got {len(values)} values for {n} rows, expected as many"
            )
    if "" in metadata:
        raise ParameterError("metadata: got a column named '', expected a name")
    records = Records.empty(n)
    for name, values in texts.items():
        if values is not None:
            setattr(records, name, encode_all(values, name))
    for name, values in metadata.items():
        _check_name(name)
        records.metadata[name] = encode_all(values, f"metadata {name!r} of row")
    if digests is not None:
        records.numbers["digest"] = _digests(digests)
    for name, numbers in (("size_bytes", sizes), ("mtime_ns", mtimes)):
        if numbers is not None:
            records.numbers[name] = numbers
    return records, frozenset(name for name, values in columns.items() if values is not None)


def _check_name(column: str) -> None:
    """Refuse what HDF5 takes for no name; a value may hold any byte but NUL."""
    raw = encode(column, "metadata column")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ParameterError(
            f"metadata column: got {column!r}, expected a name that UTF-8 can hold; rename it"
        ) from None


def _digests(digests: Sequence[str]) -> NDArray[np.uint8]:
    raw = b""
    with contextlib.suppress(ValueError, TypeError):
        if all(len(value) in (0, 64) for value in digests):
            raw = bytes.fromhex("".join([value or _UNKNOWN for value in digests]))
    if len(raw) != len(UNKNOWN_DIGEST) * len(digests):  # find the one that is wrong
        raw = b"".join(map(check_digest, digests))
    return np.frombuffer(raw, np.uint8).reshape(len(digests), 32)


def check_digest(value: str) -> bytes:
    """Return a digest's 32 bytes."""
    try:
        raw = digest_bytes(value)
    except (ValueError, TypeError):
        raw = b""
    if len(raw) != len(UNKNOWN_DIGEST):
        raise ParameterError(
            f"digest: got {value!r}, expected 64 hexadecimal digits (SHA-256) or ''"
        )
    return raw
