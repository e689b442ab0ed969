"""What the names of folders say: classes, and the parts of a data set that are none."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from featx.errors import FeatxWarning

__all__ = ["folder_label", "labels_of_neighbours", "warn_of_splits"]

SPLIT = re.compile(
    r"(?P<before>.+[-_ ])?"  # seg_train and seg_test, cats-train and cats-test
    r"(train(ing|val)?|val(id(ation)?)?|dev(el)?|eval(uation)?|test(ing)?|hold[-_ ]?out)"
    r"([-_ ]?(set|data|split|imgs|images?))?[-_ ]?\d*",
    re.IGNORECASE,
)


def folder_label(folder: str) -> str:
    """Return the label that a folder's name gives, which is never taken for a missing value."""
    return unicodedata.normalize("NFC", folder).strip()


def labels_of_neighbours(folders: Sequence[str]) -> list[str] | None:
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
    return [folder_label(name) for name in names]


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
