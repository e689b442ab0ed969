"""The failures table: images that could not be read, so that none is dropped silently."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import FileFormatError
from featx.store._layout import FAILURES, decode, digest_text, encode, encode_all, grow
from featx.store._records import Records, check_digest, check_digests
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
        "digest": check_digests([f.digest for f in failures]),
        "size_bytes": np.array([f.size_bytes for f in failures], "<i8"),
        "mtime_ns": np.array([f.mtime_ns for f in failures], "<i8"),
    }
    records = Records(len(failures), columns, FAILURES)
    for name, values in {**records.columns, "row_crc": records.crcs()}.items():
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
    lengths = {len(dataset) for dataset in group.values()}
    n = max(lengths) if crcs is None else len(crcs)
    if len(lengths) != 1 or n > max(lengths):
        raise FileFormatError("failures: the columns differ in length; the file is damaged")
    records = Records.read(group, file, slice(n), crcs, FAILURES)
    rows = zip(
        map(decode, records["path"].tolist()),
        map(decode, records["reason"].tolist()),
        digest_text(records["digest"]).tolist(),
        records["size_bytes"].tolist(),
        records["mtime_ns"].tolist(),
        strict=True,
    )
    return tuple(Failure(*row) for row in rows)
