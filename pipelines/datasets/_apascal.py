"""aPascal and aYahoo: objects with 64 attributes, each in a box of a photograph.

Farhadi et al., "Describing objects by their attributes", CVPR 2009, also called UIUC-64. A row is
an object, so an image may occur several times.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featx.errors import choose
from pipelines.datasets._files import SetFolder, as_label_array
from pipelines.datasets.images import ImageDataset

__all__ = ["read_apascal"]

VOC_FOLDERS = ("JPEGImages", "VOC2008/JPEGImages", "VOCdevkit/VOC2008/JPEGImages")
# List, split, and where the archives unpack the images to.
LISTS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "within": (("apascal_train", "train", VOC_FOLDERS), ("apascal_test", "test", VOC_FOLDERS)),
    "across": (
        ("apascal_train", "train", VOC_FOLDERS),
        ("ayahoo_test", "test", ("ayahoo_test_images",)),
    ),
}
LISTS["all"] = (*LISTS["within"], LISTS["across"][1])


def read_apascal(folder: SetFolder, *, test: str = "within") -> ImageDataset:
    """Read the objects; train is aPascal's, as in the paper.

    `test` is "within" (aPascal, the 20 classes of training), "across" (aYahoo, 12 other classes)
    or "all".
    """
    choose(f"dataset {folder.name!r}: test", test, LISTS)
    names = _attribute_names(folder)
    paths: list[str] = []
    rows: list[list[str]] = []
    split: list[str] = []
    for stem, part, image_folders in LISTS[test]:
        found = _objects(folder, folder.file(f"attribute_data/{stem}.txt", f"{stem}.txt"), names)
        paths += folder.images(folder.folder(*image_folders), [row[0] for row in found])
        rows += found
        split += [part] * len(found)
    numbers = np.array([row[2:] for row in rows], dtype=np.float64)
    boxes = numbers[:, :4]
    # PASCAL counts pixels from 1, the last included.
    boxes[:, :2] = np.maximum(boxes[:, :2] - 1, 0)
    # One object of aYahoo is marked by a box without an area; it keeps a pixel.
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return ImageDataset(
        folder.name,
        "attributes",
        tuple(paths),
        labels=as_label_array(row[1] for row in rows),
        attributes=numbers[:, 4:].astype(np.float32),
        attribute_names=names,
        split=as_label_array(split),
        boxes=boxes,
    )


def _attribute_names(folder: SetFolder) -> tuple[str, ...]:
    file = folder.file("attribute_data/attribute_names.txt", "attribute_names.txt")
    return tuple(line for _, line in folder.lines(file))


def _objects(folder: SetFolder, file: Path, names: tuple[str, ...]) -> list[list[str]]:
    """Return image, class, four corners and the attributes of each object, as text."""
    rows = []
    for i, line in folder.lines(file):
        row = line.split()
        if (
            len(row) != 6 + len(names)
            or not {*row[6:]} <= {"0", "1"}
            or not _are_numbers(row[2:6])
        ):
            raise folder.error(
                f"{line!r:.80} in line {i} of {file.name}",
                f"image, class, xmin, ymin, xmax, ymax and {len(names)} times 0 or 1",
            )
        rows.append(row)
    return rows


def _are_numbers(texts: list[str]) -> bool:
    return all(text.lstrip("-").replace(".", "", 1).isdecimal() for text in texts)
