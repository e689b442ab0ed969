"""`LabelSession`: labels given one after another, and what follows from them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._values import as_text, is_missing
from featx.errors import ParameterError, choose, nearest, require_count
from featx.labelling._answers import Answers, read_values
from featx.labelling._guesses import Guesser
from featx.labelling._pool import Pool
from featx.labelling._probes import Probes
from featx.labelling._words import WordFinder
from featx.labelling.label_file import LabelFile, Values
from featx.labelling.measures import (
    Measures,
    do_nothing,
    measure,
    measure_attributes,
    probability_of_labels,
)
from featx.labelling.suggest import STRATEGIES, Suggestion, choose_rows, describe
from featx.store.reader import FeatureStore, open_store

__all__ = ["NONE", "LabelSession"]

NONE = ""
"""The label of an image that belongs to none of the classes."""

BY_WORDS = "fits the words"
FORMULA = re.compile(r"[=+@-](?![0-9.]+$)")  # a negative number is none

Rows = NDArray[np.intp]


class LabelSession:
    """Label the images of a store, and see after each label what to label next.

    Parameters
    ----------
    store : FeatureStore or path
        The images.
    labels : path
        The label file (``path,label``, or ``path`` and a 0/1 column for each attribute). It is
        made with the first label. Every label is in it when the call that gave it returns.
    classes : sequence of str, default ()
        Names to begin with; labels of the file are added, and any new label that is given. Where
        all are words that the network inside the package knows, they are guessed from the start.
    attributes : sequence of str, default ()
        Label these attributes, several for each image, in the place of one class.
    random_state : int, default 0
        Draws samples of collections of more than 3,000 images.

    Raises
    ------
    ManifestError
        If the file is no label file, fits no image, or says two things of one image.

    Notes
    -----
    Several sessions and other programs may write one file: it is read again before each change,
    and what somebody else wrote is kept. Lines of images that are not in the store stay.

    Examples
    --------
    >>> import numpy as np, tempfile, pathlib
    >>> from featx.store import write_features
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> X = np.repeat(np.eye(2), 6, axis=0) + np.linspace(0, 0.2, 24).reshape(12, 2)
    >>> paths = [str(folder / f"{i}.jpg") for i in range(12)]
    >>> store = write_features(folder / "f.h5", X, paths=paths)
    >>> session = LabelSession(store, folder / "labels.csv", classes=["cat", "dog"])
    >>> first, second = session.suggest(n=2)
    >>> session.add({first.row: "cat", second.row: "dog"})
    >>> session.suggest(n=1)[0].label in ("cat", "dog")
    True
    >>> sorted((folder / "labels.csv").read_text().split())[-1]
    'path,label'
    """

    def __init__(
        self,
        store: FeatureStore | str | os.PathLike[str],
        labels: str | os.PathLike[str],
        *,
        classes: Sequence[str] = (),
        attributes: Sequence[str] = (),
        random_state: int = 0,
    ) -> None:
        self.store = store if isinstance(store, FeatureStore) else open_store(store)
        self.attributes = tuple(attributes)
        self.random_state = random_state
        self.pool = Pool(self.store, random_state)
        self.paths: list[str] = self.store.paths.tolist()
        self._row_of = {path: row for row, path in enumerate(self.paths)}
        self.file = LabelFile(labels, self.paths, self.attributes or ("label",))
        self._asked_for = [_check_name(name) for name in classes]
        self._words = WordFinder(self.store, self._asked_for)
        self._skipped: set[int] = set()
        self._confirmed: set[int] = set()  # labelled in this session, so not to be reviewed
        self._done: list[dict[int, Values | None]] = []  # what each change has replaced
        self._fitted: tuple[Answers, Guesser | None] | None = None  # to the labels of now
        self._guesser: Guesser | None = None  # the last one, where the next one begins
        self._probes = Probes()

    # -- what has been said --

    @property
    def labels(self) -> dict[str, str | dict[str, str]]:
        """The label of each image by path; of attributes a dict of "1", "0" and ""."""
        found = self.file.values
        if self.attributes:
            return {
                self.paths[row]: dict(zip(self.attributes, values, strict=True))
                for row, values in found.items()
            }
        return {self.paths[row]: values[0] for row, values in found.items()}

    def labels_of(self, image: int | str) -> list[str] | None:
        """Return the class of an image, or its attributes; none of them, or None: no label."""
        values = self.file.values.get(self.row_of(image))
        if values is None:
            return None
        if self.attributes:
            return [name for name, v in zip(self.attributes, values, strict=True) if v == "1"]
        return [name for name in values if name]

    @property
    def classes(self) -> list[str]:
        """Names of the classes: those to begin with, then others as they came up."""
        given = [v[0] for v in self.file.values.values() if v[0] and not self.attributes]
        return list(dict.fromkeys([*self._asked_for, *given]))

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._done)

    @property
    def can_train(self) -> bool:
        """Whether there are two classes, or an attribute with both answers."""
        return self._answers().can_fit

    def count(self) -> dict[str, int]:
        """Return the number of labels of each class, or of images with each attribute."""
        if self.attributes:
            columns = zip(*self.file.values.values(), strict=True) if self.file.values else ()
            return {
                name: column.count("1")
                for name, column in zip(
                    self.attributes, columns or [()] * len(self.attributes), strict=True
                )
            }
        given = Counter(values[0] for values in self.file.values.values())
        return {name: given[name] for name in self.classes}

    def add(self, labels: Mapping[Any, Any]) -> None:
        """Label images; all of it is in the file when this returns.

        Parameters
        ----------
        labels : mapping of int or str to str
            By row or path: a class, "" for "none of these"; of attributes a collection of those
            that the image has, or a mapping of some to True or False.

        Raises
        ------
        ParameterError
            If there is no such image or attribute.
        ManifestError, StoreWriteError
            If the file cannot be read or written; then none of the labels is kept.
        """
        self.file.refresh()
        changes: dict[int, Values | None] = {
            self.row_of(image): self._values(label) for image, label in labels.items()
        }
        self._put(changes)
        self._confirmed.update(changes)

    def undo(self) -> list[int]:
        """Take the last change back, and return its rows; none where there is nothing to undo."""
        if not self._done:
            return []
        before = self._done[-1]
        self.file.put(before)
        self._done.pop()
        self._confirmed.difference_update(before)
        self._fitted = None
        return list(before)

    def skip(self, images: Sequence[int | str]) -> None:
        """Do not suggest images again in this session; the file says nothing of them."""
        self._skipped.update(self.row_of(image) for image in images)

    def refresh(self) -> list[str]:
        """Read the file again where somebody else wrote it, and say what has changed."""
        if not self.file.refresh():
            return []
        self._fitted = None
        return self.file.messages

    # -- what follows --

    def suggest(self, n: int = 24, strategy: str = "auto") -> list[Suggestion]:
        """Return the images to label next, best first; see `featx.suggest`."""
        choose("strategy", strategy, STRATEGIES)
        require_count("n", n)
        answers, guesser = self._fit()
        taken = self._list_taken(answers)
        rows = choose_rows(self.pool, taken, guesser, n, strategy, self.random_state)
        return self._describe(rows, guesser, strategy)

    def find_likely(self, name: str, n: int = 24) -> list[Suggestion]:
        """Return the images without a label that most probably have a class or an attribute."""
        require_count("n", n)
        answers, guesser = self._fit()
        known = [] if guesser is None else guesser.names.tolist()
        if name not in known and name in self._asked_for and self._words.knows_names:
            return self.find_by_words(name, n)
        if guesser is None or name not in known:
            raise ParameterError(
                f"class {name!r}: has no labels to learn from, expected one of {known}; label an "
                f"image of it and one of another class first.{nearest(name, known)}"
            )
        free = np.setdiff1d(np.arange(len(self.pool)), self._list_taken(answers))
        p = guesser.probabilities(free)[:, known.index(name)]
        return self._describe(free[np.argsort(-p, kind="stable")[:n]], guesser, "auto")

    def find_doubtful(self, n: int = 24) -> list[Suggestion]:
        """Return labelled images to look at again, the most doubtful first, with their labels.

        A label is as doubtful as it is improbable by a probe that has not seen it. Images that
        were labelled in this session are left out; attributes come in the order of the file.
        """
        require_count("n", n)
        answers, _ = self._fit()
        doubts = np.arange(len(answers.rows), dtype=float)
        if not self.attributes:
            doubts = probability_of_labels(self.pool.X[answers.rows], answers.labels)
        order = [k for k in np.argsort(doubts, kind="stable").tolist()
                 if int(answers.rows[k]) not in self._confirmed][:n]  # fmt: skip
        found = []
        for k in order:
            row = int(answers.rows[k])
            label = ";".join(self.labels_of(row) or ())
            confidence = None if self.attributes else float(doubts[k])
            found.append(Suggestion(row, self.paths[row], label, confidence, "labelled before"))
        return found

    def find_similar(self, image: int | str, n: int = 24) -> list[Suggestion]:
        """Return the images that look most like one, labelled or not, itself first."""
        require_count("n", n)
        cosine = self.pool.X @ self.pool.X[self.row_of(image)]
        n = min(n, len(cosine))
        best = np.argpartition(-cosine, n - 1)[:n]
        rows = best[np.argsort(-cosine[best], kind="stable")]
        return self._describe(rows.astype(np.intp), self._fit()[1], "auto")

    def find_by_words(self, text: str, n: int = 24) -> list[Suggestion]:
        """Return the images without a label that words describe best.

        Parameters
        ----------
        text : str
            As for `featx.RetrievalIndex.query`, such as "fire engine" or "dog -husky".
        n : int, default 24

        Raises
        ------
        ParameterError
            If a word is not known, with the nearest that are.
        BackboneError
            If the network of the features has no words.
        """
        require_count("n", n)
        answers, guesser = self._fit()
        rows = self._words.find(text, n, self._list_taken(answers))
        found = self._describe(rows, guesser, "auto")
        return [replace(suggestion, reason=BY_WORDS) for suggestion in found]

    def guess(self, images: Sequence[int | str]) -> list[Suggestion]:
        """Return what the labels so far let expect of some images."""
        rows = np.array([self.row_of(image) for image in images], np.intp)
        return self._describe(rows, self._fit()[1], "auto")

    def measure(self) -> Measures:
        """Return how good a classifier of the labels so far is, and what more would buy."""
        return self.prepare_measures()()

    def prepare_measures(self, wait: Callable[[], None] = do_nothing) -> Callable[[], Measures]:
        """Return what `measure` would do, for another thread while labels come in.

        One after another: each begins with the probes of the one before. `wait` is called before
        each fit.
        """
        answers = self._answers()
        X = self.pool.X[answers.rows]

        def measure_now() -> Measures:
            if not len(answers.rows):
                return measure(X, [])
            weights = self.pool.count_nearest(answers.rows)
            if self.attributes:
                return measure_attributes(X, answers.values, self.attributes, weights, wait=wait)
            labels = answers.labels.tolist()
            return measure(X, labels, weights, ids=answers.rows, probes=self._probes, wait=wait)

        return measure_now

    def row_of(self, image: int | str) -> int:
        """Return the row of an image, given by row or path."""
        if isinstance(image, str):
            row = self._row_of.get(image)
            if row is None:
                raise ParameterError(
                    f"image {image!r}: is not in the store, expected one of its "
                    f"{len(self.paths)} paths, or a row.{nearest(image, self.paths[:2000])}"
                )
            return row
        if not 0 <= image < len(self.paths):
            raise ParameterError(
                f"row {image!r}: expected one of the {len(self.paths)} images, 0 to "
                f"{len(self.paths) - 1}"
            )
        return int(image)

    # -- inside --

    def _put(self, changes: dict[int, Values | None]) -> None:
        before = {row: self.file.values.get(row) for row in changes}
        self.file.put(changes)
        self._done.append(before)
        self._fitted = None

    def _values(self, label: Any) -> Values:
        if not self.attributes:
            name = NONE if label is None else _check_name(label)
            if FORMULA.match(name) and name not in self.classes:
                raise ParameterError(
                    f"label {name!r}: begins with {name[0]!r}, which a spreadsheet takes for a "
                    "formula; begin with a letter or a number"
                )
            return (name,)
        if isinstance(label, Mapping):
            has = dict(label)
        else:
            given = [label] if isinstance(label, str) else list(label)
            has = dict.fromkeys(self.attributes, False) | dict.fromkeys(given, True)
        for name in has:
            choose("attribute", name, self.attributes)
        return tuple(
            "" if (x := has.get(name)) is None else str(int(x)) for name in self.attributes
        )

    def _fit(self) -> tuple[Answers, Guesser | None]:
        if self._fitted is None:
            answers = self._answers()
            self._guesser = answers.fit(self.pool.X, self._guesser)
            self._fitted = answers, self._guesser
        return self._fitted

    def _answers(self) -> Answers:
        return read_values(self.file.values, self.attributes)

    def _list_taken(self, answers: Answers) -> Rows:
        skipped = [row for row in sorted(self._skipped) if row not in self.file.values]
        return np.concatenate([answers.taken, np.array(skipped, np.intp)])

    def _describe(self, rows: Rows, guesser: Guesser | None, strategy: str) -> list[Suggestion]:
        described = describe(self.pool, self.paths, rows, guesser, strategy)
        known = () if guesser is None else guesser.names
        if self.attributes or not set(self._asked_for).difference(known) or not len(rows):
            return described
        # Until each class has a label, their names say more, where they are words.
        names = self._words.guess(rows)
        if names is None:
            return described
        return [
            replace(s, label=name, confidence=None)
            for s, name in zip(described, names, strict=True)
        ]


def _check_name(label: Any) -> str:
    """Return the name of a class as the file will have it when it is read again."""
    name = str(label).strip()
    if "\0" in name or "\n" in name or "\r" in name:
        raise ParameterError(f"label {name!r}: got a line break, expected one line of text")
    if name and is_missing(name):
        raise ParameterError(
            f"label {name!r}: a label file that says so has no label there; choose another name"
        )
    return as_text(name)
