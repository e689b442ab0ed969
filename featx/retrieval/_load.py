"""Open an index of whatever kind."""

from __future__ import annotations

import contextlib
import os

import h5py

from featx.files.atomic import open_regular
from featx.files.formats import INSTANCES
from featx.retrieval._index import RetrievalIndex
from featx.retrieval._instances import InstanceIndex

__all__ = ["load_index"]


def load_index(
    path: str | os.PathLike[str], *, mmap: bool = False
) -> RetrievalIndex | InstanceIndex:
    """Read an index of the kind that its file holds.

    Parameters
    ----------
    path : path
        A file of ``featx index``, or of `save`.
    mmap : bool, default False
        As for `RetrievalIndex.load`; an `InstanceIndex` is read whole.

    Raises
    ------
    FileFormatError
        If it is missing, foreign, of another version or damaged.
    """
    if _has_instances(path):
        return InstanceIndex.load(path)
    return RetrievalIndex.load(path, mmap=mmap)


def _has_instances(path: str | os.PathLike[str]) -> bool:
    # whoever reads the file says what is wrong with it
    with contextlib.suppress(Exception), open_regular(path) as file, h5py.File(file, "r") as h5:
        attribute = h5.attrs.get_id("format")
        return bool(attribute.dtype.kind == "S" and h5.attrs["format"] == INSTANCES.name.encode())
    return False
