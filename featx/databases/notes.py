"""From a store to rows of a database: ids, revisions, typed columns, and the note beside them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.databases.base import Rows
from featx.errors import FileFormatError, FingerprintMismatchError, ParameterError
from featx.fingerprint import bytes_digest
from featx.recipe import Recipe, require_same_recipe
from featx.store import FeatureStore
from featx.store.columns import convert_column, text_columns

__all__ = ["StoreRows", "as_begun", "is_finished", "read_recipe", "require_fitting"]

NOTE_FORMAT = 1
RESERVED = ("id", "revision", "vector", "distance")


class StoreRows:
    """The rows of a store under the ids that they have in a database.

    The id is the SHA-256 of the image's content, so that a renamed image keeps its own; of copies
    the second in the order of paths has ``.1`` behind it, and so on. Where the content is not
    known it is the SHA-256 of the path.

    Attributes
    ----------
    ids : list of str
        In the order of the store's rows.
    note : dict
        What goes beside the rows: recipe, width, and the columns' names and types.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        text = text_columns(store)
        converted = {name: convert_column(values) for name, values in text.items()}
        converted |= {name: ("text", text[name]) for name in ("path", "label")}
        names = _plain_names(list(text))
        self.ids = _list_ids(store.digests.tolist(), text["path"])
        self._columns = {
            ours: converted[theirs][1] for ours, theirs in zip(names, text, strict=True)
        }
        self.note = {
            "featx_note": NOTE_FORMAT,
            "recipe": None if store.recipe is None else store.recipe.to_dict(),
            "made_with": store.made_with,
            "n_features": store.n_features,
            "columns": [
                [ours, theirs, converted[theirs][0]]
                for ours, theirs in zip(names, text, strict=True)
            ],
        }

    def read(self, start: int, stop: int) -> Rows:
        """Return some rows, each with a digest of all that is in it as its revision."""
        vectors = np.ascontiguousarray(self._store[start:stop], np.float32)
        columns = {name: values[start:stop] for name, values in self._columns.items()}
        beside = zip(*columns.values(), strict=True)
        revisions = [
            hashlib.blake2b(
                vector.tobytes() + json.dumps(values).encode(), digest_size=12
            ).hexdigest()
            for vector, values in zip(vectors, beside, strict=True)
        ]
        return Rows(self.ids[start:stop], vectors, {"revision": revisions, **columns})


def _list_ids(digests: Sequence[str], paths: Sequence[str]) -> list[str]:
    known = [
        digest or bytes_digest(b"path\0" + path.encode())
        for digest, path in zip(digests, paths, strict=True)
    ]
    seen: Counter[str] = Counter()
    ids = list(known)
    for row in sorted(range(len(known)), key=paths.__getitem__):
        if n := seen[known[row]]:
            ids[row] = f"{known[row]}.{n}"
        seen[known[row]] += 1
    return ids


def _plain_names(names: Sequence[str]) -> list[str]:
    """Return names that every engine takes: ASCII letters, digits and "_", whatever the case."""
    taken = set(RESERVED)
    plain = []
    for name in names:
        word = re.sub(r"\W", "_", name, flags=re.ASCII)
        word = word if re.match("[A-Za-z]", word) else f"c{word}"
        tried = [word, *(f"{word}_{i}" for i in range(2, len(names) + len(RESERVED) + 2))]
        free = next(w for w in tried if w.lower() not in taken)
        taken.add(free.lower())
        plain.append(free)
    return plain


def as_begun(note: dict[str, Any]) -> dict[str, Any]:
    """Return a note that says that rows are still being written."""
    return {**note, "finished": False}


def is_finished(note: dict[str, Any] | None) -> bool:
    """Say whether the last sync came to its end."""
    return note is not None and note.get("finished", True)


def read_recipe(note: dict[str, Any]) -> Recipe | None:
    """Return the recipe of a note."""
    return None if note["recipe"] is None else Recipe.from_dict(note["recipe"])


def require_fitting(
    there: dict[str, Any], note: dict[str, Any], *, store: str, thing: str
) -> None:
    """Refuse a table of another format, recipe, width, or other columns.

    Raises
    ------
    FileFormatError, FingerprintMismatchError, ParameterError
        With both values.
    """
    remedy = "name another table with ?table=NAME, or replace this one with --anew"
    if there.get("featx_note") != NOTE_FORMAT:
        raise FileFormatError(
            f"{thing}: has a note of format {there.get('featx_note')!r}, expected {NOTE_FORMAT}; "
            "it was written by another version of featx: upgrade with pip install -U featx"
        )
    mine, theirs = read_recipe(note), read_recipe(there)
    if (mine is None) != (theirs is None):
        names = [
            "made outside featx" if r is None else f"recipe {r.fingerprint}"
            for r in (mine, theirs)
        ]
        raise FingerprintMismatchError(
            f"{thing}: holds features that are {names[1]}, and {store!r} has such that are "
            f"{names[0]}, expected the same; {remedy}"
        )
    require_same_recipe(mine, theirs, thing=f"store {store!r}", maker=thing)
    for what, show in (("n_features", str), ("columns", _show_columns)):
        if there[what] != note[what]:
            raise ParameterError(
                f"{thing}: has {what} {show(there[what])}, and {store!r} has "
                f"{show(note[what])}, expected the same; {remedy}"
            )


def _show_columns(columns: list[list[str]]) -> str:
    return ", ".join(f"{theirs} ({kind})" for _, theirs, kind in columns)
