"""Words that are asked for: what they were taken as, and their vectors.

A question is one phrase or several, which add up; one with a minus before it takes away:
``"dog -snow"`` or ``["dog", "-snow"]``. A name of several words, such as "fire engine", is one
phrase. A network inside the package is not loaded for it, nor is torch.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._repr import OneLine
from featx.backbones.names import is_own
from featx.backbones.words import WITH_WORDS, ClassWords, Meaning, Words, embedded_words
from featx.errors import BackboneError, FingerprintMismatchError, ParameterError
from featx.recipe import Recipe

__all__ = ["Phrase", "WordQuery", "ask_words", "load_words", "parse_words"]

_BREAK = re.compile(r"\s+(?=[+-]\S)")
# How much a step of cosine counts beside words, where a query has an image too. From 5 to 40 the
# answer hardly changes (docs/words.md).
IMAGE_SHARPNESS = 10.0
PENULTIMATE, POOLINGS = "penultimate", ("none", "avg")  # what a classifier's rows multiply
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Phrase:
    """One thing that is asked for, or to be absent."""

    text: str
    is_wanted: bool = True


def parse_words(text: str | Sequence[str]) -> tuple[Phrase, ...]:
    """Take a question apart.

    Parameters
    ----------
    text : str, or sequence of str
        Phrases, of which each may have further ones behind a space and a plus or minus.

    Raises
    ------
    ParameterError
        If there is no phrase, or one without letters.

    Examples
    --------
    >>> parse_words("fire engine -snow")
    (Phrase(text='fire engine', is_wanted=True), Phrase(text='snow', is_wanted=False))
    """
    given = [text] if isinstance(text, str) else list(text)
    if not all(isinstance(each, str) for each in given):
        raise ParameterError(f"text: got {given!r:.100}, expected words, or several of them")
    parts = [part for each in given for part in _BREAK.split(each.strip())]
    phrases = tuple(
        Phrase(part.removeprefix("-").removeprefix("+").strip(), not part.startswith("-"))
        for part in parts
    )
    if not phrases or not all(re.search(r"\w", phrase.text) for phrase in phrases):
        raise ParameterError(
            f"text: got {text!r}, expected words such as 'fire engine', with a minus before what "
            "is to be absent, as in 'dog -snow'"
        )
    return phrases


@dataclass(frozen=True, repr=False)
class WordQuery(OneLine):
    """A question in words.

    Parameters
    ----------
    phrases : tuple of Phrase
    meanings : tuple of Meaning
        What each was taken as.
    words : Words
        Of the network.
    """

    phrases: tuple[Phrase, ...]
    meanings: tuple[Meaning, ...] = field(repr=False)
    words: Words = field(repr=False)

    @property
    def name(self) -> str:
        """The question in a line, with what each phrase was taken as."""
        signs = ("" if phrase.is_wanted else "-" for phrase in self.phrases)
        return " ".join(f"{sign}{what}" for sign, what in zip(signs, self.meanings, strict=True))

    def require_wish(self) -> None:
        """Refuse a question that only takes away.

        Raises
        ------
        ParameterError
            If it does.
        """
        if not any(phrase.is_wanted for phrase in self.phrases):
            raise ParameterError(
                f"text: got {self.name!r}, which only says what is to be absent; expected also "
                "what to look for, in words or as an image"
            )

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return what each phrase was taken as, JSON-serialisable."""
        return [
            {"text": phrase.text, "is_wanted": phrase.is_wanted, "names": list(meaning.names)}
            for phrase, meaning in zip(self.phrases, self.meanings, strict=True)
        ]

    def vectors(self, images: Floats | None = None) -> Floats:
        """Return the sum of the phrases' vectors, less those that are taken away.

        Parameters
        ----------
        images : ndarray of shape (n_images, n_features), optional
            Added to it at length 1, each by itself.

        Returns
        -------
        ndarray of shape (n_images or 1, n_features), float32
            Of length 1.
        """
        signs = np.array([1 if phrase.is_wanted else -1 for phrase in self.phrases], np.float32)
        total = signs @ self.words.vectors([phrase.text for phrase in self.phrases])
        return _to_unit(total[None] if images is None else total + _to_unit(images))

    def distances(self, X: Floats, image: Floats | None = None) -> Floats:
        """Return how far features are from the question by a network's own classifier.

        This is 1 - p, where p is the share of the softmax that falls on what is asked for (of
        several phrases the geometric mean) times the share that does not fall on what is taken
        away, and, with an image, times exp(10 (cos - 1)).

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features), float32
            As the network gives them.
        image : ndarray of shape (n_features,), optional

        Returns
        -------
        ndarray of shape (n_samples,), float32
            From 0 to 1.
        """
        assert isinstance(self.words, ClassWords)
        shares, rests = self.words.log_shares(X, [phrase.text for phrase in self.phrases])
        wanted = np.array([phrase.is_wanted for phrase in self.phrases])
        log_p = rests[:, ~wanted].sum(axis=1)
        if wanted.any():
            log_p += shares[:, wanted].mean(axis=1)
        if image is not None:
            log_p += IMAGE_SHARPNESS * (_to_unit(X) @ _to_unit(image[None])[0] - 1)
        distances: Floats = -np.expm1(np.minimum(log_p, 0))
        return distances


def _to_unit(X: Floats) -> Floats:
    unit: Floats = X / np.maximum(np.linalg.norm(X, axis=-1, keepdims=True), 1e-30)
    return unit


def ask_words(
    text: str | Sequence[str],
    recipe: Recipe | None,
    made_with: Mapping[str, Any],
    *,
    weights: str | os.PathLike[str] | None = None,
) -> WordQuery:
    """Turn words into a question to features of a recipe.

    Parameters
    ----------
    text : str, or sequence of str
        See `parse_words`.
    recipe, made_with, weights
        As for `featx.extraction.embed.load_by_recipe`.

    Raises
    ------
    ParameterError
        If a word is not known, with the nearest that are.
    BackboneError
        If the network has no words, or the features are not of the layer that has them.
    """
    phrases = parse_words(text)
    if recipe is None:
        raise BackboneError(
            "text: the features were made outside featx, so that no network is known for words; "
            "expected those of featx extract"
        )
    found = weights or made_with.get("weights", "default")
    words = load_words(recipe, None if found is None else os.fspath(found))
    return WordQuery(phrases, tuple(words.meaning(phrase.text) for phrase in phrases), words)


@functools.lru_cache(maxsize=4)
def load_words(recipe: Recipe, weights: str | None) -> Words:
    """Return the words of the network that features were made with.

    Raises
    ------
    BackboneError
        If it has none, or the features are not of the layer that has them.
    """
    words = embedded_words(recipe) or _build_words(recipe, weights)
    n_features = words.vectors([]).shape[1]
    if (
        recipe.layer != PENULTIMATE
        or recipe.pooling not in POOLINGS
        or recipe.n_features != n_features
    ):
        raise BackboneError(
            f"text: got features of layer {recipe.layer!r}, pooling {recipe.pooling!r}, augment "
            f"{recipe.augment!r}, of {recipe.n_features} numbers; backbone {recipe.backbone!r} "
            f"has words for layer {PENULTIMATE!r} only, averaged, of {n_features} numbers: "
            "extract that one"
        )
    return words


def _build_words(recipe: Recipe, weights: str | None) -> Words:
    if is_own(recipe.backbone) or weights is None:
        what = "is a module of your own" if is_own(recipe.backbone) else "has random weights"
        raise BackboneError(f"text: backbone {recipe.backbone!r} {what}; {WITH_WORDS}")
    from featx.backbones.catalogue import source_of
    from featx.backbones.load import build_network
    from featx.backbones.weights import state_digest

    network = build_network(recipe.backbone, weights=weights)
    if state_digest(network.module) != recipe.weights:
        raise FingerprintMismatchError(
            f"backbone {recipe.backbone!r} with weights {weights!r} is not what the "
            "features were made with, so that its words do not fit them; pass the weights of then "
            "(--weights FILE)"
        )
    return source_of(recipe.backbone).words(network)
