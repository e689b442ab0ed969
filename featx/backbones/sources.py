"""What a source of networks must offer, and what is known of a network before it is built.

A new source is a class like those in `_torchvision` and `_timm`, and a line in
`catalogue.SOURCES`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from featx.backbones.heads import classifier_words
from featx.backbones.weights import load_into, read_state_dict
from featx.backbones.words import Words
from featx.engines.engine import Network
from featx.recipe import Preprocessing

__all__ = ["BackboneCard", "Source", "WeightsEntry"]

SEED = 0


@dataclass(frozen=True)
class WeightsEntry:
    """Published weights of a network.

    Parameters
    ----------
    name : str
        As `load_backbone` takes it, for example "IMAGENET1K_V2".
    url : str or None
        Where they are fetched from; None where they are inside the package.
    preprocessing : Preprocessing
        What the images were made into when these weights were evaluated.
    """

    name: str
    url: str | None = field(repr=False)
    preprocessing: Preprocessing = field(repr=False)


@dataclass(frozen=True)
class BackboneCard:
    """What is known of a network before it is built.

    Parameters
    ----------
    name : str
        As `list_backbones` has it.
    source : str
        "featx" (weights inside the package), "torchvision" or "timm".
    weights : tuple of WeightsEntry
        Published weights, the default first.
    local : Preprocessing
        What goes with a weights file of the user's own: that of the network's first published
        weights, since that is what files that lie about usually are.
    n_parameters : int or None
        Weights in the whole network; None where only building it tells.
    license : str or None
        Terms of the default weights where the source states them.
    ignored : tuple of str
        Prefixes of names of tensors that files may hold and the network does not use.
    """

    name: str
    source: str
    weights: tuple[WeightsEntry, ...]
    local: Preprocessing
    n_parameters: int | None = None
    license: str | None = None
    ignored: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(entry.name for entry in self.weights) or "none published"
        return f"BackboneCard({self.name!r}, source={self.source!r}, weights: {names})"

    @property
    def default(self) -> WeightsEntry | None:
        """The weights that "default" means; None where none are published."""
        return self.weights[0] if self.weights else None


class Source(ABC):
    """A collection of networks.

    Attributes
    ----------
    prefix : str
        What its names begin with. A source without one is listed by default, and its networks are
        found by their bare names; one with a prefix is searched where nothing else fits.
    """

    prefix: ClassVar[str] = ""

    @property
    def is_installed(self) -> bool:
        """Whether the package that it needs is installed."""
        return True

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names, sorted; cheap."""

    def has(self, name: str) -> bool:
        """Tell whether there is a network of a name."""
        return name in self.names()

    @abstractmethod
    def card(self, name: str) -> BackboneCard:
        """Return what is known of one network without building it."""

    @abstractmethod
    def build(
        self, card: BackboneCard, *, px: int | None, any_size: bool
    ) -> tuple[nn.Module, str | None]:
        """Build the network with weights of any value, on the CPU, and name its final classifier.

        For images of `px`, where it is built for one size; with `any_size` so that it takes other
        sizes too, where it can, with the same weights. The classifier, whose input is the
        penultimate feature, is None where the network's output is the feature itself.
        """

    @abstractmethod
    def fetch(self, card: BackboneCard, entry: WeightsEntry, module: nn.Module) -> str:
        """Load published weights into the built network; return where they came from."""

    def load(
        self,
        card: BackboneCard,
        entry: WeightsEntry | None,
        path: Path | None,
        *,
        px: int | None,
        any_size: bool,
    ) -> tuple[nn.Module, str | None, str]:
        """Build the network with published weights, those of a file, or seeded random ones.

        Returns
        -------
        module : nn.Module
        head : str or None
            As `build` names it.
        origin : str
            Where the weights came from, for people.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            module, head = self.build(card, px=px, any_size=any_size)
        if entry is not None:
            return module, head, self.fetch(card, entry, module)
        if path is None:
            return module, head, f"random (seed {SEED})"
        has_head = load_into(
            module,
            read_state_dict(path),
            name=f"weights {str(path)!r} for backbone {card.name!r}",
            ignored=card.ignored,
            head=head,
        )
        origin = os.path.abspath(path)  # noqa: PTH100
        return module, head, origin if has_head else f"{origin} (without its classifier)"

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return, by the names of their files, published weights that fit the network."""
        return {entry.url.rpartition("/")[2]: entry for entry in card.weights if entry.url}

    def guess(self, card: BackboneCard, path: Path) -> tuple[Preprocessing, str]:
        """Return what goes with a file that is not published, and what that is like."""
        same = (e.name for e in card.weights if e.url and e.preprocessing == card.local)
        return card.local, f"as for {next(same, card.name)}"

    def words(self, network: Network) -> Words:
        """Return what turns words into vectors of a built network's features.

        By default the rows of its final classifier, if its classes are ImageNet's.

        Raises
        ------
        BackboneError
            If it has no words.
        """
        return classifier_words(network)
