"""The pages of featx query and featx duplicates: pictures beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx._repr import show_count
from featx.cli._messages import describe_agreement
from featx.errors import ImageDecodeError
from featx.images.decode import read_size
from featx.report import GalleryMatch, GalleryRow, Report
from featx.retrieval import clip_region, find_in_query

__all__ = ["copies_report", "matches_report"]

LARGE_PX, SMALL_PX = 256, 128  # of a picture, about 15 and 5 kB each
MAX_LARGE = 500  # pictures that a page of 8 MB has room for
VERIFIED = (
    "Green lines frame what the query and a match have in common. Too few local features agree "
    "with a match that is not verified, so it may show anything."
)
MAX_GROUPS, MAX_COPIES = 200, 12  # of copies on a page, and in a group


def matches_report(
    results: Sequence[dict[str, Any]], *, words: Sequence[str], has_images: bool
) -> Report:
    """Lay out each query and its matches.

    Parameters
    ----------
    results : sequence of dict
        As ``featx query`` returns them.
    words : sequence of str
        What was asked beside the images, or alone.
    has_images : bool
        Whether a query is the path of an image; else it is words.
    """
    wanted = ", ".join(words)
    title = "Similar images" if has_images else f"Images that fit the words: {wanted}"
    if has_images and words:
        title = f"Similar images that fit the words: {wanted}"
    report = _make_report(title, len(results), "query", "queries", [r["matches"] for r in results])
    if any("inliers" in match for result in results for match in result["matches"]):
        report.add_text(VERIFIED)
    label = " ".join(words)
    rows = [
        GalleryRow(
            result["query"] if has_images else None,
            tuple(map(_as_match, result["matches"])),
            label,
            outline=_find_first(result["matches"]),
        )
        for result in results
    ]
    return report.add_gallery(rows, title="")


def _as_match(match: dict[str, Any]) -> GalleryMatch:
    values = match.get("metadata", {}).items()
    agreement = describe_agreement(match)
    lines = [f"{name}: {value}" for name, value in values if value != ""]
    return GalleryMatch(
        match["path"],
        match["distance"],
        label=str(match.get("label", "")),
        lines=(*([agreement] if agreement else []), *lines),
        outline=_clip(match.get("region")),
    )


def _clip(region: Any) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in clip_region(region).tolist())


def _find_first(matches: Sequence[dict[str, Any]]) -> tuple[tuple[float, float], ...]:
    """Return where the first match is in the query, if it was verified."""
    region = matches[0].get("region") if matches else None
    return () if region is None else _clip(find_in_query(np.array(region)))


def copies_report(groups: Sequence[dict[str, Any]]) -> Report:
    """Lay out groups of copies, each with the sizes of its pictures and files.

    Parameters
    ----------
    groups : sequence of dict
        As ``featx duplicates`` returns them.
    """
    shown = groups[:MAX_GROUPS]
    pictures = [g["paths"][:MAX_COPIES] for g in shown]
    report = _make_report("Exact and near copies", len(groups), "group", "groups", pictures)
    if not shown:
        return report.add_text("None found.")
    if len(shown) < len(groups):
        report.add_text(f"The {len(shown)} largest groups are here; --json has all.")
    return report.add_gallery([_as_row(group) for group in shown], title="")


def _as_row(group: dict[str, Any]) -> GalleryRow:
    n = len(group["paths"])
    heading = f"{n} images with the same bytes" if group["exact"] else f"{n} similar images"
    if "cosine" in group and not group["exact"]:
        heading += f", cosine similarity {group['cosine']:.3f}"
    left = n - MAX_COPIES
    note = f"{left:,} more of this group are not shown; --json has all." if left > 0 else ""
    return GalleryRow(None, _with_sizes(group["paths"][:MAX_COPIES]), heading, note)


def _with_sizes(paths: Sequence[str]) -> tuple[GalleryMatch, ...]:
    """Return pictures with their sizes; the largest, by pixels and then by bytes, is marked."""
    sizes = []
    for path in paths:
        try:
            sizes.append(read_size(path))
        except ImageDecodeError:  # the picture's place says why
            sizes.append((0, 0, 0))
    ranks = [(width * height, n_bytes) for width, height, n_bytes in sizes]
    largest = max(ranks) if len(set(ranks)) > 1 else None
    matches = []
    for path, (width, height, n_bytes), rank in zip(paths, sizes, ranks, strict=True):
        lines = (f"{width:,} x {height:,} px", f"{n_bytes / 1000:,.0f} kB") if n_bytes else ()
        label = "largest" if rank == largest else ""
        matches.append(GalleryMatch(path, label=label, lines=lines))
    return tuple(matches)


def _make_report(
    title: str, n: int, one: str, many: str, pictures: Sequence[Sequence[Any]]
) -> Report:
    """Return an empty page, whose pictures are large where they are not too many."""
    is_large = sum(1 + len(row) for row in pictures) <= MAX_LARGE
    subtitle = show_count(n, one, many)
    return Report(title, subtitle=subtitle, thumbnail_px=LARGE_PX if is_large else SMALL_PX)
