"""Ways to damage a file, and to forge one whose checksums fit."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import warnings
import zlib
from typing import Any

import h5py
import numpy as np

ODD = (b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80")


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Damage bytes in one to four ways."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(max(len(out), 1))
        way = draw.randrange(7)
        if way == 0 and out:
            out[at] ^= 1 << draw.randrange(8)
        elif way == 1 and out:
            out[at] = draw.randrange(256)
        elif way == 2:  # a number that is too large, or none
            out[at : at + 4] = draw.choice(ODD)
        elif way == 3:
            out[at:at] = draw.randbytes(draw.randint(1, 16))
        elif way == 4:
            del out[at : at + draw.randint(1, 64)]
        elif way == 5:
            del out[at:]
        else:  # one part over another
            start = draw.randrange(max(len(out), 1))
            out[at : at + 32] = out[start : start + 32]
    return bytes(out)


def forged(data: bytes, draw: random.Random) -> bytes:
    """Put odd numbers into an index and make its checksums fit again, as a stranger might."""
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as h5:
        header = json.loads(h5["header"][:].tobytes())
        names = ["norms", "header"]
        names += [f"finder/{name}" for name in h5.get("finder", {})] * 3
        for _ in range(draw.randint(1, 3)):
            name = draw.choice(names)
            if name == "header":
                _forge_header(header, draw)
                continue
            values = h5[name][()]
            if not values.size:
                continue
            flat = values.reshape(-1)
            at, n = draw.randrange(flat.size), draw.choice((1, 1, 1, 50))
            odd = [
                0,
                1,
                -1,
                flat.size,
                flat.size + 1,
                2**31 - 1,
                -(2**31),
                2**62,
                draw.randrange(999),
            ]
            with np.errstate(all="ignore"):
                flat[at : at + n] = np.array(draw.choice(odd)).astype(values.dtype)
            h5[name][...] = values
            crc = zlib.crc32(np.ascontiguousarray(values).data)
            if name == "norms":
                header["norms_crc"] = crc
            else:
                with contextlib.suppress(TypeError, KeyError):  # forged before: no place for it
                    header["finder"]["crc"][name.removeprefix("finder/")] = crc
        text = json.dumps(header).encode("ascii")
        del h5["header"]
        h5["header"] = np.frombuffer(text, np.uint8)
        h5["header"].attrs["crc"] = zlib.crc32(text)
    return file.getvalue()


def _forge_header(header: dict[str, Any], draw: random.Random) -> None:
    odd = [None, -1, 0, 2**40, "x", [], {}, 0.5, ["a"] * 3]
    at, name = header, draw.choice(list(header))
    while isinstance(at[name], dict) and at[name] and draw.random() < 0.7:
        at, name = at[name], draw.choice(list(at[name]))
    at[name] = draw.choice(odd)


def forged_journal(data: bytes, draw: random.Random) -> bytes:
    """Put odd numbers into a journal, with a checksum that fits."""
    stop = 8 + int.from_bytes(data[:8], "little")
    body = bytearray(data[8 : stop - 32])
    fields = (12, 16, 24, 32, 104, 112)  # n_ranges, sizes, place of the id, the first range
    for _ in range(draw.randint(1, 3)):
        at = draw.choice([*fields, draw.randrange(len(body))])
        odd = draw.choice(
            [0, 1, 2, len(body), 2**20, 2**40, 2**62, 2**64 - 1, draw.randrange(9999)]
        )
        n = 4 if at == 12 else 8
        body[at : at + n] = (odd % 256**n).to_bytes(n, "little")
    if draw.random() < 0.2:
        del body[draw.randrange(len(body)) :]
    journal = bytes(body) + hashlib.sha256(body).digest()
    return len(journal).to_bytes(8, "little") + journal + data[stop:]


ODD_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**62, 0.5, float("nan"), float("inf"))
ODD_TYPES = ("<f8", "<f4", "<f2", "<i8", "<u1", "<U3", "<c8", "|b1")


def odd_array(values: np.ndarray, draw: random.Random) -> np.ndarray:
    """Return an array of odd values, another type, or another shape."""
    way = draw.randrange(6)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == 0 and values.size:
            flat = values.reshape(-1).copy()
            number = draw.choice(ODD_NUMBERS)
            kind = values.dtype.kind
            if kind in "iu":
                number = 0 if number != number or abs(number) == float("inf") else int(number)
                limits = np.iinfo(values.dtype)
                number = min(max(number, limits.min), limits.max)
            flat[draw.randrange(flat.size)] = str(number)[:3] if kind in "US" else number
            return flat.reshape(values.shape)
        if way == 1:
            return (
                values.astype(draw.choice(ODD_TYPES)) if values.dtype.kind != "U" else values[:0]
            )
        if way == 2:
            return values[: draw.randrange(len(values) + 1)] if values.ndim else values[None]
        if way == 3:
            return np.concatenate([values, values]) if values.ndim else np.array([values, values])
        if way == 4:
            return values.reshape(-1)
        return np.zeros(draw.choice([(0,), (1,), (0, 0), (3, 2, 1), ()]), values.dtype)


def forged_model(data: bytes, draw: random.Random) -> bytes:
    """Put odd values into a model, with a seal that fits."""
    from featx.files.archive import pack, unpack

    header, arrays = unpack(data)
    for _ in range(draw.randint(1, 3)):
        if draw.random() < 0.5 and arrays:
            name = draw.choice(sorted(arrays))
            way = draw.randrange(8)
            if way == 0:
                del arrays[name]
            elif way == 1:
                arrays[f"more{draw.randrange(9)}"] = arrays[name]
            else:
                arrays[name] = odd_array(arrays[name], draw)
        else:
            _forge_header(header, draw)
    return pack(header, arrays)


def forged_store(data: bytes, draw: random.Random) -> bytes:
    """Put odd numbers, types, shapes and attributes into a store; vectors keep fitting sums."""
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as h5:
        for _ in range(draw.randint(1, 3)):
            with contextlib.suppress(KeyError, ValueError, TypeError, OSError, RuntimeError):
                _forge_table(h5, h5["tables/outside"], draw)
        with contextlib.suppress(KeyError, ValueError, TypeError, OSError, RuntimeError):
            features = h5["tables/outside/features"]
            if features.ndim == 2 and features.shape[0] < 999:
                sums = [zlib.crc32(np.ascontiguousarray(row).data) for row in features[:]]
                del h5["tables/outside/features_crc"]
                h5["tables/outside/features_crc"] = np.array(sums, np.uint32)
    return file.getvalue()


def _forge_table(h5: Any, table: Any, draw: random.Random) -> None:
    name = draw.choice([*table, "attribute", "attribute"])
    if name == "attribute":
        where = draw.choice([h5, table])
        odd = [-1, 0, 2**62, b"", b"x" * 60000, b"{}", b"[" * 5000, 0.5, [1, 2], True]
        where.attrs[draw.choice([*where.attrs])] = draw.choice(odd)
    elif name == "metadata":
        table["metadata"].create_dataset(f"more{draw.randrange(9)}", data=np.arange(3))
    elif table[name].dtype.kind == "O" or draw.random() < 0.3:
        table[name].resize(draw.choice([0, 1, 59, 61, 2**33]), axis=0)
    elif table[name].shape[:1] < (999,):
        values = odd_array(table[name][:], draw)
        del table[name]
        table[name] = values.astype("S3") if values.dtype.kind == "U" else values
