"""Caltech-UCSD Birds-200-2011: species, boxes, and 312 attributes of what a bird looks like.

Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001, Caltech, 2011.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import choose
from pipelines.datasets._files import SetFolder, as_label_array
from pipelines.datasets.images import ImageDataset

__all__ = ["read_cub200"]

NOT_VISIBLE = 1  # attributes/certainties.txt


def read_cub200(folder: SetFolder, *, task: str = "fine_grained") -> ImageDataset:
    """Read CUB-200-2011; with ``task="attributes"`` also its attributes, NaN where not visible."""
    choose(f"dataset {folder.name!r}: task", task, ("fine_grained", "attributes"))
    images = dict(folder.table(folder.file("images.txt"), int, str))
    ids = list(images)
    classes = dict(folder.table(folder.file("classes.txt"), int, str))
    labels = _column(folder, "image_class_labels.txt", ids, int)
    is_train = _column(folder, "train_test_split.txt", ids, int)
    boxes = np.array(_column(folder, "bounding_boxes.txt", ids, float, float, float, float))
    boxes[:, 2:] += boxes[:, :2]  # the file has left, top, width, height
    unknown = next((label for (label,) in labels if label not in classes), None)
    if unknown is not None:
        raise folder.error(f"class {unknown} in image_class_labels.txt", "those of classes.txt")
    values, names = _attributes(folder, ids) if task == "attributes" else (None, ())
    return ImageDataset(
        folder.name,
        task,
        folder.images(folder.folder("images"), images.values()),
        labels=as_label_array(classes[label] for (label,) in labels),
        attributes=values,
        attribute_names=names,
        split=as_label_array("train" if is_first else "test" for (is_first,) in is_train),
        boxes=boxes,
    )


def _column(
    folder: SetFolder, file: str, ids: list[int], *kinds: Callable[[str], Any]
) -> list[tuple[Any, ...]]:
    """Return what a list says of each image, in the order of images.txt."""
    rows = {key: rest for key, *rest in folder.table(folder.file(file), int, *kinds)}
    lacking = [key for key in ids if key not in rows]
    if lacking:
        raise folder.error(f"no image {lacking[0]} in {file}", "every image of images.txt")
    return [tuple(rows[key]) for key in ids]


def _attributes(folder: SetFolder, ids: list[int]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    # The archive has attributes.txt beside the folder that has everything else.
    file = folder.file("attributes/attributes.txt", "attributes.txt", "../attributes.txt")
    names = dict(folder.table(file, int, str))
    labels = folder.file("attributes/image_attribute_labels.txt")
    try:
        # 3.7 million lines, some with a field too many behind those that count.
        rows = np.loadtxt(labels, dtype=np.int64, usecols=(0, 1, 2, 3), ndmin=2)
    except ValueError as err:
        raise folder.error(
            f"{labels.name} that cannot be read ({err})",
            "lines of image, attribute, 0/1, certainty",
        ) from err
    row_of = {key: i for i, key in enumerate(ids)}
    column_of = {key: i for i, key in enumerate(names)}
    if (
        not {*rows[:, 0].tolist()} <= row_of.keys()
        or not {*rows[:, 1].tolist()} <= column_of.keys()
    ):
        raise folder.error(
            f"other numbers in {labels.name}", "those of images.txt, attributes.txt"
        )
    values = np.full((len(ids), len(names)), np.nan, dtype=np.float32)
    visible = rows[rows[:, 3] != NOT_VISIBLE]
    i = [row_of[key] for key in visible[:, 0].tolist()]
    j = [column_of[key] for key in visible[:, 1].tolist()]
    values[i, j] = visible[:, 2]
    return values, tuple(names.values())
