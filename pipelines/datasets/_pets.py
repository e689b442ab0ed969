"""Oxford-IIIT Pet: 37 breeds of cats and dogs.

Parkhi et al., "Cats and dogs", CVPR 2012.
"""

from __future__ import annotations

from pipelines.datasets._files import SetFolder, as_label_array
from pipelines.datasets.images import ImageDataset

__all__ = ["read_oxford_pets"]


def read_oxford_pets(folder: SetFolder) -> ImageDataset:
    """Read the pets; label = breed, which the set writes into the name of each image."""
    names: list[str] = []
    split: list[str] = []
    for part, stem in (("train", "trainval"), ("test", "test")):
        rows = folder.table(folder.file(f"annotations/{stem}.txt"), str, int, int, int)
        names += [row[0] for row in rows]
        split += [part] * len(rows)
    return ImageDataset(
        folder.name,
        "fine_grained",
        folder.images(folder.folder("images"), (f"{name}.jpg" for name in names)),
        labels=as_label_array(name.rpartition("_")[0] for name in names),
        split=as_label_array(split),
    )
