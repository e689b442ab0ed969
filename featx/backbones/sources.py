"""What a source of networks must offer, and what is known of a network before it is built.

A new source is a class like those in `_torchvision` and `_timm`, and a line in
`catalogue.SOURCES`; another package adds one by an entry point (`plugins`).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from featx.backbones.heads import classifier_words
from featx.backbones.weights import load_into, read_state_dict
from featx.backbones.words import Words
from featx.engines.engine import Network
from featx.recipe import Preprocessing

__all__ = ["NOT_PUBLISHED", "BackboneCard", "BuiltSource", "Source", "WeightsEntry"]

SEED = 0
NOT_PUBLISHED = "the file is not one that is published for"


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
    license : str or None
        Their terms, where the source states them.
    """

    name: str
    url: str | None = field(repr=False)
    preprocessing: Preprocessing = field(repr=False)
    license: str | None = None


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
        What goes with a weights file of the user's own: what its folder says; else that of the
        network's first published weights, since that is what files that lie about usually are.
    n_parameters : int or None
        Weights in the whole network; None where only building it tells.
    local_license : str or None
        Terms of the weights in the user's folder, where that states them.
    ignored : tuple of str
        Prefixes of names of tensors that files may hold and the network does not use.
    folder : Path or None
        Where its configuration lies, of a network that a folder describes.
    """

    name: str
    source: str
    weights: tuple[WeightsEntry, ...]
    local: Preprocessing
    n_parameters: int | None = None
    local_license: str | None = None
    ignored: tuple[str, ...] = ()
    folder: Path | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        names = ", ".join(entry.name for entry in self.weights) or "none published"
        return f"BackboneCard({self.name!r}, source={self.source!r}, weights: {names})"

    @property
    def default(self) -> WeightsEntry | None:
        """The weights that "default" means; None where none are published."""
        return self.weights[0] if self.weights else None

    @property
    def license(self) -> str | None:
        """Terms of the default weights, or of the folder's; None where they are not stated."""
        return self.local_license if self.default is None else self.default.license


class Source(ABC):
    """A collection of networks.

    Three methods are needed: `names`, `card` and `load`. `BuiltSource` has the last for networks
    that are built first and filled with weights afterwards.

    Attributes
    ----------
    prefix : str
        What its names begin with. A source without one is listed by default, and its networks are
        found by their bare names; one with a prefix is searched where nothing else fits.
    is_open : bool
        Whether it has more networks than it can list, as a hub has; any name after its prefix is
        then taken to be one.
    """

    prefix: str = ""
    is_open: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the package that it needs is installed."""
        return True

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names, sorted, with the prefix; cheap."""

    def has(self, name: str) -> bool:
        """Tell whether there is a network of a name."""
        return name in self.names()

    @abstractmethod
    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what is known of one network without building it.

        Parameters
        ----------
        name : str
            With the prefix.
        path : Path, optional
            The user's weights file, for a source whose networks are described by its folder.
        """

    @abstractmethod
    def load(
        self,
        card: BackboneCard,
        entry: WeightsEntry | None,
        path: Path | None,
        *,
        px: int | None,
        any_size: bool,
    ) -> tuple[nn.Module, str | None, str]:
        """Build a network with published weights, those of a file, or seeded random ones.

        Parameters
        ----------
        card : BackboneCard
            As `card` gives it.
        entry : WeightsEntry or None
            Published weights of the card.
        path : Path or None
            A file; random weights where there is neither.
        px : int or None
            Side of the images, for a network that is built for one size.
        any_size : bool
            Whether to build it so that it takes other sizes too, where it can, with the same
            weights.

        Returns
        -------
        module : nn.Module
            On the CPU, in float32.
        head : str or None
            Its final classifier, whose input is the penultimate feature; None where the network's
            output is the feature itself.
        origin : str
            Where the weights came from, for people.
        """

    def resize(self, card: BackboneCard, module: nn.Module, px: int) -> nn.Module | None:
        """Resample a loaded network's weights for images of one other size.

        Parameters
        ----------
        card : BackboneCard
        module : nn.Module
            As `load` gives it with `any_size`; may be changed.
        px : int
            Side of the images.

        Returns
        -------
        nn.Module or None
            None where there is nothing to resample, as by default: the network takes such images
            as it is, or is refused by its first pass.

        Raises
        ------
        BackboneError
            If it cannot be made to take them, with the nearest sizes that it can.
        """
        return None

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return, by the names of their files, published weights that fit the network."""
        return {entry.url.rpartition("/")[2]: entry for entry in card.weights if entry.url}

    def guess(self, card: BackboneCard, path: Path) -> tuple[Preprocessing, str]:
        """Return what goes with a file that is not published, and why."""
        same = (e.name for e in card.weights if e.url and e.preprocessing == card.local)
        reason = f"as for {next(same, card.name)}: {NOT_PUBLISHED} {card.name}"
        return card.local, reason

    def words(self, network: Network) -> Words:
        """Return what turns words into vectors of a built network's features.

        By default the rows of its final classifier, if its classes are ImageNet's.

        Raises
        ------
        BackboneError
            If it has no words.
        """
        return classifier_words(network)


class BuiltSource(Source):
    """A source whose networks are built with weights of any value and then filled."""

    @abstractmethod
    def build(
        self, card: BackboneCard, *, px: int | None, any_size: bool
    ) -> tuple[nn.Module, str | None]:
        """Build the network on the CPU, and name its final classifier; as for `load`."""

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
        """Build the network and fill it; as for `Source.load`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            module, head = self.build(card, px=px, any_size=any_size)
        if entry is not None:
            return module, head, self.fetch(card, entry, module)
        if path is None:
            return module, head, f"random (seed {SEED})"
        return module, head, fill(module, path, card, head)


def fill(module: nn.Module, path: Path, card: BackboneCard, head: str | None) -> str:
    """Load a file's weights into a built network; return where they came from."""
    has_head = load_into(
        module,
        read_state_dict(path),
        name=f"weights {str(path)!r} for backbone {card.name!r}",
        ignored=card.ignored,
        head=head,
    )
    origin = os.path.abspath(path)  # noqa: PTH100
    return origin if has_head else f"{origin} (without its classifier)"
