"""Labels on the command line: of a source, and what to say of those that fit nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featx.images import ClassLabels

__all__ = ["labelled_images", "show_coverage"]


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


def show_coverage(result: dict[str, Any]) -> list[str]:
    """Say what the join of labels left over, from the keys of `Coverage.to_dict`."""
    lines = []
    if result["n_unlabelled"]:
        examples = _listed(result["unlabelled"], result["n_unlabelled"])
        lines.append(
            f"{result['n_unlabelled']} images have no label and were left out: {examples}"
        )
    if result["n_unused"]:
        examples = _listed(result["unused"], result["n_unused"])
        near = f"; nearest: {result['nearest']}" if result["nearest"] else ""
        lines.append(
            f"{result['n_unused']} rows of {result['labels_from']} fit none of the images: "
            f"{examples}{near}"
        )
    return lines


def _listed(examples: list[str], n: int) -> str:
    return ", ".join(examples) + (", ..." if n > len(examples) else "")
