"""The two sets of Oxford flowers. Neither has names of its classes: a label is the class's number.

Nilsback and Zisserman, "A visual vocabulary for flower classification", CVPR 2006, and "Automated
flower classification over a large number of classes", ICVGIP 2008.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets._checks import require_partition
from pipelines.datasets._files import SetFolder
from pipelines.datasets.images import ImageDataset

__all__ = ["read_flowers17", "read_flowers102"]

Numbers = NDArray[np.intp]
N_CLASSES, N_IMAGES_PER_CLASS = 17, 80


def read_flowers17(folder: SetFolder, *, partition: int = 1) -> ImageDataset:
    """Read 17 Flowers with one of its three partitions: 40 + 20 + 20 of 80 images per class."""
    require_partition(folder.name, partition, 3)
    keys = [f"{part}{partition}" for part in ("trn", "val", "tst")]
    parts = folder.matrices(folder.file("datasplits.mat"), *keys)
    # The images are numbered class by class.
    labels = np.repeat(np.arange(1, N_CLASSES + 1), N_IMAGES_PER_CLASS)
    return _read(folder, parts, labels, "image_{:04d}.jpg")


def read_flowers102(folder: SetFolder) -> ImageDataset:
    """Read 102 Flowers with the split that is published: 1,020 train, 1,020 val, 6,149 test.

    Some papers train on what setid.mat calls the test images; ``rows("test")`` is their training
    set.
    """
    parts = folder.matrices(folder.file("setid.mat"), "trnid", "valid", "tstid")
    (labels,) = folder.matrices(folder.file("imagelabels.mat"), "labels")
    return _read(folder, parts, labels, "image_{:05d}.jpg")


def _read(folder: SetFolder, parts: list[Numbers], labels: Numbers, pattern: str) -> ImageDataset:
    """Take the images of a split in the order of their numbers; image 1 has the first label."""
    numbers = np.concatenate(parts)
    wrong = numbers[(numbers < 1) | (numbers > len(labels))]
    if len(wrong):
        raise folder.error(f"image {wrong[0]} in its split", f"1 to {len(labels)}")
    split = np.repeat(["train", "val", "test"], [len(part) for part in parts])
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    return ImageDataset(
        folder.name,
        "fine_grained",
        folder.images(folder.folder("jpg"), map(pattern.format, numbers.tolist())),
        labels=labels[numbers - 1].astype(np.str_),
        split=split[order],
    )
