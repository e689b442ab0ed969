"""CelebA: faces with 40 attributes.

Liu et al., "Deep learning face attributes in the wild", ICCV 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets._files import SetFolder, as_label_array
from pipelines.datasets.images import ImageDataset

__all__ = ["read_celeba"]

SPLITS = {0: "train", 1: "val", 2: "test"}
IMAGE_FOLDERS = ("img_align_celeba", "Img/img_align_celeba", "images")


def read_celeba(folder: SetFolder) -> ImageDataset:
    """Read CelebA; without list_eval_partition.txt there is no split."""
    names, attribute_names, values = _read_attributes(
        folder, folder.file("list_attr_celeba.txt", "Anno/list_attr_celeba.txt")
    )
    partition = folder.find("list_eval_partition.txt", "Eval/list_eval_partition.txt")
    return ImageDataset(
        folder.name,
        "attributes",
        folder.images(folder.folder(*IMAGE_FOLDERS), names),
        attributes=values,
        attribute_names=attribute_names,
        split=as_label_array(
            _read_split(folder, partition, names) if partition else [""] * len(names)
        ),
    )


def _read_attributes(
    folder: SetFolder, file: Path
) -> tuple[list[str], tuple[str, ...], NDArray[np.float32]]:
    """Read a line with the number of images, one with the names, and one of -1 and 1 per image."""
    lines = folder.lines(file)
    n_images = lines[0][1]
    if n_images != str(len(lines) - 2):
        raise folder.error(
            f"{len(lines) - 2} images in {file.name}, whose first line says {n_images!r}",
            "as many as that; it may be cut off",
        )
    attribute_names = tuple(lines[1][1].split())
    names, rows = [], []
    for i, line in lines[2:]:
        name, *values = line.split()
        if len(values) != len(attribute_names) or not {*values} <= {"1", "-1"}:
            raise folder.error(
                f"{line!r:.80} in line {i} of {file.name}",
                f"a name and {len(attribute_names)} times 1 or -1",
            )
        names.append(name)
        rows.append([value == "1" for value in values])
    return names, attribute_names, np.array(rows, dtype=np.float32)


def _read_split(folder: SetFolder, file: Path, names: list[str]) -> list[str]:
    split_of = dict(folder.table(file, str, int))
    wrong = next((name for name in names if split_of.get(name) not in SPLITS), None)
    if wrong is not None:
        raise folder.error(
            f"{split_of.get(wrong)} for {wrong!r} in {file.name}", "0, 1 or 2 for each image"
        )
    return [SPLITS[split_of[name]] for name in names]
