"""An instance index in one HDF5 file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.files.formats import INSTANCES
from featx.retrieval._columns import Columns
from featx.retrieval._file_parts import (
    IndexFile,
    InOrder,
    list_columns,
    opening_index,
    read_columns,
    read_header,
    write_arrays,
    write_header,
    writing_index,
)
from featx.retrieval._votes import InvertedFile, inverted_file_from_arrays

__all__ = ["InstanceContent", "read_instances", "write_instances"]

LOCAL_FEATURES = "rootsift, 8 bits"
FIELDS: dict[str, tuple[type, ...]] = {
    "local_features": (str,),
    "parameters": (dict,),
    "ids": (list,),
    "labels": (list, type(None)),
    "metadata": (dict,),
    "digests": (list, type(None)),
    "crc": (dict,),
}
TYPES = {"row_of": np.int32, "points": np.uint16, "sizes_px": np.int32, "centroids": np.float32}
COUNTS = ("n_features", "n_query_features", "n_candidates")


@dataclass(frozen=True)
class InstanceContent:
    """What an instance index is.

    Parameters
    ----------
    parameters : dict
        Of `InstanceIndex`.
    columns : Columns
        Ids, labels and metadata.
    inverted : InvertedFile
        The local features.
    """

    parameters: dict[str, Any]
    columns: Columns
    inverted: InvertedFile


def write_instances(path: str | os.PathLike[str], content: InstanceContent) -> None:
    """Write an index; a crash leaves the old file.

    Raises
    ------
    StoreWriteError
        If the file cannot be written, is of another kind, or is held by a writable server.
    """
    with writing_index(path, INSTANCES) as h5:
        crcs = write_arrays(h5.create_group("inverted"), *content.inverted.arrays())
        header = {
            "local_features": LOCAL_FEATURES,
            "parameters": content.parameters,
            **list_columns(content.columns),
            "crc": crcs,
        }
        write_header(h5, header)


def read_instances(path: str | os.PathLike[str]) -> InstanceContent:
    """Read an index.

    Raises
    ------
    FileFormatError
        If the file is missing, foreign, of another version or damaged.
    """
    with opening_index(path, INSTANCES) as file:
        header = read_header(file, FIELDS, {})
        if header["local_features"] != LOCAL_FEATURES:
            raise file.damaged(f"its local features are {header['local_features']!r:.60}")
        parameters = header["parameters"]
        for name in COUNTS:
            value = parameters.get(name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
                raise file.damaged(f"its {name} is {value!r:.60}")
        inverted = _read_inverted(file, header["crc"])
        columns = read_columns(file, header, len(inverted.sizes_px))
        return InstanceContent(parameters, columns, inverted)


def _read_inverted(file: IndexFile, crcs: dict[str, int]) -> InvertedFile:
    arrays = file.read_arrays("inverted", crcs)
    for name, dtype in TYPES.items():
        if arrays[name].dtype != dtype:
            raise file.damaged(f"its array {name!r} is {arrays[name].dtype}")
    row_of, points, sizes = arrays["row_of"], arrays["points"], arrays["sizes_px"]
    if points.shape != (len(row_of), 2) or sizes.ndim != 2 or sizes.shape[1] != 2:
        raise file.damaged("its places do not fit its local features")
    if row_of.min(initial=0) < -1 or row_of.max(initial=-1) >= len(sizes):
        raise file.damaged("a local feature is of no image")
    if sizes.min(initial=1) < 1 or not np.isfinite(arrays["centroids"]).all():
        raise file.damaged("its sizes or centroids are no plausible numbers")
    codes = InOrder(file.plain("inverted/codes"))
    inverted = inverted_file_from_arrays(arrays, codes)
    if codes.crc != crcs["codes"]:
        raise file.damaged("its codes do not fit their checksum")
    return inverted
