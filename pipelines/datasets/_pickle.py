"""Read a pickle of plain values and whole-number arrays without running anything that it names.

A pickle is a program: ordinary unpickling calls whatever function it asks for. Here the few names
that arrays need mean harmless stand-ins, not NumPy's own functions (`ndarray.__setstate__` takes a
crafted dtype at its word), and every other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

__all__ = ["read_plain_pickle"]

N_STATE_FIELDS_OF_ARRAY = 5


class _DType:
    """Stands in for numpy.dtype: numbers only."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[iufb]\d{1,2}", code):
            raise pickle.UnpicklingError(f"an array of {code!r:.40}, expected numbers")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"byte order {order!r:.40}")
        self.order = order

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order.strip("|=") + self.code.lstrip("<>=|"))


class _Array(list[Any]):
    """Stands in for an array under construction: the list that it would be."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != N_STATE_FIELDS_OF_ARRAY:
            raise pickle.UnpicklingError("an array without shape and values")
        _, shape, dtype, is_fortran, data = state
        self[:] = _values(data, dtype, shape, "F" if is_fortran else "C")


def _values(data: Any, dtype: Any, shape: Any, order: str) -> list[Any]:
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin-1")
    if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("an array of something else than numbers")
    flat = np.frombuffer(data, dtype.numpy())
    if math.prod(shape) != flat.size:
        raise pickle.UnpicklingError(
            f"an array of {flat.size} numbers for the shape {shape!r:.40}"
        )
    if not flat.size:  # of the shape (10**9, 0) a list would still be long
        return []
    values: list[Any] = flat.reshape(shape, order="F" if order == "F" else "C").tolist()
    return values


def _scalar(dtype: Any, data: Any) -> Any:
    return _values(data, dtype, (1,), "C")[0]


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise pickle.UnpicklingError(f"text in {encoding!r:.40}")
    return text.encode("latin-1")


STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): lambda: None,  # only ever an argument of the next
    ("_codecs", "encode"): _encode,
    # How Python 3 writes b"" for Python 2; no arguments, so that none is a size.
    ("__builtin__", "bytes"): lambda: b"",
    ("builtins", "bytes"): lambda: b"",
}
for _core in ("numpy.core", "numpy._core"):
    STAND_INS[f"{_core}.multiarray", "_reconstruct"] = lambda *_: _Array()
    STAND_INS[f"{_core}.multiarray", "scalar"] = _scalar
    STAND_INS[f"{_core}.numeric", "_frombuffer"] = _values


def _load_bytearray8(unpickler: Any) -> None:
    """Read a bytearray; the original makes room for what it claims to be before it reads."""
    (n,) = struct.unpack("<Q", unpickler.read(8))
    data = unpickler.read(min(n, sys.maxsize))
    if len(data) < n:
        raise pickle.UnpicklingError(f"{len(data)} bytes where {n} were to follow")
    unpickler.append(bytearray(data))


class _Unpickler(pickle._Unpickler):
    """The unpickler in Python: the one in C allocates whatever table a damaged index asks for."""

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: _load_bytearray8,
    }

    def find_class(self, module: str, name: str) -> Any:
        stand_in = STAND_INS.get((module, name))
        if stand_in is None:
            named = " ".join(f"{module}.{name}".split())
            raise pickle.UnpicklingError(f"it asks for {named:.100}, which would run code")

        # New each time, since a pickle can set attributes of what it is given.
        def call(*args: Any) -> Any:
            return stand_in(*args)

        return call


def read_plain_pickle(data: bytes) -> Any:
    """Return what a pickle holds; arrays of numbers become nested lists.

    Parameters
    ----------
    data : bytes
        Of any protocol, Python 2 included.

    Returns
    -------
    object
        Of containers, numbers and text; a crafted pickle may have a useless stand-in among them,
        so check the type of what is taken out.

    Raises
    ------
    UnpicklingError
        If it is damaged, or names anything but arrays of numbers; nothing that it names has been
        called.

    Examples
    --------
    >>> read_plain_pickle(pickle.dumps({"easy": np.array([3, 1])}))
    {'easy': [3, 1]}
    >>> read_plain_pickle(pickle.dumps(len))
    Traceback (most recent call last):
    _pickle.UnpicklingError: it asks for builtins.len, which would run code
    """
    try:
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    # A crafted or damaged pickle raises nearly everything; each means the same here.
    except Exception as err:
        raise pickle.UnpicklingError(f"damaged: {err!r:.120}") from err
