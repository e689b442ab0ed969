"""Words as places in feature space, by the classes that a network was trained to tell apart.

The row of a classifier is the direction in which features of its class lie. ImageNet's thousand
classes have the names that WordNet gives them, and so have the wider terms above them: "dog" is
118 of its classes. Needs no torch. `heads` takes a network's own classifier for this, and `clip`
has words of another kind.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from featx._repr import OneLine
from featx.errors import ParameterError
from featx.recipe import Recipe

__all__ = [
    "ClassWords",
    "Meaning",
    "Names",
    "Words",
    "embedded_words",
    "imagenet_names",
    "rows_file",
]

NAMES_FILE = "imagenet_names.tsv"
EMBEDDED = ("featx_base", "featx_small")
N_CLASSES = 1000
WITH_WORDS = (
    "words are known to 'featx_base' and 'featx_small', to networks of torchvision and timm with "
    "their ImageNet weights, and to 'clip/NAME'"
)
SHOWN, N_NEAR = 3, 3
TINY = 1e-300  # so that what underflows has a logarithm
# WordNet's rules for nouns, morphy(7WN): the end of a plural, and that of its singular.
PLURALS = (("ies", "y"), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"),
           ("shes", "sh"), ("men", "man"), ("s", ""))  # fmt: skip
_ARTICLE = re.compile(r"^(an?|the)\s+")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Meaning:
    """What a word was taken as.

    Parameters
    ----------
    word : str
        As it was asked.
    names : tuple of str
        First names of the classes that it means; the word itself where the network reads text.
    classes : tuple of int
        Their numbers.
    """

    word: str
    names: tuple[str, ...]
    classes: tuple[int, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Say it in a line.

        Examples
        --------
        >>> str(Meaning("cat", ("tabby", "tiger cat", "Persian cat", "Siamese cat")))
        'cat (tabby, tiger cat, Persian cat and 1 more)'
        """
        if self.names == (self.word,):
            return self.word
        more = f" and {len(self.names) - SHOWN} more" if len(self.names) > SHOWN else ""
        return f"{self.word} ({', '.join(self.names[:SHOWN])}{more})"


class Words(ABC):
    """What turns words into vectors of a network's feature space.

    Attributes
    ----------
    has_classes : bool
        Whether `log_shares` says more of a feature than the vectors do.
    """

    has_classes: ClassVar[bool] = False

    @abstractmethod
    def meaning(self, word: str) -> Meaning:
        """Say what a word is taken as.

        Raises
        ------
        ParameterError
            If it is not known, with the nearest words that are.
        """

    @abstractmethod
    def vectors(self, words: Sequence[str]) -> Floats:
        """Return a vector of length 1 for each word, (n_words, n_features)."""


@dataclass(frozen=True)
class Names:
    """Names of classes, with the wider terms above them.

    Parameters
    ----------
    first : tuple of str
        The first name of each class.
    classes_of : dict of str to tuple of int
        By every name, spelled as `_key` does it: the classes that it means.
    spelled : dict of str to str
        The same names as they are written.
    """

    first: tuple[str, ...]
    classes_of: dict[str, tuple[int, ...]] = field(repr=False)
    spelled: dict[str, str] = field(repr=False)

    def find(self, word: str) -> Meaning:
        """Return what a name means, in singular or plural, whatever its capitals and spaces.

        Raises
        ------
        ParameterError
            If it is unknown, with the nearest names that are known.

        Examples
        --------
        >>> imagenet_names().find("sea shores").names
        ('seashore',)
        >>> len(imagenet_names().find("Dog").names)
        118
        """
        for key in _forms(word):
            if key in self.classes_of:
                classes = self.classes_of[key]
                return Meaning(word, tuple(self.first[i] for i in classes), classes)
        raise ParameterError(
            f"text: got {word!r}, which is no name that the network's classifier knows"
            f"{self._nearest(word)}; expected one of ImageNet's {len(self.first):,} names or a "
            "wider term such as 'dog', or a network that reads text (clip/NAME)"
        )

    def _nearest(self, word: str) -> str:
        """Name what is spelled alike, or has the word in it."""
        key, bare = _forms(word)[0], word.casefold()
        near = [n for n in self.spelled.values() if bare in n.casefold().split()]
        alike = difflib.get_close_matches(key, list(self.spelled), n=N_NEAR, cutoff=0.6)
        near = list(dict.fromkeys([*near, *(self.spelled[k] for k in alike)]))[:N_NEAR]
        return f" (nearest: {', '.join(near)})" if near else ""


@dataclass(frozen=True, repr=False)
class ClassWords(Words, OneLine):
    """Words by the rows of a classifier.

    Parameters
    ----------
    names : Names
        Of its classes.
    rows : ndarray of shape (n_classes, n_features), float32
        What the classifier multiplies a feature by.
    bias : ndarray of shape (n_classes,), float32
        What it adds.
    """

    has_classes = True

    names: Names
    rows: Floats
    bias: Floats

    def meaning(self, word: str) -> Meaning:
        """Return the classes that a word means."""
        return self.names.find(word)

    def vectors(self, words: Sequence[str]) -> Floats:
        """Return the mean direction of each word's rows, (n_words, n_features)."""
        found = np.empty((len(words), self.rows.shape[1]), np.float32)
        for i, word in enumerate(words):
            rows = self.rows[list(self.meaning(word).classes)]
            mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
            found[i] = mean / np.linalg.norm(mean)
        return found

    def log_shares(self, X: Floats, words: Sequence[str]) -> tuple[Floats, Floats]:
        """Say how sure the classifier is of each word, and of each word's opposite.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features), float32
            Features as the network gives them.
        words : sequence of str

        Returns
        -------
        log_shares, log_rests : ndarray of shape (n_samples, n_words), float32
            Logarithms of the share of the softmax that falls on the word's classes, and on all
            others.
        """
        logits = X @ self.rows.T + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits, dtype=np.float64)
        whole = odds.sum(axis=1)
        shares, rests = (np.empty((len(X), len(words)), np.float32) for _ in range(2))
        for i, word in enumerate(words):
            mine = np.zeros(len(self.rows), bool)
            mine[list(self.meaning(word).classes)] = True
            shares[:, i] = np.log(odds[:, mine].sum(axis=1) / whole + TINY)
            rests[:, i] = np.log(odds[:, ~mine].sum(axis=1) / whole + TINY)
        return shares, rests


@functools.cache
def imagenet_names() -> Names:
    """Return the names of ImageNet's classes and of the wider terms above them.

    From WordNet 3.0 (data/README.md). A name of several classes means them all; a wider term has
    been given its commonest sense.
    """
    lines = (resources.files("featx.backbones") / "data" / NAMES_FILE).read_text("utf-8")
    table = [line.split("\t") for line in lines.splitlines()]
    parents = {place: above.split() for place, above, _ in table}
    names = {place: each.split(", ") for place, _, each in table if each}
    classes_of: dict[str, set[int]] = {}
    for number, (place, _, _) in enumerate(table[:N_CLASSES]):
        for term in {place, *_list_above(parents[place], parents)}:
            for name in names.get(term, ()):
                classes_of.setdefault(_key(name), set()).add(number)
    return Names(
        first=tuple(names[place][0] for place, _, _ in table[:N_CLASSES]),
        classes_of={key: tuple(sorted(numbers)) for key, numbers in classes_of.items()},
        spelled={_key(name): name for each in names.values() for name in each},
    )


def _list_above(parents: Iterable[str], all_parents: dict[str, list[str]]) -> set[str]:
    above: set[str] = set()
    new = list(parents)
    while new:
        one = new.pop()
        if one not in above:
            above.add(one)
            new += all_parents[one]
    return above


def _key(name: str) -> str:
    """Return a name without what people spell differently: capitals, spaces, hyphens."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _forms(word: str) -> list[str]:
    """Return the keys that a word may stand under: as it is, in singular and in plural."""
    key = _key(_ARTICLE.sub("", word.casefold().strip()))
    singular = [key.removesuffix(s) + one for s, one in PLURALS if key.endswith(s)]
    return [key, *singular, f"{key}s"]


def embedded_words(recipe: Recipe) -> ClassWords | None:
    """Return the words of a network inside the package; None of any other, or of other weights."""
    if recipe.backbone not in EMBEDDED:
        return None
    words, weights = _read_embedded(recipe.backbone)
    return words if recipe.weights == weights else None


def rows_file(name: str) -> str:
    """Return the name of the file with the classifier's rows of a network inside the package."""
    return f"{name}_words.safetensors"


@functools.cache
def _read_embedded(name: str) -> tuple[ClassWords, str]:
    """Return the words, and the digest of the weights that they are for."""
    from safetensors import safe_open

    place = resources.files("featx.backbones") / "data" / rows_file(name)
    with resources.as_file(place) as path, safe_open(path, framework="numpy") as file:
        notes = file.metadata()
        rows = file.get_tensor("rows") * np.float32(json.loads(notes["step"]))
        return ClassWords(imagenet_names(), rows, file.get_tensor("bias")), notes["weights"]
