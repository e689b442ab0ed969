"""Scenes: MIT Indoor 67 and SUN397, whose splits come beside the images."""

from __future__ import annotations

from pipelines.datasets._checks import require_partition
from pipelines.datasets._files import SetFolder, as_label_array
from pipelines.datasets.images import ImageDataset

__all__ = ["read_mit67", "read_sun397"]


def read_mit67(folder: SetFolder) -> ImageDataset:
    """Read MIT Indoor 67: the 80 + 20 images per class of its lists, of some 15,620 that it has.

    Quattoni and Torralba, "Recognizing indoor scenes", CVPR 2009.
    """
    base = folder.folder("Images", "indoorCVPR_09/Images")
    names, split = [], []
    for part, file in (("train", "TrainImages.txt"), ("test", "TestImages.txt")):
        found = [line.lstrip("/") for _, line in folder.lines(folder.file(file))]
        names += found
        split += [part] * len(found)
    return ImageDataset(
        folder.name,
        "scenes",
        folder.images(base, names),
        labels=as_label_array(name.rpartition("/")[0] for name in names),
        split=as_label_array(split),
    )


def read_sun397(folder: SetFolder, *, partition: int = 1) -> ImageDataset:
    """Read one of the ten partitions of SUN397: 50 + 50 images per class.

    Xiao et al., "SUN database", CVPR 2010. A list has "/a/abbey/sun_aaa.jpg", the class is
    "abbey": the first letter only sorts the folders.
    """
    require_partition(folder.name, partition, 10)
    names, split = [], []
    for part, stem in (("train", "Training"), ("test", "Testing")):
        file = f"{stem}_{partition:02d}.txt"
        found = [line.lstrip("/") for _, line in folder.lines(folder.file(file))]
        short = next((name for name in found if name.count("/") < 2), None)
        if short is not None:
            raise folder.error(f"{short!r} in {file}", "LETTER/CLASS/IMAGE.jpg")
        names += found
        split += [part] * len(found)
    base = folder.find(names[0].split("/")[0])
    return ImageDataset(
        folder.name,
        "scenes",
        folder.images(base.parent if base else folder.path, names),
        labels=as_label_array(name.partition("/")[2].rpartition("/")[0] for name in names),
        split=as_label_array(split),
    )
