"""The networks whose weights are inside the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from featx.backbones.cards import BackboneCard, WeightsEntry
from featx.backbones.embedded import EMBEDDED, FeatxSmall, build_embedded
from featx.recipe import Preprocessing

__all__ = ["EmbeddedSource"]


class EmbeddedSource:
    """Every network of `featx.backbones.embedded.EMBEDDED`."""

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(EMBEDDED)

    def card(self, name: str) -> BackboneCard:
        """Return what the embedded network's own card says."""
        card = EMBEDDED[name]
        return BackboneCard(
            name=name,
            source="featx",
            weights=(WeightsEntry("EMBEDDED", None, card.preprocessing),),
            local=card.preprocessing,
            n_features=card.n_features,
            license=card.license,
        )

    def build(self, card: BackboneCard, *, px: int | None, any_size: bool) -> nn.Module:
        """Build the network in the embedded weights' shape, which takes images of any size."""
        shape = build_embedded(card.name).shape
        return FeatxSmall(shape)

    def fetch(self, card: BackboneCard, entry: WeightsEntry, module: nn.Module) -> str:
        """Load the weights inside the package."""
        module.load_state_dict(build_embedded(card.name).state_dict())
        return f"embedded in featx ({EMBEDDED[card.name].origin})"

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return nothing: there is no file of them."""
        return {}

    def guess(self, card: BackboneCard, path: Path) -> tuple[Preprocessing, str]:
        """Return the one way that images are made for the network."""
        return card.local, f"as for {card.name}"

    def ignored(self, card: BackboneCard) -> tuple[str, ...]:
        """Return nothing: its files hold what it uses."""
        return ()
