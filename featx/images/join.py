"""Join labels to images by their paths, and count what fits nothing on either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._repr import OneLine
from featx._values import as_text
from featx.errors import ManifestError, nearest
from featx.images.labels import LabelSource, LabelTable, read_labels
from featx.images.paths import check_matches, find_matches, nearest_path
from featx.images.sources import warn_of_splits
from featx.images.tables import LABEL

__all__ = [
    "AttributeLabels",
    "ClassLabels",
    "Coverage",
    "JoinedLabels",
    "attribute_labels",
    "class_labels",
    "join_labels",
]

VALUES = {"1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "": np.nan}
LIKE_LABEL = ("labels", "class", "classes", "classname", "class_name", "category", "target", "y")
MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Coverage:
    """What a join left over on either side.

    Parameters
    ----------
    n_unlabelled, n_unused : int
        Images without a label; rows of the label table that fit no image.
    unlabelled, unused : tuple of str
        The first three of each.
    nearest : str or None
        The image that the first unused row probably means.
    labels_from : str
        What the labels were taken from.
    """

    n_unlabelled: int = 0
    unlabelled: tuple[str, ...] = ()
    n_unused: int = 0
    unused: tuple[str, ...] = ()
    nearest: str | None = None
    labels_from: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict."""
        return {**vars(self), "unlabelled": list(self.unlabelled), "unused": list(self.unused)}


@dataclass(frozen=True, repr=False)
class JoinedLabels(OneLine):
    """The rows of a label table that fit given paths.

    Parameters
    ----------
    paths : tuple of str
        The given paths.
    table : LabelTable
        All rows of the table, those of one image merged.
    rows : ndarray of shape (n,), intp
        Positions in `paths` that the table knows, ascending.
    table_rows : ndarray of shape (n,), intp
        The row of `table` of each of `rows`.
    unused : tuple of str
        Rows of the table that fit no path, as they are written.
    """

    paths: tuple[str, ...]
    table: LabelTable
    rows: NDArray[np.intp]
    table_rows: NDArray[np.intp]
    unused: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """A label for each of `rows`, None where the table has none."""
        return self.table.take(self.table_rows.tolist()).labels

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """Further columns, a value for each of `rows`."""
        return dict(self.table.take(self.table_rows.tolist()).columns)

    def coverage(self, rows: NDArray[np.intp] | None = None) -> Coverage:
        """Count what is left over where these positions are used; default `rows`."""
        used = set((self.rows if rows is None else rows).tolist())
        unlabelled = [path for i, path in enumerate(self.paths) if i not in used]
        return Coverage(
            len(unlabelled),
            tuple(unlabelled[:MAX_EXAMPLES]),
            len(self.unused),
            self.unused[:MAX_EXAMPLES],
            nearest_path(self.unused[0], self.paths) if self.unused else None,
            self.table.thing,
        )


@dataclass(frozen=True, repr=False)
class ClassLabels(OneLine):
    """The images that have a label.

    Parameters
    ----------
    rows : ndarray of shape (n,), intp
        Their positions, ascending.
    labels : ndarray of shape (n,), str
        Of each.
    coverage : Coverage
        What is left over.
    """

    rows: NDArray[np.intp]
    labels: NDArray[np.str_]
    coverage: Coverage


@dataclass(frozen=True, repr=False)
class AttributeLabels(OneLine):
    """The attributes of images.

    Parameters
    ----------
    rows : ndarray of shape (n,), intp
        Positions of the images in the table, ascending.
    names : tuple of str
        The attributes.
    values : ndarray of shape (n, n_attributes), float64
        1 for yes, 0 for no, NaN where it is not known.
    coverage : Coverage
        What is left over.
    """

    rows: NDArray[np.intp]
    names: tuple[str, ...]
    values: NDArray[np.float64]
    coverage: Coverage


def class_labels(images: Any, table: LabelSource | None = None) -> ClassLabels:
    """Find the class of each image.

    Parameters
    ----------
    images : FeatureStore or ImageManifest
        The images, and their own labels.
    table : path, data frame or mapping, optional
        Labels to take instead, see `read_labels`; joined as `join_labels` does.

    Returns
    -------
    ClassLabels
        Images without a label are left out and counted.

    Raises
    ------
    ManifestError
        If no image has a label, or as `join_labels`.

    Warns
    -----
    FeatxWarning
        If classes differ by nothing but "train" and "test" in their folders.

    Examples
    --------
    >>> from featx import ImageManifest
    >>> images = ImageManifest.from_paths(["/p/a.png", "/p/b.png", "/p/c.png"])
    >>> found = class_labels(images, {"path": ["a.png", "c.png"], "label": ["cat", None]})
    >>> found.rows.tolist(), found.labels.tolist(), found.coverage.n_unlabelled
    ([0], ['cat'], 2)
    """
    found = _match(images, table)
    if found.table.labels is None:
        columns = ["path", *found.table.columns]
        like = next((name for name in columns if name.lower() in LIKE_LABEL), None)
        hint = nearest(LABEL, columns) if like is None else f" Is it {like!r}?"
        raise ManifestError(
            f"{found.table.thing}: got the columns {columns}, expected one named 'label'; name "
            "the column of classes 'label', or give --task attributes for columns of 0 and 1."
            f"{hint}"
        )
    labels = np.array(found.table.labels, dtype=np.str_)[found.table_rows]
    has_label = labels != ""
    rows = found.rows[has_label]
    if not len(rows):
        raise ManifestError(
            f"{found.table.thing}: has no labels for {len(found.paths)} images, expected one per "
            "image; extract the folder above the folders of the classes, make a label file with "
            "featx label, or pass labels (--labels L.csv)"
        )
    warn_of_splits(np.unique(labels[has_label]).tolist(), found.table.thing)
    return ClassLabels(rows, labels[has_label], found.coverage(rows))


def attribute_labels(
    images: Any, table: LabelSource | None = None, names: Sequence[str] | None = None
) -> AttributeLabels:
    """Find the attributes of each image.

    Parameters
    ----------
    images, table
        As for `class_labels`; an attribute is a column of 0 and 1.
    names : sequence of str, optional
        The columns to take; default all but ``path`` and ``label``.

    Returns
    -------
    AttributeLabels
        True, yes, 1 and 1.0 are 1; False, no, 0 and 0.0 are 0; what is missing is NaN. -1 is NaN
        in a column that also has 0, and 0 in a table without any 0.

    Raises
    ------
    ManifestError
        If there are no such columns, a value is something else, -1 could mean either, or as
        `join_labels`; with the row.
    """
    found = _match(images, table)
    columns = dict(found.table.columns)
    if names is not None and LABEL in names and found.table.labels is not None:
        columns[LABEL] = found.table.labels
    wanted = list(columns) if names is None else list(names)
    missing = [name for name in wanted if name not in columns]
    if missing or not wanted:
        raise ManifestError(
            f"{found.table.thing}: got the columns {list(columns)}, expected "
            f"{missing[0] if missing else 'one per attribute, of 0 and 1'}."
            f"{nearest(missing[0], columns) if missing else ''}"
        )
    # By all rows, so that a value means the same whichever images are asked for.
    values = _read_numbers({name: columns[name] for name in wanted}, found.table)
    return AttributeLabels(
        found.rows, tuple(wanted), values[found.table_rows], found.coverage(found.rows)
    )


def join_labels(paths: Sequence[str], table: LabelSource) -> JoinedLabels:
    r"""Find the rows of a label table that fit given paths.

    Rows match by absolute path. Where none does (the store was made elsewhere, or the images
    moved), a path of the table matches the one given path that ends in it, by whole folder names:
    ``cats/1.jpg`` fits ``/data/cats/1.jpg`` but not ``/data/bobcats/1.jpg``. Either way a path
    that fits no image as it is written fits the image whose path is the same text in another form
    of Unicode, with "\" for "/", or with spaces around it.

    Parameters
    ----------
    paths : sequence of str
        Absolute, as a store has them; each at most once.
    table : path, data frame or mapping
        See `read_labels`.

    Returns
    -------
    JoinedLabels
        What fits nothing, on either side, is left out and counted.

    Raises
    ------
    ManifestError
        If nothing matches, or if a row fits several paths, or rows of one path differ; with
        counts and an example of both sides.
    """
    names, read = tuple(map(str, paths)), read_labels(table)
    matches = find_matches(names, read)
    check_matches(matches, names, read)
    keys = [match[0] if match else -1 - j for j, match in enumerate(matches)]
    row_of = {image: j for j, image in enumerate(dict.fromkeys(keys)) if image >= 0}
    rows = sorted(row_of)
    return JoinedLabels(
        names,
        read.merge(keys),
        np.array(rows, dtype=np.intp),
        np.array([row_of[i] for i in rows], dtype=np.intp),
        tuple(read.written[j] for j, match in enumerate(matches) if not match),
    )


def _match(images: Any, table: LabelSource | None) -> JoinedLabels:
    """Join a table to images, or take what the images say themselves."""
    paths = tuple(map(str, images.paths))
    if table is not None:
        return join_labels(paths, table)
    labels = images.labels
    own = LabelTable(
        paths,
        ("",) * len(paths) if labels is None else tuple(map(str, labels)),
        {name: tuple(map(str, values)) for name, values in _get_columns(images).items()},
        paths,
        f"store {images.path!r}" if hasattr(images, "path") else "source",
        paths,
    )
    every = np.arange(len(paths))
    return JoinedLabels(paths, own, every, every)


def _get_columns(images: Any) -> Mapping[str, Any]:
    return dict(images.metadata if hasattr(images, "metadata") else images.columns)


def _read_numbers(columns: Mapping[str, Sequence[str]], table: LabelTable) -> NDArray[np.float64]:
    """Return 1, 0 and NaN, (n_rows, n_attributes)."""
    # Each text once: millions of values are few different ones.
    words = {
        name: {text: as_text(text).lower() for text in set(column)}
        for name, column in columns.items()
    }
    numbers = np.empty((len(table.paths), len(columns)))
    for k, (name, column) in enumerate(columns.items()):
        meaning = dict(VALUES)
        if "-1" in words[name].values():
            meaning["-1"] = _read_minus_one(name, words, table, columns)
        known = {text: meaning.get(word) for text, word in words[name].items()}
        if None in known.values():
            j = next(j for j, text in enumerate(column) if known[text] is None)
            raise ManifestError(
                f"{table.thing} {table.places[j]}: column {name!r} has {column[j]!r}, expected "
                "0, 1 or nothing; name the columns that are attributes (--attributes)"
            )
        numbers[:, k] = [known[text] for text in column]
    return numbers


def _read_minus_one(
    name: str,
    words: Mapping[str, Mapping[str, str]],
    table: LabelTable,
    columns: Mapping[str, Sequence[str]],
) -> float:
    """Tell CheXpert's -1, "not known" beside 0 and 1, from CelebA's, "no" beside 1 alone."""
    no = {word for word, value in VALUES.items() if value == 0}
    other = next((k for k in (name, *words) if not no.isdisjoint(words[k].values())), None)
    if other == name:
        return np.nan
    if other is None:
        return 0.0
    place = table.places[[words[name][text] for text in columns[name]].index("-1")]
    raise ManifestError(
        f"{table.thing} {place}: column {name!r} has -1 and no 0, while column {other!r} has 0, "
        "so that -1 may mean no or not known; write 0 for no and nothing for not known, or name "
        "columns of one kind (--attributes)"
    )
