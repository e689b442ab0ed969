"""Sets that are nothing but folders named after the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featx.images import ImageManifest
from pipelines.datasets._checks import require_flag
from pipelines.datasets._files import SetFolder, as_label_array
from pipelines.datasets.images import ImageDataset

__all__ = ["read_caltech101", "read_caltech256", "read_image_folder", "read_scene15"]

# First-level folders that are a split, where there are exactly these.
SPLIT_FOLDERS = ({"train", "test"}, {"train", "val"}, {"train", "val", "test"})


def read_image_folder(folder: SetFolder) -> ImageDataset:
    """Read any folder of folders: label = the folder an image lies in, relative, with "/"."""
    return _read_tree(folder, folder.path, "classification")


def read_scene15(folder: SetFolder) -> ImageDataset:
    """Read 15 Scenes: no split of its own; copies that have been split keep theirs."""
    return _read_tree(folder, folder.find("scene_categories") or folder.path, "scenes")


def read_caltech101(folder: SetFolder, *, background: bool = False) -> ImageDataset:
    """Read Caltech-101; `background` keeps the class BACKGROUND_Google."""
    require_flag(folder.name, "background", background)
    root = folder.find("101_ObjectCategories") or folder.path
    return _read_classes(folder, root, () if background else ("BACKGROUND_Google",))


def read_caltech256(folder: SetFolder, *, clutter: bool = False) -> ImageDataset:
    """Read Caltech-256; `clutter` keeps the class 257.clutter."""
    require_flag(folder.name, "clutter", clutter)
    root = folder.find("256_ObjectCategories") or folder.path
    return _read_classes(folder, root, () if clutter else ("257.clutter",))


def _read_tree(folder: SetFolder, root: Path, task: str) -> ImageDataset:
    manifest = ImageManifest.from_folder(root).require_all()
    if manifest.labels is None:
        raise folder.error(f"{len(manifest)} images and no folders", "folders named after classes")
    labels, split = list(manifest.labels), [""] * len(manifest)
    if {label.split("/")[0] for label in labels} in SPLIT_FOLDERS:
        parts = [label.partition("/") for label in labels]
        split, labels = [first for first, _, _ in parts], [rest for _, _, rest in parts]
    return ImageDataset(
        folder.name,
        task,
        manifest.paths,
        labels=as_label_array(labels),
        split=as_label_array(split),
    )


def _read_classes(folder: SetFolder, root: Path, without: tuple[str, ...]) -> ImageDataset:
    """Take images that lie in a folder of the first level; deeper ones are strays of the set."""
    manifest = ImageManifest.from_folder(root).require_all()
    labels = as_label_array(manifest.labels or [""] * len(manifest))
    is_class = [bool(label) and "/" not in label and label not in without for label in labels]
    if not any(is_class):
        raise folder.error(f"{len(manifest)} images and no folder of a class", "one per class")
    rows = np.flatnonzero(is_class)
    paths = tuple(manifest.paths[i] for i in rows)
    return ImageDataset(folder.name, "classification", paths, labels=labels[rows])
