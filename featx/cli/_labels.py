"""Labels of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featx.images import ClassLabels

__all__ = ["labelled_images"]


def labelled_images(source: Any, table: str | None) -> tuple[list[str], ClassLabels]:
    """Return the images of a source that have a label, and their labels.

    Raises
    ------
    ManifestError
        If none has one, or as `featx.images.class_labels`.
    """
    from featx.images import ImageManifest, class_labels

    manifest = ImageManifest.from_source(source).require_all()
    found = class_labels(manifest, table)
    return [manifest.paths[i] for i in found.rows.tolist()], found
