"""What is to be extracted: a row's name in the store, and where its pixels come from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featx._repr import OneLine
from featx.files.remote import RemoteFile, is_url, look_at_all
from featx.images import ImageManifest, absolute_path, as_sources, source_digest, warn_of_splits

__all__ = ["MEMORY", "Items", "items_of_images", "items_of_manifest"]

MEMORY = "memory:"
"""Begins the names of images that are in no file; their digest follows."""


@dataclass(frozen=True, repr=False)
class Items(OneLine):
    """Images in the order of the results, each once.

    Parameters
    ----------
    names : sequence of str
        Keys of rows: absolute paths, URLs, or "memory:" and a digest.
    sources : sequence
        Where the pixels are; see `featx.images.as_sources`. Of an image at a URL, what a listing
        tells of it, or its URL where it tells nothing.
    labels : sequence of str, or None
        One an image; None leaves what the store has.
    metadata : mapping of str to sequence of str
        Further columns, likewise.
    ignored : mapping of str to int
        Files of the source that are no images, by suffix; see `featx.images.ImageManifest`.
    unreadable : mapping of str to str
        Folders of the source that could not be listed, and why.
    """

    names: Sequence[str]
    sources: Sequence[Any]
    labels: Sequence[str] | None = None
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def columns(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return labels and further columns of some items, as a table's methods take them."""
        chosen: dict[str, Any] = {}
        if self.labels is not None:
            chosen["labels"] = [self.labels[i] for i in positions]
        if self.metadata:
            chosen["metadata"] = {
                name: [values[i] for i in positions] for name, values in self.metadata.items()
            }
        return chosen

    @property
    def remote(self) -> dict[str, RemoteFile]:
        """What is told of images at URLs, by name."""
        return {file.url: file for file in self.sources if isinstance(file, RemoteFile)}

    def take(self, positions: Sequence[int]) -> Items:
        """Return some items, in the order given; what the source lacks belongs to all of them."""
        return Items(
            [self.names[i] for i in positions],
            [self.sources[i] for i in positions],
            None if self.labels is None else [self.labels[i] for i in positions],
            {name: [values[i] for i in positions] for name, values in self.metadata.items()},
            self.ignored,
        )


def items_of_manifest(manifest: ImageManifest) -> Items:
    """Take the images of a manifest; warns where labels are those of train/ and test/."""
    warn_of_splits(dict.fromkeys(manifest.labels or ()), "source")
    sources = _looked_at(manifest.paths, manifest.remote)
    return Items(
        manifest.paths,
        sources,
        manifest.labels,
        manifest.columns,
        manifest.ignored,
        manifest.unreadable,
    )


def _looked_at(sources: Sequence[Any], known: Mapping[str, RemoteFile]) -> Sequence[Any]:
    """Put what is told of files at URLs in the place of the URLs."""
    urls = [source for source in sources if is_url(source)]
    if not urls:
        return sources
    found = {**known, **look_at_all(url for url in urls if url not in known)}
    return [found.get(source, source) if is_url(source) else source for source in sources]


def items_of_images(images: Any) -> tuple[Items, list[int]]:
    """Take images in any form; one that comes several times is one item.

    Returns
    -------
    items : Items
    places : list of int
        For each image its position in the items.
    """
    position: dict[str, int] = {}
    sources: list[Any] = []
    places: list[int] = []
    for source in as_sources(images):
        if isinstance(source, str):
            name = source = absolute_path(os.path.expanduser(source))  # noqa: PTH111
        else:
            name = MEMORY + _digest_or_place(source, len(places))
        if name not in position:
            position[name] = len(sources)
            sources.append(source)
        places.append(position[name])
    return Items(tuple(position), _looked_at(sources, {})), places


def _digest_or_place(source: Any, place: int) -> str:
    try:
        return source_digest(source)
    except Exception:  # noqa: BLE001 - of a cut file that Pillow has open: reading it says why
        return f"image {place}, whose pixels cannot be had"
