"""A set of images with classes or attributes, its own split and its boxes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx._values import is_missing, label_array
from featx.errors import ManifestError, ParameterError, choose, nearest
from featx.images import ImageManifest
from pipelines.datasets._checks import as_boxes, require_paths

__all__ = ["SPLITS", "TASKS", "ImageDataset"]

TASKS = ("classification", "scenes", "fine_grained", "attributes")
SPLITS = ("train", "val", "test", "")


def _no_split() -> NDArray[np.str_]:
    return np.empty(0, dtype=np.str_)


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset:
    """Images with what a set says of each.

    Parameters
    ----------
    name : str
        As `read_dataset` takes it.
    task : {"classification", "scenes", "fine_grained", "attributes"}
        What the set is used for.
    paths : tuple of str
        Absolute. One path may occur several times where `boxes` tell the rows apart.
    labels : ndarray of shape (n_samples,), str, or None
        The class of each image as the set writes it; None where a set has attributes only.
    attributes : ndarray of shape (n_samples, n_attributes), float32, or None
        1 present, 0 absent, NaN not known (of VOC: difficult, and left out of the score).
    attribute_names : tuple of str
        One for each column of `attributes`.
    split : ndarray of shape (n_samples,), str
        "train", "val" or "test"; "" where the set has no split of its own. Default: "" throughout.
    boxes : ndarray of shape (n_samples, 4), float64, or None
        Left, top, right, bottom of the object in pixels, right and bottom exclusive. `manifest`
        takes the whole images; `write_crops` cuts them to their boxes.

    Raises
    ------
    ManifestError
        If lengths differ, a value is none of these, or neither labels nor attributes are given.

    Examples
    --------
    >>> flowers = ImageDataset(
    ...     "flowers", "fine_grained", ("/f/1.jpg", "/f/2.jpg", "/f/3.jpg"),
    ...     labels=["iris", "daisy", "iris"], split=["train", "train", "test"],
    ... )
    >>> flowers
    ImageDataset('flowers', fine_grained: 3 images, 2 classes; train 2, test 1)
    >>> flowers.subset(flowers.rows("test")).paths
    ('/f/3.jpg',)
    """

    name: str
    task: str
    paths: tuple[str, ...]
    labels: NDArray[np.str_] | None = None
    attributes: NDArray[np.float32] | None = None
    attribute_names: tuple[str, ...] = ()
    split: NDArray[np.str_] = field(default_factory=_no_split)
    boxes: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        thing = f"dataset {self.name!r}"
        choose(f"{thing}: task", self.task, TASKS, error=ManifestError)
        self._set("paths", tuple(self.paths))
        self._set("attribute_names", tuple(self.attribute_names))
        require_paths(thing, "paths", self.paths)
        if self.labels is None and self.attributes is None:
            raise ManifestError(
                f"{thing}: got neither labels nor attributes, expected one of them"
            )
        if self.labels is not None:
            self._set("labels", self._texts("labels", self.labels))
            self._require_labels(thing)
        if self.boxes is not None:
            self._set("boxes", as_boxes(thing, "boxes", self.boxes, len(self)))
        self._check_attributes(thing)
        self._check_split(thing)
        self._require_distinct(thing)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.paths)

    def __repr__(self) -> str:
        parts = [f"{len(self)} images"]
        if self.labels is not None:
            parts.append(f"{len(np.unique(self.labels))} classes")
        if self.attributes is not None:
            parts.append(f"{len(self.attribute_names)} attributes")
        text = f"{self.task}: {', '.join(parts)}"
        counts = [f"{name} {n}" for name, n in self._split_sizes().items() if name]
        if counts:
            text += f"; {', '.join(counts)}"
        return f"ImageDataset({self.name!r}, {text}{'; boxes' if self.boxes is not None else ''})"

    def rows(self, *splits: str) -> NDArray[np.intp]:
        """Return the positions of the images of some splits, in order.

        Parameters
        ----------
        *splits : str
            "train", "val", "test", or "" for images without one; several are taken together.

        Returns
        -------
        ndarray of shape (n,), intp
            Ascending; all positions where no split is named.

        Raises
        ------
        ParameterError
            If the set has no image of a split.
        """
        sizes = self._split_sizes()
        for name in splits:
            if name not in sizes:
                found = ", ".join(f"{s!r} ({n} images)" for s, n in sizes.items())
                raise ParameterError(
                    f"dataset {self.name!r}: has no split {name!r}, expected one of {found}."
                    f"{nearest(str(name), sizes)}"
                )
        if not splits:
            return np.arange(len(self))
        return np.flatnonzero(np.isin(self.split, splits))

    def subset(self, rows: ArrayLike) -> ImageDataset:
        """Return the images at the given positions, or where a boolean mask is true, in order.

        Raises
        ------
        ManifestError
            If nothing is left.
        IndexError
            If a position does not exist.
        """
        chosen = np.arange(len(self))[np.asarray(rows)]
        return ImageDataset(
            self.name,
            self.task,
            tuple(self.paths[i] for i in chosen.tolist()),
            labels=None if self.labels is None else self.labels[chosen],
            attributes=None if self.attributes is None else self.attributes[chosen],
            attribute_names=self.attribute_names,
            split=self.split[chosen],
            boxes=None if self.boxes is None else self.boxes[chosen],
        )

    def manifest(self) -> ImageManifest:
        """Return the paths with labels, and one column an attribute: "1", "0", "" for not known.

        Raises
        ------
        ManifestError
            If an image occurs several times, once for each of its boxes.
        """
        n_twice = len(self) - len(set(self.paths))
        if n_twice:
            raise ManifestError(
                f"dataset {self.name!r}: {n_twice} of its {len(self)} rows are further objects of "
                "an image that it has already, expected each image once; cut them out with "
                "pipelines.datasets.write_crops, and take that set's manifest"
            )
        columns = {}
        if self.attributes is not None:
            texts = np.where(
                np.isnan(self.attributes), "", np.where(self.attributes > 0, "1", "0")
            )
            columns = {
                name: tuple(texts[:, i].tolist()) for i, name in enumerate(self.attribute_names)
            }
        labels = None if self.labels is None else tuple(self.labels.tolist())
        return ImageManifest(self.paths, labels, columns)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _split_sizes(self) -> dict[str, int]:
        counts = Counter(self.split.tolist())
        return {name: counts[name] for name in SPLITS if counts[name]}

    def _texts(self, what: str, values: Any) -> NDArray[np.str_]:
        known = label_array(values).tolist()
        texts = np.array(["" if is_missing(v, words=False) else v for v in known], dtype=np.str_)
        if texts.shape != (len(self),):
            raise ManifestError(
                f"dataset {self.name!r}: {what} has the shape {texts.shape}, expected "
                f"{(len(self),)}: one for each image"
            )
        return texts

    def _require_labels(self, thing: str) -> None:
        empty = np.flatnonzero(self.labels == "")
        if len(empty):
            raise ManifestError(
                f"{thing}: {len(empty)} of {len(self)} images have no label, the first is "
                f"{self.paths[int(empty[0])]!r}; expected a label for each, so move them into the "
                "folder of their class, or away"
            )

    def _check_attributes(self, thing: str) -> None:
        if self.attributes is None:
            if self.attribute_names:
                raise ManifestError(
                    f"{thing}: got {len(self.attribute_names)} attribute names without attributes"
                )
            return
        values = np.asarray(self.attributes, dtype=np.float32)
        expected = (len(self), len(self.attribute_names))
        if values.shape != expected:
            raise ManifestError(
                f"{thing}: attributes has the shape {values.shape}, expected {expected}: one row "
                "an image, one column an attribute name"
            )
        twice = [name for name, n in Counter(self.attribute_names).items() if n > 1]
        if twice:
            raise ManifestError(f"{thing}: attribute {twice[0]!r} occurs twice, expected once")
        is_bad = ~(np.isnan(values) | (values == 0) | (values == 1))
        if is_bad.any():
            row, column = np.argwhere(is_bad)[0].tolist()
            raise ManifestError(
                f"{thing}: attribute {self.attribute_names[column]!r} of image {row} is "
                f"{values[row, column]}, expected 1, 0 or NaN"
            )
        self._set("attributes", values)

    def _check_split(self, thing: str) -> None:
        if not len(self.split):
            self._set("split", np.zeros(len(self), dtype="U5"))
        self._set("split", self._texts("split", self.split))
        for name in np.unique(self.split).tolist():
            choose(f"{thing}: split", name, SPLITS, error=ManifestError)

    def _require_distinct(self, thing: str) -> None:
        if self.boxes is None and len(set(self.paths)) < len(self):
            path, n = Counter(self.paths).most_common(1)[0]
            raise ManifestError(
                f"{thing}: {path!r} occurs {n} times, expected once in a set without boxes"
            )
