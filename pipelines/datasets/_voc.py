"""PASCAL VOC as a task of classification: is there an aeroplane, is there a bicycle, ...

Everingham et al., "The PASCAL Visual Object Classes (VOC) challenge", IJCV 2010. The lists have 1,
-1, and 0 for an image in which all objects of the class are marked difficult; those are left out
of that class's score, so they are NaN here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets._files import SetFolder, as_label_array
from pipelines.datasets.images import ImageDataset

__all__ = ["VOC_CLASSES", "read_voc2007", "read_voc2012"]

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
VALUES = {1: 1.0, -1: 0.0, 0: np.nan}


def read_voc2007(folder: SetFolder) -> ImageDataset:
    """Read VOC 2007: train, val and test, which come in two archives."""
    return _read(folder, ("train", "val", "test"))


def read_voc2012(folder: SetFolder) -> ImageDataset:
    """Read VOC 2012: train and val; the labels of its test images were never published."""
    return _read(folder, ("train", "val"))


def _read(folder: SetFolder, splits: tuple[str, ...]) -> ImageDataset:
    lists, base = folder.folder("ImageSets/Main"), folder.folder("JPEGImages")
    tables = [_read_split(folder, lists, split) for split in splits]
    names = [name for found, _ in tables for name in found]
    return ImageDataset(
        folder.name,
        "classification",
        folder.images(base, (f"{name}.jpg" for name in names)),
        attributes=np.concatenate([values for _, values in tables]),
        attribute_names=VOC_CLASSES,
        split=as_label_array(
            split for split, (found, _) in zip(splits, tables, strict=True) for _ in found
        ),
    )


def _read_split(
    folder: SetFolder, lists: Path, split: str
) -> tuple[list[str], NDArray[np.float32]]:
    names: list[str] = []
    columns = []
    for label in VOC_CLASSES:
        file = folder.file(f"ImageSets/Main/{label}_{split}.txt")
        rows = folder.table(file, str, int)
        found = [name for name, _ in rows]
        names = names or found
        if found != names:
            raise folder.error(
                f"other images in {file.name} than in {VOC_CLASSES[0]}_{split}.txt",
                f"the same in all lists of {lists}",
            )
        wrong = next((value for _, value in rows if value not in VALUES), None)
        if wrong is not None:
            raise folder.error(f"{wrong} in {file.name}", "1, 0 or -1")
        columns.append([VALUES[value] for _, value in rows])
    return names, np.array(columns, dtype=np.float32).T
