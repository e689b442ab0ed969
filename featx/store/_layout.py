"""How a store lies in HDF5: names, types, text and checksums; datasets made and grown.

Text is variable-length UTF-8, where a file name may hold any byte but NUL. HDF5 guards numbers
with a checksum of its own (Fletcher-32 for each chunk) but not text, which `row_crc` covers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from zlib_ng.zlib_ng import (
    crc32,  # zlib's numbers by the processor's instructions, 4 times as fast
)

from featx.errors import ParameterError
from featx.recipe import Recipe

__all__ = [
    "FAILURES",
    "FEATURES",
    "OUTSIDE",
    "TEXT",
    "Layout",
    "column_name",
    "crc32",
    "create_columns",
    "create_table",
    "dataset_name",
    "datasets",
    "decode",
    "digest_text",
    "encode",
    "encode_all",
    "feature_crcs",
    "grow",
    "metadata_names",
    "read_attribute",
    "recipe_json",
    "require_dataset",
    "table_key",
    "text_array",
    "write_attribute",
    "write_rows",
]

TEXT = h5py.string_dtype("utf-8")


@dataclass(frozen=True)
class Layout:
    """The columns of a table, by the names of their datasets.

    Parameters
    ----------
    texts : tuple of str
        Those of text.
    numbers : dict of str to (str, tuple of int)
        Types and shapes of the others; row_crc is taken over them in this order and in these
        little-endian types.
    """

    texts: tuple[str, ...]
    numbers: dict[str, tuple[str, tuple[int, ...]]]

    @property
    def dtype(self) -> np.dtype[Any]:
        """A row's numbers side by side."""
        return np.dtype([(name, kind, shape) for name, (kind, shape) in self.numbers.items()])


_FILE = {"digest": ("u1", (32,)), "size_bytes": ("<i8", ()), "mtime_ns": ("<i8", ())}
FEATURES = Layout(("path", "label"), {**_FILE, "features_crc": ("<u4", ())})
FAILURES = Layout(("path", "reason"), {**_FILE})
# The key of the table whose features were made outside featx, so that it has no recipe.
OUTSIDE = "outside"
# An append rewrites each column's last chunk, and a small table is one chunk: 256 KiB reads as
# fast as 1 MiB and halves the time of small commits (docs/decisions/store-crash-safety.md).
CHUNK_BYTES = 256 * 1024
CHUNK_ROWS = 1024


def table_key(recipe: Recipe | None) -> str:
    """Return the name of a recipe's group below /tables."""
    return OUTSIDE if recipe is None else recipe.fingerprint


def recipe_json(recipe: Recipe | None) -> str:
    """Return the canonical JSON of a recipe, "null" for none."""
    fields = None if recipe is None else recipe.to_dict()
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


# -- datasets ------------------------------------------------------------------------------------


def create_table(tables: Any, key: str, recipe: Recipe | None, width: int, dtype: str) -> Any:
    """Make the group and its empty datasets."""
    group = tables.create_group(key)
    write_attribute(group, "recipe", recipe_json(recipe))
    rows = min(max(CHUNK_BYTES // (width * np.dtype(dtype).itemsize), 1), CHUNK_ROWS)
    _create(group, "features", np.dtype(dtype).newbyteorder("<"), (width,), rows)
    create_columns(group, FEATURES)
    group.create_group("metadata")
    return group


def create_columns(group: Any, layout: Layout) -> None:
    """Make empty columns, and the one of their checksums."""
    _create(group, "row_crc", "<u4", ())
    for name in layout.texts:
        _create(group, name, TEXT, ())
    for name, (kind, shape) in layout.numbers.items():
        _create(group, name, kind, shape)


def metadata_names(group: Any) -> list[str]:
    """Return the names of a table's further columns, as the datasets are called in its group."""
    return [f"metadata/{name}" for name in group.get("metadata", ())]


def datasets(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield all that has a row for each image, by its name in the group."""
    names = ("features", "row_crc", *FEATURES.texts, *FEATURES.numbers, *metadata_names(group))
    yield from ((name, group[name]) for name in names)


def require_dataset(group: Any, name: str) -> Any:
    """Return a column; a new one of metadata is empty in all rows so far, at no cost on disk."""
    if name.startswith("metadata/") and name not in group:
        _create(group, name, TEXT, ()).resize(group["features"].shape[0], axis=0)
    return group[name]


def grow(dataset: Any, values: Any) -> None:
    """Append to one dataset."""
    start = dataset.shape[0]
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


def write_rows(dataset: Any, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Replace rows in place; `rows` rise. A run of neighbours is one write."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for run, part in zip(np.split(rows, breaks), np.split(values, breaks), strict=True):
        if len(run):
            dataset[int(run[0]) : int(run[-1]) + 1] = part


def _create(
    group: Any, name: str, dtype: Any, shape: tuple[int, ...], chunk_rows: int = CHUNK_ROWS
) -> Any:
    return group.create_dataset(
        name,
        shape=(0, *shape),
        maxshape=(None, *shape),
        chunks=(chunk_rows, *shape),
        dtype=dtype,
        fletcher32=dtype is not TEXT,  # HDF5 refuses filters on text; row_crc covers it
    )


# -- values --------------------------------------------------------------------------------------


def feature_crcs(features: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the CRC-32 of each row's bytes, (n,)."""
    rows = np.ascontiguousarray(features).view(np.uint8)
    return np.fromiter(map(crc32, rows), np.uint32, len(rows))


def digest_text(digests: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Return (n, 32) bytes as n texts of 64 hexadecimal digits; zeros are "" (not known)."""
    flat = np.frombuffer(digests.tobytes().hex().encode(), "S64").astype("U64")
    flat[~digests.any(axis=1)] = ""
    return flat


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


def encode_all(texts: Sequence[str], what: str) -> NDArray[np.object_]:
    """Return UTF-8 of each, as `encode`; messages add the number of the text to `what`."""
    try:
        raw = [str.encode(text, "utf-8", "surrogateescape") for text in texts]
    except TypeError:
        raw = [b"\0"]
    if b"\0" in b"".join(raw):
        raw = [encode(text, f"{what} {i}") for i, text in enumerate(texts)]
    array = np.empty(len(raw), object)
    array[:] = raw
    return array


def decode(raw: bytes) -> str:
    """Undo `encode`."""
    return raw.decode("utf-8", "surrogateescape")


def text_array(raw: NDArray[np.object_]) -> NDArray[np.str_]:
    """Decode many into a NumPy array of str."""
    return np.array([decode(value) for value in raw.tolist()], dtype=np.str_)


def dataset_name(column: str) -> str:
    """Return the HDF5 name of a metadata column: "/" separates groups there, so it is escaped.

    Examples
    --------
    >>> dataset_name("width/height")
    'metadata/width%2Fheight'
    >>> column_name(dataset_name("50% off/.")) == "50% off/."
    True
    """
    name = column.replace("%", "%25").replace("/", "%2F")
    return f"metadata/{'%2E' if name == '.' else name}"


def column_name(dataset: str) -> str:
    """Undo `dataset_name`."""
    name = dataset.removeprefix("metadata/")
    return name.replace("%2E", ".").replace("%2F", "/").replace("%25", "%")


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
