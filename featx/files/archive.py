"""A zip of one JSON text and plain arrays, sealed by its hash, in which a model is kept.

Members are stored uncompressed: ``model.json`` and one ``.npy`` an array, so that any zip tool and
`numpy.load` open the file, and all members together are no larger than the file. The zip's
comment, the last 64 bytes, is the SHA-256 of all bytes before it: one flipped byte anywhere is
found before anything is read. Nothing here is executed: no pickle, no object arrays.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from featx.errors import FileFormatError, one_line

__all__ = ["pack", "unpack"]

Arrays = dict[str, NDArray[Any]]

HEADER = "model.json"
SEAL_BYTES = 64
LONGEST_ARRAY_HEADER = 1000
KINDS = "biufU"  # truth values, integers, floats, text; never objects


def pack(header: dict[str, Any], arrays: Arrays) -> bytes:
    """Return the bytes of a file.

    Parameters
    ----------
    header : dict
        JSON-serialisable.
    arrays : dict of ndarray
        By name; numbers, truth values or text.

    Returns
    -------
    bytes
        The same for the same content.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        text = json.dumps(header, indent=1, sort_keys=True, allow_nan=False)
        file.writestr(zipfile.ZipInfo(HEADER), text)
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            npy.write_array(member, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
        file.comment = b"0" * SEAL_BYTES
    body = buffer.getvalue()[:-SEAL_BYTES]
    return body + _seal(body)


def _seal(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def unpack(data: bytes) -> tuple[dict[str, Any], Arrays]:
    """Read what `pack` wrote.

    Raises
    ------
    FileFormatError
        With the cause; the caller adds the path.
    """
    if len(data) <= SEAL_BYTES or data[:2] != b"PK":
        raise FileFormatError("it does not begin as a zip file, or ends there")
    if data[:4] == b"PK\3\4" and not data[30:].startswith(HEADER.encode()):
        raise FileFormatError(
            f"a zip file, but no featx model: {HEADER!r} is not its first member"
        )
    if _seal(data[:-SEAL_BYTES]) != data[-SEAL_BYTES:]:
        raise FileFormatError(
            "damaged or cut short: its bytes do not have the SHA-256 that its end states"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            infos = file.infolist()
            _require_stored(infos, len(data))
            members = {info.filename: file.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as err:
        raise FileFormatError(f"not a readable zip file: {err}") from err
    if HEADER not in members or len(infos) != len(members):
        raise FileFormatError(f"got members {sorted(members)[:10]!r}, expected {HEADER!r} once")
    header = _read_json(members.pop(HEADER))
    arrays = {}
    for name, member in members.items():
        if not name.endswith(".npy"):
            raise FileFormatError(f"got member {name!r}, expected .npy arrays beside {HEADER!r}")
        arrays[name.removesuffix(".npy")] = _read_array(name, member)
    return header, arrays


def _require_stored(infos: Sequence[zipfile.ZipInfo], n_bytes: int) -> None:
    """Refuse members that would take more memory than the file does."""
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise FileFormatError(
                f"member {info.filename!r} is compressed, expected it stored plainly"
            )
    if sum(info.file_size for info in infos) > n_bytes:
        raise FileFormatError("its members overlap: together they are larger than the file")


def _read_json(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise FileFormatError(f"{HEADER}: not valid JSON: {err}") from err
    if not isinstance(header, dict):
        raise FileFormatError(f"{HEADER}: got {type(header).__name__}, expected an object")
    return header


def _read_array(name: str, data: bytes) -> NDArray[Any]:
    """Read one .npy, without the memory that a header claims and `numpy.load` would take."""
    file = io.BytesIO(data)
    try:
        if npy.read_magic(file) != (1, 0):
            raise ValueError("got another version, expected 1.0")  # noqa: TRY301
        shape, is_fortran, dtype = npy.read_array_header_1_0(file, LONGEST_ARRAY_HEADER)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as err:
        reason = one_line(err)
        raise FileFormatError(f"{name}: not an .npy array: {reason}") from err
    n_bytes = len(data) - file.tell()
    if dtype.kind not in KINDS or is_fortran or (dtype.itemsize == 0 and dtype.kind != "U"):
        raise FileFormatError(
            f"{name}: got dtype {dtype.str!r}, expected numbers or text in C order"
        )
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != n_bytes:
        raise FileFormatError(f"{name}: got {n_bytes} bytes for shape {shape} of {dtype.str!r}")
    if dtype.itemsize == 0:
        raise FileFormatError(f"{name}: text of length 0")
    return np.frombuffer(data, dtype=dtype, offset=file.tell()).reshape(shape).copy()
