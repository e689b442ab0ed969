"""Oxford5k, Paris6k and Sculptures6k: with the original lists of what is right.

Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007,
and "Lost in quantization", CVPR 2008; Arandjelovic and Zisserman, "Smooth object retrieval using a
bag of boundaries", ICCV 2011. Positives are good and ok. A query's own image stays in the database
and counts as the lists have it, as in the published program.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx.errors import choose
from featx.evaluation import Relevance
from pipelines.datasets._files import SetFolder
from pipelines.datasets.retrieval import RetrievalDataset

__all__ = ["read_oxford5k", "read_paris6k", "read_sculptures6k"]

SUFFIX = "_query.txt"
# What Oxford's query files put before each name.
PREFIX = "oxc1_"
# robots.ox.ac.uk/~vgg/data/parisbuildings/corrupt.txt: not images but pages of an error.
BROKEN = {
    f"paris_{name}"
    for name in (
        "louvre_000136", "louvre_000146", "moulinrouge_000422", "museedorsay_001059",
        "notredame_000188", "pantheon_000284", "pantheon_000960", "pantheon_000974",
        "pompidou_000195", "pompidou_000196", "pompidou_000201", "pompidou_000467",
        "pompidou_000640", "sacrecoeur_000299", "sacrecoeur_000330", "sacrecoeur_000353",
        "triomphe_000662", "triomphe_000833", "triomphe_000863", "triomphe_000867",
    )
}  # fmt: skip


def read_oxford5k(folder: SetFolder) -> RetrievalDataset:
    """Read Oxford5k: 55 queries in 5,063 images."""
    return _read(folder, folder.by_stem(folder.path))


def read_paris6k(folder: SetFolder) -> RetrievalDataset:
    """Read Paris6k: 55 queries in 6,392 images; the 20 that are broken are left out."""
    images = folder.by_stem(folder.path)
    return _read(folder, {name: path for name, path in images.items() if name not in BROKEN})


def read_sculptures6k(folder: SetFolder, *, part: str = "test") -> RetrievalDataset:
    """Read a half of Sculptures6k: 70 queries in the 3,170 images of test/ (or train/).

    Whitening may be learned on the other half. The set's lists are taken to be those of Oxford5k's
    layout; they have not been seen here, so an error of this reader may be the reader's.
    """
    choose(f"dataset {folder.name!r}: part", part, ("test", "train"))
    images = folder.by_stem(folder.folder(part))
    return _read(folder, images)


def _read(folder: SetFolder, images: Mapping[str, str]) -> RetrievalDataset:
    row_of = {name: row for row, name in enumerate(images)}
    queries, boxes, positives, junk = [], [], [], []
    for file in _query_files(folder):
        name, *box = folder.table(file, str, float, float, float, float)[0]
        name = name.removeprefix(PREFIX)
        if name not in images:
            raise folder.error(
                f"no image {name!r}, which {file.name} names", "every query's image"
            )
        queries.append(images[name])
        boxes.append(box)
        good, ok, bad = (_rows(folder, file, part, row_of) for part in ("good", "ok", "junk"))
        positives.append(np.union1d(good, ok))
        junk.append(bad)
    return RetrievalDataset(
        folder.name,
        tuple(images.values()),
        tuple(queries),
        np.array(boxes),
        {"default": Relevance(tuple(positives), tuple(junk))},
    )


def _query_files(folder: SetFolder) -> list[Path]:
    found = sorted(folder.path.rglob(f"*{SUFFIX}"))
    if not found:
        raise folder.error(f"no file *{SUFFIX} at any depth", "those of the ground truth")
    return found


def _rows(folder: SetFolder, query: Path, part: str, row_of: dict[str, int]) -> NDArray[np.intp]:
    """Return the database rows of a list; an empty file is an empty list."""
    file = query.with_name(f"{query.name.removesuffix(SUFFIX)}_{part}.txt")
    if not file.is_file():
        raise folder.error(f"{query.name} without {file.name}", "three lists beside each query")
    names = [name for name in file.read_text(encoding="utf-8").split() if name not in BROKEN]
    lacking = [name for name in names if name not in row_of]
    if lacking:
        raise folder.error(
            f"{len(row_of)} images, without {lacking[0]!r} of {file.name}",
            "every image of its lists",
        )
    return np.unique(np.array([row_of[name] for name in names], dtype=np.intp))
