"""The sets that can be read by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.errors import ManifestError, choose, nearest
from pipelines.datasets._apascal import read_apascal
from pipelines.datasets._birds import read_cub200
from pipelines.datasets._faces import read_celeba
from pipelines.datasets._files import SetFolder
from pipelines.datasets._flowers import read_flowers17, read_flowers102
from pipelines.datasets._folders import (
    read_caltech101,
    read_caltech256,
    read_image_folder,
    read_scene15,
)
from pipelines.datasets._groups import read_holidays, read_paired_folders, read_ukbench
from pipelines.datasets._landmarks import read_oxford5k, read_paris6k, read_sculptures6k
from pipelines.datasets._people import read_h3d
from pipelines.datasets._pets import read_oxford_pets
from pipelines.datasets._revisited import read_roxford5k, read_rparis6k
from pipelines.datasets._scenes import read_mit67, read_sun397
from pipelines.datasets._voc import read_voc2007, read_voc2012
from pipelines.datasets.images import ImageDataset
from pipelines.datasets.retrieval import RetrievalDataset

__all__ = ["DatasetCard", "list_datasets", "read_dataset"]


@dataclass(frozen=True)
class DatasetCard:
    """What is known of a set before it is read.

    Parameters
    ----------
    name : str
        As `read_dataset` takes it.
    task : str
        "classification", "scenes", "fine_grained", "attributes" or "retrieval".
    layout : str
        What is expected in its folder.
    source : str
        Where it is published.
    options : tuple of str
        Options of its reader with their defaults, for example "partition=1".
    """

    name: str
    task: str
    layout: str
    source: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        options = f" [{', '.join(self.options)}]" if self.options else ""
        return f"{self.name} ({self.task}): {self.layout}{options}"


@dataclass(frozen=True)
class _Reader:
    """A function that reads a set, and where its archives may put the files."""

    read: Callable[..., ImageDataset | RetrievalDataset]
    task: str
    layout: str
    source: str
    inner: tuple[str, ...] = ()

    def defaults(self) -> dict[str, Any]:
        parameters = list(inspect.signature(self.read).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}


VGG = "robots.ox.ac.uk/~vgg/data"
READERS = {
    "image_folder": _Reader(
        read_image_folder,
        "classification",
        "CLASS/*.jpg, or train/CLASS/*.jpg and test/ (and val/)",
        "its author",
    ),
    "caltech101": _Reader(
        read_caltech101,
        "classification",
        "CLASS/image_0001.jpg, or 101_ObjectCategories/",
        "data.caltech.edu/records/mzrjq-6wc02",
        ("caltech-101",),
    ),
    "caltech256": _Reader(
        read_caltech256,
        "classification",
        "001.ak47/001_0001.jpg, or 256_ObjectCategories/",
        "data.caltech.edu/records/nyy15-4j048",
        ("caltech-256",),
    ),
    "voc2007": _Reader(
        read_voc2007,
        "classification",
        "JPEGImages/, ImageSets/Main/CLASS_train.txt, _val.txt, _test.txt",
        "host.robots.ox.ac.uk/pascal/VOC/voc2007 (VOCtrainval and VOCtest)",
        ("VOC2007", "VOCdevkit/VOC2007"),
    ),
    "voc2012": _Reader(
        read_voc2012,
        "classification",
        "JPEGImages/, ImageSets/Main/CLASS_train.txt, _val.txt",
        "host.robots.ox.ac.uk/pascal/VOC/voc2012",
        ("VOC2012", "VOCdevkit/VOC2012"),
    ),
    "mit67": _Reader(
        read_mit67,
        "scenes",
        "Images/CLASS/*.jpg, TrainImages.txt, TestImages.txt",
        "web.mit.edu/torralba/www/indoor.html",
    ),
    "sun397": _Reader(
        read_sun397,
        "scenes",
        "a/abbey/sun_*.jpg, or SUN397/; Training_01.txt, Testing_01.txt ... _10.txt",
        "vision.princeton.edu/projects/2010/SUN",
        ("SUN397", "Partitions", "SUN397/Partitions"),
    ),
    "scene15": _Reader(
        read_scene15,
        "scenes",
        "CLASS/*.jpg, or train/CLASS/*.jpg and test/",
        "figshare.com/articles/dataset/15-Scene_Image_Dataset/7007177",
    ),
    "cub200": _Reader(
        read_cub200,
        "fine_grained",
        "images/, images.txt, classes.txt, image_class_labels.txt, train_test_split.txt, "
        "bounding_boxes.txt; for attributes attributes/image_attribute_labels.txt, attributes.txt",
        "data.caltech.edu/records/65de6-vp158",
        ("CUB_200_2011",),
    ),
    "flowers17": _Reader(
        read_flowers17, "fine_grained", "jpg/image_0001.jpg, datasplits.mat", f"{VGG}/flowers/17"
    ),
    "flowers102": _Reader(
        read_flowers102,
        "fine_grained",
        "jpg/image_00001.jpg, imagelabels.mat, setid.mat",
        f"{VGG}/flowers/102",
        ("flowers-102",),
    ),
    "oxford_pets": _Reader(
        read_oxford_pets,
        "fine_grained",
        "images/BREED_1.jpg, annotations/trainval.txt, annotations/test.txt",
        f"{VGG}/pets",
        ("oxford-iiit-pet",),
    ),
    "celeba": _Reader(
        read_celeba,
        "attributes",
        "img_align_celeba/ or images/, list_attr_celeba.txt, list_eval_partition.txt (optional)",
        "mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        ("celeba",),
    ),
    "apascal": _Reader(
        read_apascal,
        "attributes",
        "attribute_data/apascal_train.txt, apascal_test.txt, attribute_names.txt; JPEGImages/ of "
        "VOC 2008 (VOCdevkit/); for aYahoo ayahoo_test.txt, ayahoo_test_images/",
        "vision.cs.uiuc.edu/attributes",
    ),
    "h3d": _Reader(
        read_h3d,
        "attributes",
        "train/labels.txt, test/labels.txt, with the images beside them",
        "www2.eecs.berkeley.edu/Research/Projects/CS/vision/shape/poselets "
        "(attributes_dataset.tgz)",
        ("attributes_dataset",),
    ),
    "oxford5k": _Reader(
        read_oxford5k,
        "retrieval",
        "*.jpg and all_souls_1_query.txt, _good.txt, _ok.txt, _junk.txt ..., at any depth",
        f"{VGG}/oxbuildings",
    ),
    "paris6k": _Reader(
        read_paris6k,
        "retrieval",
        "*.jpg and defense_1_query.txt, _good.txt, _ok.txt, _junk.txt ..., at any depth",
        f"{VGG}/parisbuildings",
    ),
    "sculptures6k": _Reader(
        read_sculptures6k,
        "retrieval",
        "test/*.jpg, train/*.jpg, and NAME_query.txt, _good.txt, _ok.txt, _junk.txt ..., at any "
        "depth, as of oxford5k",
        f"{VGG}/sculptures6k",
    ),
    "roxford5k": _Reader(
        read_roxford5k,
        "retrieval",
        "jpg/*.jpg, gnd_roxford5k.pkl (or .json)",
        "cmp.felk.cvut.cz/revisitop",
        ("roxford5k",),
    ),
    "rparis6k": _Reader(
        read_rparis6k,
        "retrieval",
        "jpg/*.jpg, gnd_rparis6k.pkl (or .json)",
        "cmp.felk.cvut.cz/revisitop",
        ("rparis6k",),
    ),
    "holidays": _Reader(
        read_holidays,
        "retrieval",
        "jpg/100000.jpg ...: group 1000, its query",
        "lear.inrialpes.fr/people/jegou/data.php (jpg1 and jpg2)",
    ),
    "ukbench": _Reader(
        read_ukbench,
        "retrieval",
        "full/ukbench00000.jpg ..., four of each object",
        "archive.org/details/ukbench",
        ("ukbench",),
    ),
    "paired_folders": _Reader(
        read_paired_folders,
        "retrieval",
        "queries/NAME.jpg, reference/NAME.jpg: equal names show one object",
        "its author",
    ),
}


def list_datasets() -> tuple[DatasetCard, ...]:
    """List the sets that `read_dataset` knows by name; looks at no file.

    Returns
    -------
    tuple of DatasetCard
        Tasks together; printed, each is one line.

    Examples
    --------
    >>> print(list_datasets()[-1])
    paired_folders (retrieval): queries/NAME.jpg, reference/NAME.jpg: equal names show one object
    """
    return tuple(
        DatasetCard(
            name,
            reader.task,
            reader.layout,
            reader.source,
            tuple(f"{key}={value!r}" for key, value in reader.defaults().items()),
        )
        for name, reader in READERS.items()
    )


def read_dataset(
    name: str, folder: str | os.PathLike[str], **options: Any
) -> ImageDataset | RetrievalDataset:
    """Read what a set says of its images; decodes none, downloads nothing.

    Parameters
    ----------
    name : str
        One of `list_datasets`; "image_folder" and "paired_folders" read anything of their layout.
    folder : path
        What the set's archives unpack into; the folder that an archive makes may be left out.
    **options
        Of one set's reader, as `list_datasets` has them: ``partition`` of flowers17 (1 to 3) and
        sun397 (1 to 10); ``part`` of sculptures6k ("test" or "train"); ``task="attributes"`` of
        cub200; ``background`` of caltech101 and ``clutter`` of caltech256, True to keep that
        class; ``test`` of apascal ("within", "across", "all").

    Returns
    -------
    ImageDataset or RetrievalDataset
        The second where the task is "retrieval".

    Raises
    ------
    ParameterError
        If there is no such set, or its reader has no such option or value.
    ManifestError
        If a file that the set has is missing or damaged, with what was found and where the set is
        published.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for file in ("queries/7.jpg", "reference/3.jpg", "reference/7.png"):
    ...     (folder / file).parent.mkdir(exist_ok=True)
    ...     (folder / file).touch()
    >>> covers = read_dataset("paired_folders", folder)
    >>> covers
    RetrievalDataset('paired_folders': 1 queries in 2 images; default)
    >>> covers.protocols["default"].positives[0].tolist()
    [1]
    """
    reader = READERS[choose("dataset", name, READERS)]
    defaults = reader.defaults()
    for option in options:
        choose(f"dataset {name!r}: option", option, defaults)
    path = Path(os.path.abspath(os.path.expanduser(folder)))  # noqa: PTH100, PTH111
    if not path.is_dir():
        what = "a file" if path.exists() else "nothing"
        near = nearest(path.name, os.listdir(path.parent)) if path.parent.is_dir() else ""  # noqa: PTH208
        raise ManifestError(
            f"dataset {name!r} in {str(path)!r}: found {what}, expected a folder with "
            f"{reader.layout}, as {reader.source} publishes it.{near}"
        )
    return reader.read(SetFolder(name, path, reader.source, reader.inner), **options)
