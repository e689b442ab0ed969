"""Which images, in which order, with which labels: decided before anything is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from featx._repr import OneLine
from featx._values import as_texts, plain_values
from featx.errors import ManifestError
from featx.files.paths import nearest_file
from featx.files.remote import RemoteFile, is_url, look_at_all
from featx.images.inputs import as_sources, source_digest
from featx.images.labels import LabelTable, read_labels
from featx.images.listing import Listing
from featx.images.paths import absolute_path
from featx.images.sources import find_images, path_of

__all__ = ["ImageManifest"]


@dataclass(frozen=True, repr=False)
class ImageManifest(OneLine):
    """Paths of images with their labels, in the order in which all results will be.

    Parameters
    ----------
    paths : tuple of str
        Absolute, or URLs; symbolic links are not resolved. Each at most once.
    labels : tuple of str, or None
        One for each path, "" where one has none; None where no image has one.
    columns : dict of str to tuple of str
        Further columns of a CSV or data frame, as text; "" for images of other sources.
    remote : dict of str to RemoteFile
        What a listing told of images at URLs, so that it is not asked for again.
    ignored : dict of str to int
        Files of folders and globs that are not read: suffix in lower case ("" for none) to their
        number. Other kinds of files, hidden ones (``._1.jpg``), and all in hidden folders.
    unreadable : dict of str to str
        Folders that could not be listed, and why; what lies in them is not among `paths`.
    pixels : dict of str to image
        Images in memory, by their names among `paths`; see `from_images`.

    Raises
    ------
    ManifestError
        If there is no path, one occurs twice, or labels or a column have another length or are
        no text.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "Fruit" / "Apple").mkdir(parents=True)
    >>> (folder / "Fruit" / "Apple" / "1.jpg").touch()
    >>> (folder / "Fruit" / "notes.txt").touch()
    >>> manifest = ImageManifest.from_source(folder)
    >>> manifest.labels, manifest.ignored
    (('Fruit/Apple',), {'.txt': 1})
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remote: Mapping[str, RemoteFile] = field(default_factory=dict, compare=False, repr=False)
    ignored: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    unreadable: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    pixels: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.paths:
            raise ManifestError("manifest: got no paths, expected at least one image")
        if len(set(self.paths)) < len(self.paths):
            counts = Counter(self.paths).most_common()
            n_twice = sum(n > 1 for _, n in counts)
            raise ManifestError(
                f"manifest: {n_twice} paths occur more than once: {counts[0][0]!r} "
                f"{counts[0][1]} times, expected once; give each image in one source only"
            )
        for name, values in {"labels": self.labels, **self.columns}.items():
            if values is not None and len(values) != len(self.paths):
                raise ManifestError(
                    f"manifest: got {len(values)} values in {name!r} for {len(self.paths)} "
                    "images, expected one each"
                )
            if not all(isinstance(value, str) for value in values or ()):
                raise ManifestError(
                    f"manifest: got values in {name!r} that are no text, expected text; "
                    "from_paths makes text of numbers and of missing values"
                )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    @property
    def sources(self) -> Sequence[Any]:
        """Where the pixels of each image are, as `featx.images.loader.iter_batches` takes them."""
        told = {**self.remote, **self.pixels}
        return [told.get(path, path) for path in self.paths] if told else self.paths

    def look_up_urls(self) -> ImageManifest:
        """Return the manifest with what can be told of each of its URLs, each asked for once."""
        urls = [path for path in self.paths if is_url(path) and path not in self.remote]
        return replace(self, remote={**self.remote, **look_at_all(urls)}) if urls else self

    def require_all(self) -> ImageManifest:
        """Return itself, for those who have no list of failures to put a folder on.

        Raises
        ------
        ManifestError
            If a folder could not be listed.
        """
        for path, why in self.unreadable.items():
            raise ManifestError(
                f"folder {path!r}: cannot be read ({why}), expected one that can be; change its "
                "permissions, or extract the images first, which lists it as a failure"
            )
        return self

    def subset(self, rows: ArrayLike) -> ImageManifest:
        """Return the images at the given positions, or where a boolean mask is true, in order.

        Raises
        ------
        ManifestError
            If nothing is left, or a position occurs twice.
        IndexError
            If a position does not exist.
        """
        chosen = np.arange(len(self))[np.asarray(rows)].tolist()
        return ImageManifest(
            tuple(self.paths[i] for i in chosen),
            None if self.labels is None else tuple(self.labels[i] for i in chosen),
            {name: tuple(values[i] for i in chosen) for name, values in self.columns.items()},
            self.remote,
            self.ignored,
            self.unreadable,
            self.pixels,
        )

    @classmethod
    def from_source(
        cls,
        source: Any,
        *,
        labels: Iterable[Any] | None = None,
    ) -> ImageManifest:
        """Find the images of one or several sources.

        Parameters
        ----------
        source : path, URL, glob, data frame, or a sequence of paths, URLs and globs
            A folder (searched at any depth; label = the folder that an image lies in, relative to
            it), a file, a glob (``**`` for any depth; no labels), a CSV or its columns as a data
            frame (`from_csv`). In a sequence, names of images need not exist: those that do not
            become failures when they are read; folders beside each other, each with images right
            in it, are classes, as they are to the folder above; and a folder without images is
            left out. Each may be a URL (``s3://bucket/photos/``; extra ``remote``).
        labels : sequence, optional
            One label for each image found, instead of the source's own; missing values (None,
            NaN) and "" mean none.

        Returns
        -------
        ImageManifest
            A folder's or glob's images sorted by path; sources, CSV rows and lists in the order
            given.

        Raises
        ------
        ManifestError
            If a source is missing or has no images, with the nearest name that exists; or if two
            have the same image.

        Warns
        -----
        FeatxWarning
            If one of several folders has no images.
        """
        found = source if isinstance(source, ImageManifest) else cls._of(*find_images(source))
        if labels is None:
            return found
        return replace(found, labels=tuple(as_texts(labels, "labels")))

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> ImageManifest:
        """Find all images under a folder; label = the folder that each lies in.

        Raises
        ------
        ManifestError
            If it is missing, no folder, or without images.
        """
        path = path_of(folder)
        if not os.path.isdir(path):  # noqa: PTH112
            what = "a file" if os.path.exists(path) else "nothing"  # noqa: PTH110
            hint = "" if what == "a file" else nearest_file(path)
            raise ManifestError(f"folder {path!r}: found {what}, expected a folder.{hint}")
        return cls._of(*find_images(path))

    @classmethod
    def from_csv(cls, csv_path: str | os.PathLike[str]) -> ImageManifest:
        """Take images from a CSV: column ``path``, optional ``label``, others kept as text.

        Relative paths start at the CSV's folder. Files need not exist: those that do not become
        failures when they are read.

        Raises
        ------
        ManifestError
            As `featx.images.labels.read_labels`, which also says how values are read.
        """
        return cls._of(read_labels(path_of(csv_path)), Listing())

    @classmethod
    def from_paths(
        cls,
        paths: Iterable[str | os.PathLike[str]],
        *,
        labels: Iterable[Any] | None = None,
    ) -> ImageManifest:
        """Take paths of images as they are, without looking whether they exist.

        Parameters
        ----------
        paths : iterable of path
            Relative ones start at the current folder.
        labels : sequence, optional
            One for each path; missing values (None, NaN) and "" mean none.
        """
        absolute = tuple(
            absolute_path(path_of(p, i)) for i, p in enumerate(plain_values(paths, "paths"))
        )
        return cls(absolute, None if labels is None else tuple(as_texts(labels, "labels")))

    @classmethod
    def from_images(cls, images: Any) -> tuple[ImageManifest, list[int]]:
        """Take images in any form; those that are the same have one place in the manifest.

        Parameters
        ----------
        images : Any
            As for `featx.images.inputs.as_sources`; one in memory is named "memory:" and its
            digest.

        Returns
        -------
        manifest : ImageManifest
            Each different image once, without labels.
        places : list of int
            For each image its position in the manifest.
        """
        position: dict[str, int] = {}
        pixels: dict[str, Any] = {}
        places: list[int] = []
        for source in as_sources(images):
            if isinstance(source, str):
                name = absolute_path(os.path.expanduser(source))  # noqa: PTH111
            else:
                name = f"memory:{_digest_or_place(source, len(places))}"
                pixels.setdefault(name, source)
            places.append(position.setdefault(name, len(position)))
        return cls(tuple(position), pixels=pixels), places

    @classmethod
    def _of(cls, table: LabelTable, listing: Listing) -> Self:
        return cls(
            table.paths,
            table.labels if table.labels and any(table.labels) else None,
            table.columns,
            listing.remote,
            dict(listing.ignored),
            listing.unreadable,
        )


def _digest_or_place(source: Any, place: int) -> str:
    try:
        return source_digest(source)
    except Exception:  # noqa: BLE001 - of a cut file that Pillow has open: reading it says why
        return f"image {place}, whose pixels cannot be had"
