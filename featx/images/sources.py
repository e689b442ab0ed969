"""Find the images of a source, and the classes that the names of folders give."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from featx.errors import FeatxWarning, ManifestError
from featx.files.paths import existing_form, nearest_file
from featx.files.remote import is_url, plain_path
from featx.images.labels import LabelTable, is_table, read_labels
from featx.images.listing import (
    SUFFIXES,
    Listing,
    describe_ignored,
    is_glob,
    is_named_as_image,
    list_folder,
    list_glob,
    list_url,
)
from featx.images.paths import absolute_path
from featx.images.tables import TABLE_SUFFIXES

__all__ = ["find_images", "path_of", "warn_of_splits"]

SPLIT = re.compile(
    r"(?P<before>.+[-_ ])?"  # seg_train and seg_test, cats-train and cats-test
    r"(train(ing|val)?|val(id(ation)?)?|dev(el)?|eval(uation)?|test(ing)?|hold[-_ ]?out)"
    r"([-_ ]?(set|data|split|imgs|images?))?[-_ ]?\d*",
    re.IGNORECASE,
)


def find_images(source: Any) -> tuple[LabelTable, Listing]:
    """Find the images of one or several sources, and what is left out; see `ImageManifest`."""
    listing = Listing()
    if is_table(source):
        return _merge([read_labels(source)], listing), listing
    if not isinstance(source, Iterable) or isinstance(source, str | bytes):
        return _merge([_find(path_of(source), listing, is_listed=False)], listing), listing
    names = [path_of(each, i) for i, each in enumerate(source)]
    tables = [_find(name, listing, is_listed=True) for name in names]
    return _merge(_label_as_classes(names, tables), listing), listing


def path_of(source: Any, index: int | None = None) -> str:
    """Return a source as the path, URL or glob that it is; `index` among several."""
    if not isinstance(source, str | bytes | os.PathLike):
        where = "source" if index is None else f"source[{index}]"
        shown = f"a {type(source).__name__}" if is_table(source) else f"{source!r:.60}"
        raise ManifestError(f"{where}: got {shown}, expected a path, a glob or a CSV")
    path = plain_path(os.fsdecode(source))
    return path if is_url(path) else existing_form(os.path.expanduser(path))  # noqa: PTH111


def _find(source: str, listing: Listing, *, is_listed: bool) -> LabelTable:
    """Find the images of one source; `is_listed` as one of several."""
    if is_url(source):
        return _find_at_url(source, listing, is_listed=is_listed)
    if not source:
        raise ManifestError("source: got an empty path, expected a folder, file, glob or CSV")
    if os.path.isdir(source):  # noqa: PTH112
        return _find_in_folder(source, listing, is_listed=is_listed)
    if _is_table_file(source, is_listed=is_listed):
        return read_labels(source)
    exists = os.path.lexists(source)
    if not exists and is_glob(source):
        return _find_by_glob(source, listing)
    if not exists and not (is_listed and is_named_as_image(source)):
        raise ManifestError(
            f"source {source!r}: not found, expected a folder, an image, a glob or a CSV; "
            f"check the name.{nearest_file(source)}"
        )
    return _make_table([absolute_path(source)], None, f"source {source!r}")


def _find_at_url(url: str, listing: Listing, *, is_listed: bool) -> LabelTable:
    if _is_table_file(url, is_listed=is_listed):
        return read_labels(url)
    if is_listed and is_named_as_image(url) and "*" not in url:
        # a list of a million is not asked for one by one
        return _make_table([url], None, f"source {url!r}")
    url = url.rstrip("/")
    return _label(list_url(url, listing), f"source {url!r}", listing)


def _find_in_folder(folder: str, listing: Listing, *, is_listed: bool) -> LabelTable:
    path, source = os.path.abspath(folder), f"folder {folder!r}"  # noqa: PTH100
    found = list_folder(path, listing)
    if found or not is_listed:
        return _label(found, source, listing)
    if path not in listing.unreadable:  # which the list of failures tells
        warnings.warn(f"{source}: has no images and is left out", FeatxWarning, stacklevel=5)
    return _make_table([], (), source)


def _label(found: list[tuple[str, str]], source: str, listing: Listing) -> LabelTable:
    if not found:
        raise ManifestError(
            f"{source}: found no images at any depth, expected files ending in "
            f"{' '.join(SUFFIXES)}{_describe_left_out(listing)}"
        )
    labels = tuple(_folder_label(label) for _, label in found)
    return _make_table([path for path, _ in found], labels, source)


def _find_by_glob(pattern: str, listing: Listing) -> LabelTable:
    found = list_glob(pattern, listing)
    if not found:
        raise ManifestError(
            f"glob {pattern!r}: matches no image files, expected some ending in "
            f"{' '.join(SUFFIXES)}; use '**' for any depth, or name the folder itself"
            f"{_describe_left_out(listing)}"
        )
    return _make_table([os.path.abspath(path) for path in found], None, f"glob {pattern!r}")  # noqa: PTH100


def _describe_left_out(listing: Listing) -> str:
    """Say what was there instead of images."""
    parts = [f"folder {path!r} cannot be read ({why})" for path, why in listing.unreadable.items()]
    parts = parts[:1] + ([describe_ignored(listing.ignored)] if listing.ignored else [])
    return "".join(f"; {part}" for part in parts)


def _is_table_file(name: str, *, is_listed: bool) -> bool:
    # Among several names, photos/* for example, a text file is no manifest.
    return name.lower().endswith((".csv", ".tsv") if is_listed else TABLE_SUFFIXES)


def _is_folder(name: str) -> bool:
    """Say whether a source that was found is a folder; a URL is one by its name."""
    is_file = is_named_as_image(name) or _is_table_file(name, is_listed=True)
    return (is_url(name) and "*" not in name and not is_file) or os.path.isdir(name)  # noqa: PTH112


def _label_as_classes(names: list[str], tables: list[LabelTable]) -> list[LabelTable]:
    """Label the images of folders beside each other, each with images in it, as above them."""
    folders = {i: tables[i].labels or () for i, name in enumerate(names) if _is_folder(name)}
    if not all("" in below for below in folders.values() if below):
        return tables
    labels = _labels_of_neighbours([names[i] for i in folders])
    named = list(tables)
    for (i, below), label in zip(folders.items(), labels or (), strict=labels is not None):
        named[i] = replace(tables[i], labels=tuple(f"{label}/{b}".rstrip("/") for b in below))
    return named


def _make_table(paths: list[str], labels: tuple[str, ...] | None, thing: str) -> LabelTable:
    return LabelTable(tuple(paths), labels, {}, tuple(paths), thing)


def _merge(tables: list[LabelTable], listing: Listing) -> LabelTable:
    """Put sources one after the other; what one of them lacks is "" there."""
    if not any(table.paths for table in tables):
        what = "folders without images" if tables else "an empty sequence"
        raise ManifestError(
            f"source: got {what}, expected at least one image{_describe_left_out(listing)}"
        )
    if len(tables) == 1:
        return tables[0]
    _require_different(tables)
    blank = {id(table): ("",) * len(table.paths) for table in tables}
    names = dict.fromkeys(name for table in tables for name in table.columns)
    return LabelTable(
        tuple(path for table in tables for path in table.paths),
        tuple(label for table in tables for label in table.labels or blank[id(table)]),
        {
            name: tuple(x for t in tables for x in t.columns.get(name, blank[id(t)]))
            for name in names
        },
        written=(),
    )


def _require_different(tables: list[LabelTable]) -> None:
    """Refuse an image that two sources have, since their labels may differ."""
    giver: dict[str, LabelTable] = {}
    twice = [(p, giver[p], t) for t in tables for p in t.paths if giver.setdefault(p, t) is not t]
    if twice:
        path, one, other = twice[0]
        raise ManifestError(
            f"source: {len(twice)} images come twice: {path!r} from {one.thing} and from "
            f"{other.thing}, expected each once; leave one of the two out"
        )


def _folder_label(folder: str) -> str:
    """Return the label that a folder's name gives, which is never taken for a missing value."""
    return unicodedata.normalize("NFC", folder).strip()


def _labels_of_neighbours(folders: Sequence[str]) -> list[str] | None:
    """Return the label of each of several folders that were named one by one.

    ``cats`` and ``dogs``, which lie beside each other, mean what the folder above them means. None
    where one lies beside none of the others, or is a part of a data set, such as ``train``.
    """
    paths = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100
    names = [os.path.basename(path) for path in paths]  # noqa: PTH119
    beside = Counter(os.path.dirname(path) for path in set(paths))  # noqa: PTH120
    splits = [match for name in names if (match := SPLIT.fullmatch(name))]
    if 1 in beside.values() or any(not match["before"] for match in splits):
        return None
    return [_folder_label(name) for name in names]


def warn_of_splits(labels: Iterable[str], thing: str) -> None:
    """Warn where classes are kept apart by the parts of a data set, as train/cat and test/cat.

    Warns
    -----
    FeatxWarning
        With two such labels.
    """
    splits: dict[tuple[str, ...], dict[str, tuple[str, str]]] = defaultdict(dict)
    for label in labels:
        parts = label.split("/")
        for i, part in enumerate(parts):
            if split := SPLIT.fullmatch(part):
                before = split["before"] or ""
                kind = part[len(before) :][:2].lower()  # train and training are one kind
                splits[*parts[:i], before].setdefault(kind, (part, label))
    for found in splits.values():
        if len(found) > 1:
            (one, first), (other, second) = sorted(found.values())[:2]
            warnings.warn(
                f"{thing}: {first!r} and {second!r} are two classes, kept apart by {one}/ and "
                f"{other}/, which are named as parts of a data set; put each part into a store of "
                "its own, or pass labels (--labels L.csv)",
                FeatxWarning,
                stacklevel=3,
            )
            return
