"""H3D's attributes of people: nine, each person in a box of a photograph.

Bourdev, Maji and Malik, "Describing people: a poselet-based approach to attribute classification",
ICCV 2011; published as "attributes_dataset.tgz", with people of H3D and of PASCAL VOC. A line of
train/labels.txt or test/labels.txt is a person: file, left, top, width, height, then nine times 1
for yes, -1 for no, 0 for not known. A few people have NaN for a box: nobody can cut them out, and
they are left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets._files import SetFolder, as_label_array
from pipelines.datasets.images import ImageDataset

__all__ = ["H3D_ATTRIBUTES", "read_h3d"]

H3D_ATTRIBUTES = (
    "is_male", "has_long_hair", "has_glasses", "has_hat", "has_t-shirt", "has_long_sleeves",
    "has_shorts", "has_jeans", "has_long_pants",
)  # fmt: skip
SPLITS = ("train", "test")
VALUES = {1: 1.0, -1: 0.0, 0: np.nan}
N_CORNERS = 4


def read_h3d(folder: SetFolder) -> ImageDataset:
    """Read the people of train and test; the paper enlarges their boxes to 150 %."""
    paths: list[str] = []
    parts, split = [], []
    for name in SPLITS:
        files, numbers = _read_people(folder, name)
        boxed = np.flatnonzero(np.isfinite(numbers[:, :N_CORNERS]).all(axis=1))
        paths += folder.images(folder.folder(name), [files[i] for i in boxed])
        parts.append(numbers[boxed])
        split += [name] * len(boxed)
    table = np.concatenate(parts)
    boxes = table[:, :N_CORNERS].copy()
    boxes[:, :2] = np.maximum(boxes[:, :2] - 1, 0)  # MATLAB counts pixels from 1
    boxes[:, 2:] += boxes[:, :2]
    return ImageDataset(
        folder.name,
        "attributes",
        tuple(paths),
        attributes=table[:, N_CORNERS:].astype(np.float32),
        attribute_names=H3D_ATTRIBUTES,
        split=as_label_array(split),
        boxes=boxes,
    )


def _read_people(folder: SetFolder, part: str) -> tuple[list[str], NDArray[np.float64]]:
    """Return the files, and box and attributes of each person, (n, 13)."""
    n = N_CORNERS + len(H3D_ATTRIBUTES)
    file = folder.file(f"{part}/labels.txt")
    files, rows = [], []
    for i, line in folder.lines(file):
        name, *texts = line.split()
        try:
            numbers = [float(text) for text in texts]
            values = [VALUES[int(number)] for number in numbers[N_CORNERS:]]
        except (ValueError, KeyError):
            values = []
        if len(texts) != n or len(values) != len(H3D_ATTRIBUTES):
            raise folder.error(
                f"{line!r:.80} in line {i} of {part}/{file.name}",
                f"file, left, top, width, height and {len(H3D_ATTRIBUTES)} times 1, -1 or 0",
            )
        files.append(name)
        rows.append([*numbers[:N_CORNERS], *values])
    return files, np.array(rows, dtype=np.float64)
