"""The failures table: images that could not be read, so that none is dropped silently."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError
from featx.store._chunks import read_text
from featx.store._layout import crc32, decode, digest_text, encode, encode_all, grow
from featx.store._records import check_digest
from featx.store._transaction import PatchedFile

__all__ = ["Failure", "check_failures", "read_failures", "write_failures"]


@dataclass(frozen=True)
class Failure:
    """An image that could not be read.

    Parameters
    ----------
    path : str
        As in the manifest.
    reason : str
        The message of the error.
    digest : str, default ""
        SHA-256 of the file, 64 hexadecimal digits; empty where it could not even be opened.
    size_bytes, mtime_ns : int, default 0
        Size and modification time when it was tried; 0 where they could not be had.
    """

    path: str
    reason: str
    digest: str = ""
    size_bytes: int = 0
    mtime_ns: int = 0


def check_failures(failures: Iterable[Failure]) -> dict[str, Failure]:
    """Return them by path; a path that comes twice keeps its last reason."""
    checked = {}
    for failure in failures:
        encode(failure.path, "path of a failure")
        reason = failure.reason.replace("\0", "\N{REPLACEMENT CHARACTER}")
        check_digest(failure.digest)
        checked[failure.path] = replace(failure, reason=reason)
    return checked


def write_failures(h5: Any, failures: Sequence[Failure]) -> None:
    """Replace the failures table."""
    group = h5["failures"]
    columns = {
        "path": encode_all([f.path for f in failures], "path"),
        "reason": encode_all([f.reason for f in failures], "reason"),
        "digest": np.frombuffer(b"".join(check_digest(f.digest) for f in failures), "u1").reshape(
            -1, 32
        ),
        "size_bytes": np.array([f.size_bytes for f in failures], "<i8"),
        "mtime_ns": np.array([f.mtime_ns for f in failures], "<i8"),
        "row_crc": np.array([_crc(f) for f in failures], "<u4"),
    }
    for name, values in columns.items():
        group[name].resize(0, axis=0)
        grow(group[name], values)


def read_failures(
    h5: Any, file: PatchedFile, crcs: NDArray[np.uint32] | None = None
) -> tuple[Failure, ...]:
    """Read the failures table of what HDF5 reads through `file`.

    Parameters
    ----------
    h5, file
        The open store.
    crcs : ndarray of uint32, optional
        The checksums of the first rows, which are then all that is read. Default: the stored ones.

    Raises
    ------
    FileFormatError
        If a row does not fit its checksum.
    """
    group = h5["failures"]
    expected = group["row_crc"][:] if crcs is None else crcs
    n, n_stored = len(expected), len(group["path"])
    if n > n_stored or any(len(dataset) != n_stored for dataset in group.values()):
        raise FileFormatError("failures: the columns differ in length; the file is damaged")
    rows = zip(
        (decode(raw) for raw in read_text(group["path"], file, 0, n)),
        (decode(raw) for raw in read_text(group["reason"], file, 0, n)),
        digest_text(group["digest"][:n]).tolist(),
        group["size_bytes"][:n].tolist(),
        group["mtime_ns"][:n].tolist(),
        strict=True,
    )
    failures = tuple(Failure(*row) for row in rows)
    for i, (failure, crc) in enumerate(zip(failures, expected.tolist(), strict=True)):
        if _crc(failure) != crc:
            raise FileFormatError(
                f"failures: row {i} does not fit its checksum; the file is damaged"
            )
    return failures


def _crc(failure: Failure) -> int:
    """CRC-32 over path, reason (each ended by a NUL), digest, size and time."""
    text = b"%b\0%b\0" % (encode(failure.path, "path"), encode(failure.reason, "reason"))
    numbers = np.array([failure.size_bytes, failure.mtime_ns], "<i8").tobytes()
    return crc32(text + check_digest(failure.digest) + numbers)
