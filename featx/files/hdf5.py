"""HDF5 files that say what they are, and whose content lies in them.

Links to other files, external storage and virtual datasets let a stranger's file read any file of
the machine, or wait for ever at a named pipe. featx writes none of them, and refuses such a file
before HDF5 goes there.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from featx.errors import FileFormatError
from featx.files.formats import FileFormat, Name

__all__ = ["LIBVER", "require_format", "write_format"]

# HDF5 1.10's structures: all its metadata blocks have checksums. Its flag "open for writing" is
# only ever in memory: HDF5 has closed a file before it takes its place, or is committed.
LIBVER = ("v110", "v110")

# Numbers that HDF5 has itself; others are plugins, which HDF5 would look for on this machine.
BUILT_IN_FILTERS = range(1, 7)
DO_NOT_SHRINK = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
MAX_RATIO = 1100  # deflate's is 1032


def write_format(h5: h5py.File, kind: FileFormat) -> None:
    """Write down what a file is."""
    h5.attrs["format"] = np.bytes_(kind.name)
    h5.attrs["format_version"] = kind.versions[-1]


def require_format(h5: h5py.File, kind: FileFormat, path: Name) -> None:
    """Refuse a file of another kind or version, and one whose content lies elsewhere.

    Raises
    ------
    FileFormatError
    """
    with kind.reading(path):
        name, version = h5.attrs.get("format"), h5.attrs.get("format_version")
        name = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        kind.require(path, name, version)
        _require_own_content(h5, kind.describe(path))


def _require_own_content(h5: h5py.File, subject: str) -> None:
    """Check that everything in a file lies in it, and could be as large as the file says.

    Parameters
    ----------
    h5 : h5py.File
        Open for reading.
    subject : str
        What the message begins with, such as ``"index 'photos'"``.

    Raises
    ------
    FileFormatError
        With the name of the link or dataset that is not allowed.
    """
    n_bytes = h5.id.get_filesize()

    def problem(name: bytes, info: Any) -> str | None:
        is_link = info.type != h5py.h5l.TYPE_HARD
        try:
            what = "a link to another place" if is_link else _problem_of(h5.id, name, n_bytes)
        except Exception:  # noqa: BLE001 - of a damaged one: it leads nowhere
            return None
        return what and f"{name.decode('utf-8', 'backslashreplace')!r:.100} is {what}"

    found = h5.id.links.visit(problem, info=True)
    if found is not None:
        raise FileFormatError(
            f"{subject}: {found}, expected plain datasets, which is all that featx writes; "
            "somebody changed the file: get it from its source again, or make it again"
        )


def _problem_of(parent: Any, name: bytes, n_bytes: int) -> str | None:
    """Return what is wrong with an object, without reading its content."""
    if h5py.h5o.get_info(parent, name).type != h5py.h5o.TYPE_DATASET:
        return None
    dataset = h5py.h5d.open(parent, name)
    made = dataset.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count():
        return "a dataset whose content lies in another file"
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    foreign = [number for number in filters if number not in BUILT_IN_FILTERS]
    if foreign:
        return f"packed by filter {foreign[0]}, which HDF5 does not have itself"
    ratio = 1 if all(number in DO_NOT_SHRINK for number in filters) else MAX_RATIO
    size = dataset.get_space().get_simple_extent_npoints() * dataset.get_type().get_size()
    if size > ratio * n_bytes:
        return f"a dataset of {size} bytes in a file of {n_bytes}"
    return None
