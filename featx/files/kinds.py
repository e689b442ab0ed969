"""What kind of file of featx's a file is, by its content, whatever it is called."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

from featx.files.safetensors import is_safetensors, read_header

__all__ = ["FINDING_COLUMNS", "KIND_OF_FORMAT", "PREDICTION_COLUMNS", "kind_of"]

HEAD_BYTES = 65536
MAX_HEADER_BYTES = 16 * 2**20
ARRAYS = ("features", "paths", "labels")
# Of a table of predictions, in order; a new one is the last, so that older tables are known, too.
PREDICTION_COLUMNS = ("path", "label", "confidence", "unknown", "is_unknown", "labels")
FINDING_COLUMNS = ("path", "kind", "score", "given", "suggested", "also")
PARQUET = {b"featx_fingerprint": "parquet", b"featx_predictions": "predictions"}
# What a file's attribute "format" says, and what messages call such a file.
STORE, MODEL = "featx feature store", "featx-model"
KIND_OF_FORMAT = {
    STORE: "store",
    "featx retrieval index": "index",
    "featx instance index": "index",
    MODEL: "model",
}


def kind_of(path: Path) -> tuple[str, str]:
    """Return the kind of a file, "" for none of featx's, and words for it, by its content.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if not head:
            return "empty", "an empty file"
        if is_safetensors(head):
            kind, words = _weights_kind(file), "weights that featx did not make"
        elif found := next((found for found in KINDS if head.startswith(found[0])), None):
            kind, words = found[2](file, head) if found[2] else "", found[1]
        elif b"\0" in head:
            kind, words = "", "another kind of file"
        else:
            kind, words = _text_kind(file, head), "a text file that featx did not make"
    return kind, f"a file of featx ({kind})" if kind else words


def _hdf5_kind(file: IO[bytes], head: bytes) -> str:
    # a store that is being written is found by its first bytes, where HDF5 might not open it
    if STORE.encode() in head:
        return KIND_OF_FORMAT[STORE]
    import h5py

    with contextlib.suppress(Exception), h5py.File(file, "r") as h5:
        attribute = h5.attrs.get_id("format")
        if attribute.dtype.kind == "S":  # of fixed length: HDF5 reads it in damaged files, too
            return KIND_OF_FORMAT.get(h5.attrs["format"].decode("ascii", "replace"), "")
    return ""


def _zip_kind(file: IO[bytes], head: bytes) -> str:
    if head[30:].startswith(b"model.json") and f'"{MODEL}"'.encode() in head:
        return KIND_OF_FORMAT[MODEL]
    import zipfile

    try:
        with zipfile.ZipFile(file) as archive:
            return "npz" if {f"{name}.npy" for name in ARRAYS} <= {*archive.namelist()} else ""
    except (ValueError, NotImplementedError, zipfile.BadZipFile):
        return ""


def _npy_kind(file: IO[bytes], head: bytes) -> str:
    return "npy" if re.search(rb"'shape': \(\d+, \d+\)", head[:1000]) else ""


def _pickle_kind(file: IO[bytes], head: bytes) -> str:
    return KIND_OF_FORMAT[MODEL] if MODEL.encode() in head[:4096] else ""  # saved by joblib


def _page_kind(file: IO[bytes], head: bytes) -> str:
    if head.startswith(b'<?xml version="1.0"?>\n<net name="featx"'):
        return "openvino"
    start = head[:4096].lower()
    found = re.search(rb'name="generator" content="featx [^"]*?(, map)?"', start)
    if found is None or not start.startswith(b"<!doctype html"):
        return ""
    return "map" if found[1] else "page"


def _json_kind(file: IO[bytes], head: bytes) -> str:
    return "numbers" if b'"report_format"' in head[:4096] else ""


def _onnx_kind(file: IO[bytes], head: bytes) -> str:
    """Tell by who produced it: protobuf's second field, after a number of one byte."""
    return "onnx" if head[2:9] == b"\x12\x05featx" else ""


def _parquet_kind(file: IO[bytes], head: bytes) -> str:
    notes = _read_footer(file)
    kind = next((kind for note, kind in PARQUET.items() if note in notes), "")
    if kind or b"pandas" in notes:
        return kind
    # predictions of the first featx 0.1 have no note
    with contextlib.suppress(Exception):
        from pyarrow import parquet

        return "predictions" if _are_predictions(parquet.read_schema(file).names) else ""
    return ""


def _read_footer(file: IO[bytes]) -> bytes:
    """Return the end of a Parquet file, where its notes are; their length stands last."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - 8 - min(length, MAX_HEADER_BYTES)))
    return file.read()


def _weights_kind(file: IO[bytes]) -> str:
    creator = str(read_header(file).get("__metadata__", {}).get("creator", ""))
    return "weights" if creator.startswith("featx ") else ""


def _text_kind(file: IO[bytes], head: bytes) -> str:
    """Tell tables by the columns that featx gives them, all in their order.

    A table of features ends in ``feature_0``, ``feature_1``, ...; predictions are
    `PREDICTION_COLUMNS`, or ``path``, the attributes, a score of each, and the last of these;
    findings have the columns of `FINDING_COLUMNS`.
    """
    import csv

    file.seek(0)
    try:
        line = file.readline(MAX_HEADER_BYTES).decode("utf-8-sig")
        names = next(csv.reader([line]), [])
    except (ValueError, csv.Error):
        return ""
    if names[:1] != ["path"]:
        return ""
    if tuple(names) == FINDING_COLUMNS:
        return "findings"
    last = names[-1].removeprefix("feature_")
    n_features = int(last) + 1 if last.isdecimal() else 0
    if 0 < n_features < len(names):
        wanted = [f"feature_{i}" for i in range(n_features)]
        return "csv" if names[-n_features:] == wanted else ""
    return "predictions" if _are_predictions(names) else ""


def _are_predictions(names: list[str]) -> bool:
    """Tell predictions by their columns."""
    n = len(names)  # an older table has fewer columns
    if n >= 3 and names == list(PREDICTION_COLUMNS[:n]):
        return True
    for n_last in range(len(PREDICTION_COLUMNS) - 1):
        head, last = names[: n - n_last], names[n - n_last :]
        attributes = head[1 : (len(head) + 1) // 2]
        scores = [f"score.{name}" for name in attributes]
        is_ours = bool(attributes) and head == ["path", *attributes, *scores]
        if is_ours and last == list(PREDICTION_COLUMNS[2 : 2 + n_last]):
            return True
    return False


# How a file begins, words for it, and what tells whether it is one of featx's.
KINDS: tuple[tuple[bytes, str, Callable[[IO[bytes], bytes], str] | None], ...] = (
    (b"\x89HDF", "an HDF5 file", _hdf5_kind),
    (b"PK\x03\x04", "a zip file", _zip_kind),
    (b"\x93NUMPY", "a NumPy array", _npy_kind),
    (b"PAR1", "a Parquet file", _parquet_kind),
    *((start, "an image", None) for start in (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")),
    *((start, "an image", None) for start in (b"BM", b"II*\0", b"MM\0*")),
    (b"\x80", "a pickle", _pickle_kind),
    (b"<", "a page or graph that featx did not make", _page_kind),
    (b"{", "a JSON file", _json_kind),
    (b"\x08", "another kind of file", _onnx_kind),
)
