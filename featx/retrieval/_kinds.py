"""How an index searches: the kinds, and which of them `kind="auto"` takes and why."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

import numpy as np

from featx.errors import ParameterError, choose

__all__ = ["CODES", "KINDS", "Kind", "choose_kind"]

KINDS = ("auto", "exact", "hnsw", "ivf")
CODES = ("auto", "float32", "float16", "int8", "pq")
BYTES_PER_FEATURE = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "pq": 0.25}
# A query reads every vector once: at about 10 GB/s this takes a tenth of a second.
EXACT_BYTES = 2**30
PQ_ROWS = 256  # one for each value of a byte
FEATURES_PER_PART = 4  # of a product quantizer: one byte for so many


@dataclass(frozen=True)
class Kind:
    """How an index searches.

    Parameters
    ----------
    name : {"exact", "hnsw", "ivf"}
        "exact" compares a query with every row; "hnsw" walks a graph; "ivf" looks into the nearest
        lists of rows.
    codes : {"float32", "float16", "int8", "pq"}
        What an approximate kind holds of a vector: its values, or bytes for parts of it.
    reason : str
        Why, for people.
    n_lists : int, default 0
        Lists of "ivf".

    Examples
    --------
    >>> Kind("ivf", "int8", "asked for").describe()
    'ivf with int8 codes'
    """

    name: str
    codes: str
    reason: str
    n_lists: int = 0

    def describe(self) -> str:
        """Name the kind and its codes."""
        return self.name if self.name == "exact" else f"{self.name} with {self.codes} codes"

    def n_parts(self, n_features: int) -> int:
        """Return the parts of a product quantizer: a divisor of the width."""
        most = max(1, n_features // FEATURES_PER_PART)
        return next(m for m in range(most, 0, -1) if n_features % m == 0)


def choose_kind(
    kind: str, codes: str, n_samples: int, n_features: int, *, storage: str = "memory"
) -> Kind:
    """Choose the kind of an index.

    Parameters
    ----------
    kind : {"auto", "exact", "hnsw", "ivf"}
        "auto" is exact up to a GiB of float32, or where faiss is not installed; else "ivf".
    codes : {"auto", "float32", "float16", "int8", "pq"}
        "auto" takes the largest of float16, int8 and (for "ivf") pq that fits a quarter of the
        machine's memory.
    n_samples, n_features : int
        Of the database.
    storage : str, default "memory"
        "cuda" goes with an exact kind only.

    Returns
    -------
    Kind

    Raises
    ------
    ParameterError
        If there is no such kind or they do not go together.

    Examples
    --------
    >>> choose_kind("auto", "auto", 10_000, 1280).describe()
    'exact'
    """
    choose("kind", kind, KINDS)
    choose("codes", codes, CODES)
    if storage.startswith("cuda"):
        if kind not in ("auto", "exact"):
            raise ParameterError(
                f"kind: got {kind!r} with storage {storage!r}, expected 'exact': a GPU compares "
                "with every row"
            )
        return Kind("exact", "float32", f"compared with every row on {storage}")
    _check_codes(kind, codes, n_samples)
    reason = "asked for"
    if kind == "auto":
        kind, reason = _choose_auto(n_samples, n_features)
    if kind == "exact":
        return Kind("exact", "float32", reason)
    if codes == "auto":
        codes, why = _choose_codes(kind, n_samples, n_features)
        reason = f"{reason}; {why}"
    n_lists = max(1, min(2 ** round(np.log2(2 * np.sqrt(n_samples))), n_samples // 40))
    return Kind(kind, codes, reason, n_lists if kind == "ivf" else 0)


def _check_codes(kind: str, codes: str, n_samples: int) -> None:
    if kind == "exact" and codes != "auto":
        raise ParameterError(
            f"codes: got {codes!r} for kind 'exact', expected 'auto': it holds the vectors only; "
            "dtype says in which type"
        )
    if kind == "hnsw" and codes == "pq":
        raise ParameterError("codes: got 'pq' for kind 'hnsw', expected float32, float16 or int8")
    if codes == "pq" and n_samples < PQ_ROWS:
        raise ParameterError(
            f"codes: got 'pq' for {n_samples} images, expected at least {PQ_ROWS}, of which the "
            "256 centroids of each part are made; take 'auto' or 'int8', or kind 'exact'"
        )


def _choose_auto(n_samples: int, n_features: int) -> tuple[str, str]:
    gib = 4 * n_samples * n_features / 2**30
    size = f"{n_samples} x {n_features} float32 are {gib:.2g} GiB"
    if gib * 2**30 <= EXACT_BYTES:
        return "exact", f"{size}, little enough to compare all"
    if importlib.util.find_spec("faiss") is None:
        return "exact", (
            f"{size}, much for each query to read, but faiss is not installed; "
            "pip install 'featx[ann]'"
        )
    return "ivf", f"{size}, too much for each query to read"


def _choose_codes(kind: str, n_samples: int, n_features: int) -> tuple[str, str]:
    quarter = _memory_bytes() / 4
    has_pq = kind == "ivf" and n_samples >= PQ_ROWS
    possible = ("float16", "int8", "pq") if has_pq else ("float16", "int8")
    for codes in possible:
        if n_samples * n_features * BYTES_PER_FEATURE[codes] <= quarter:
            return codes, f"{codes} codes fit a quarter of the memory"
    return possible[-1], f"{possible[-1]} codes are the smallest"


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no such question on Windows
        return 8 * 2**30
