"""Revisited Oxford and Paris, with three protocols.

Radenovic et al., "Revisiting Oxford and Paris", CVPR 2018. The ground truth is published as a
pickle; it is read without running anything that it names, and the same content as JSON is taken in
its place.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from featx.evaluation import Relevance
from pipelines.datasets._files import SetFolder
from pipelines.datasets._pickle import read_plain_pickle
from pipelines.datasets.retrieval import RetrievalDataset

__all__ = ["read_roxford5k", "read_rparis6k"]

# Positives and junk of each protocol; what the file calls junk the paper calls unclear.
PROTOCOLS = {
    "easy": (("easy",), ("hard", "junk")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("easy", "junk")),
}
PARTS = ("easy", "hard", "junk")


def read_roxford5k(folder: SetFolder) -> RetrievalDataset:
    """Read Revisited Oxford: 70 queries in 4,993 images."""
    return _read(folder)


def read_rparis6k(folder: SetFolder) -> RetrievalDataset:
    """Read Revisited Paris: 70 queries in 6,322 images."""
    return _read(folder)


def _read(folder: SetFolder) -> RetrievalDataset:
    file = folder.file(f"gnd_{folder.name}.json", f"gnd_{folder.name}.pkl")
    truth = _truth(folder, file)
    images = folder.by_stem(folder.find("jpg") or folder.path)
    names = [*truth["imlist"], *truth["qimlist"]]
    lacking = [name for name in names if name not in images]
    if lacking:
        raise folder.error(
            f"{len(names) - len(lacking)} of {len(names)} images, without {lacking[0]!r}",
            f"every image of {file.name}",
        )
    return RetrievalDataset(
        folder.name,
        tuple(images[name] for name in truth["imlist"]),
        tuple(images[name] for name in truth["qimlist"]),
        np.array([entry["bbx"] for entry in truth["gnd"]], dtype=np.float64),
        {
            name: Relevance(_rows(truth, positives), _rows(truth, junk))
            for name, (positives, junk) in PROTOCOLS.items()
        },
    )


def _truth(folder: SetFolder, file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    try:
        truth = json.loads(data) if file.suffix == ".json" else read_plain_pickle(data)
    except (ValueError, RecursionError, pickle.UnpicklingError) as err:
        raise folder.error(f"{file.name} that cannot be read: {err}", "lists and numbers") from err
    problem = _problem(truth)
    if problem:
        raise folder.error(f"{problem} in {file.name}", "imlist, qimlist and gnd, one per query")
    return dict(truth)


def _problem(truth: Any) -> str:
    """Say what is wrong with a ground truth, "" where nothing is."""
    if not isinstance(truth, dict) or not {"imlist", "qimlist", "gnd"} <= truth.keys():
        return f"{list(truth)[:5] if isinstance(truth, dict) else type(truth).__name__}"
    if not all(_is_list_of(truth[key], str) for key in ("imlist", "qimlist")):
        return "something else than names"
    if not _is_list_of(truth["gnd"], dict) or len(truth["gnd"]) != len(truth["qimlist"]):
        return f"{len(truth['qimlist'])} queries with another number of entries"
    for i, entry in enumerate(truth["gnd"]):
        if not _is_list_of(entry.get("bbx"), int | float) or len(entry["bbx"]) != 4:
            return f"no box of query {i}"
        if not all(_is_list_of(entry.get(part), int) for part in PARTS):
            return f"no row numbers of query {i}"
    return ""


def _is_list_of(value: Any, kind: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, kind) for item in value)


def _rows(truth: dict[str, Any], parts: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(
        np.unique(np.array([row for part in parts for row in entry[part]], dtype=np.intp))
        for entry in truth["gnd"]
    )
