"""Sets of groups that show one thing: INRIA Holidays, UKBench, and folders of pairs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx.evaluation import Relevance, relevance_from_labels
from featx.images import ImageManifest
from pipelines.datasets._files import SetFolder
from pipelines.datasets.retrieval import RetrievalDataset

__all__ = ["read_holidays", "read_paired_folders", "read_ukbench"]

QUERY_FOLDERS = ("queries", "query")
REFERENCE_FOLDERS = ("reference", "references", "database")


def read_holidays(folder: SetFolder) -> RetrievalDataset:
    """Read INRIA Holidays: 500 queries in 1,491 images, each left out of its own ranking.

    Jegou et al., "Hamming embedding and weak geometric consistency", ECCV 2008. Image 1NNNXX is of
    group 1NNN, and its query where XX is 00. Some published figures are of a version turned
    upright by hand, and 1 to 5 points higher.
    """
    paths, numbers = _numbered(folder, folder.find("jpg") or folder.path, r"(\d{6})")
    groups, queries = numbers // 100, np.flatnonzero(numbers % 100 == 0)
    if not len(queries):
        raise folder.error("no image whose number ends in 00", "a query for each group")
    rows = [np.flatnonzero(groups == groups[query]) for query in queries]
    positives = tuple(r[r != query] for r, query in zip(rows, queries, strict=True))
    return RetrievalDataset(
        folder.name,
        paths,
        tuple(paths[query] for query in queries),
        None,
        {"default": Relevance(positives, tuple(queries[:, None]))},
    )


def read_ukbench(folder: SetFolder) -> RetrievalDataset:
    """Read UKBench: 10,200 images, four of each object, all of them queries that count.

    Nister and Stewenius, "Scalable recognition with a vocabulary tree", CVPR 2006.
    """
    paths, numbers = _numbered(folder, folder.find("full") or folder.path, r"ukbench(\d{5})")
    groups, sizes = np.unique(numbers // 4, return_counts=True)
    if (sizes != 4).any():
        short = int(np.flatnonzero(sizes != 4)[0])
        raise folder.error(
            f"{sizes[short]} images of object {groups[short]}",
            f"four, from ukbench{4 * groups[short]:05d}.jpg on",
        )
    relevance = relevance_from_labels(numbers // 4, numbers // 4)
    return RetrievalDataset(folder.name, paths, paths, None, {"default": relevance})


def read_paired_folders(folder: SetFolder) -> RetrievalDataset:
    """Read a folder of queries and one of references: equal names show one object.

    A name is the path in its folder, without the suffix.
    """
    query_folder = folder.folder(*QUERY_FOLDERS)
    reference_folder = folder.folder(*REFERENCE_FOLDERS)
    queries = ImageManifest.from_folder(query_folder).require_all().paths
    database = ImageManifest.from_folder(reference_folder).require_all().paths
    wanted, names = _names(query_folder, queries), _names(reference_folder, database)
    alone = sorted(set(wanted) - set(names))
    if alone:
        raise folder.error(f"no reference for the query {alone[0]!r}", "one of the same name")
    relevance = relevance_from_labels(wanted, names)
    return RetrievalDataset(folder.name, database, queries, None, {"default": relevance})


def _names(base: Path, paths: tuple[str, ...]) -> list[str]:
    """Return each path relative to its folder, without suffix."""
    return [Path(os.path.relpath(path, base)).with_suffix("").as_posix() for path in paths]


def _numbered(
    folder: SetFolder, base: Path, pattern: str
) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Return the images and the numbers that their names have, in the order of the numbers."""
    images = folder.by_stem(base)
    matches = {name: re.fullmatch(pattern, name) for name in images}
    wrong = next((name for name, match in matches.items() if match is None), None)
    if wrong is not None:
        raise folder.error(f"the image {images[wrong]!r}", f"names like {pattern} only")
    numbers = np.array([int(match[1]) for match in matches.values() if match], dtype=np.intp)
    return tuple(images.values()), numbers
