"""torchvision's classification networks.

torchvision is imported where one is asked for: it brings torch's compiler, which takes as long to
import as torch.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from featx.backbones.cards import BackboneCard, WeightsEntry
from featx.backbones.download import fetch_file
from featx.backbones.weights import load_into, read_state_dict
from featx.recipe import Preprocessing

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TorchvisionSource"]

# The two networks ported from TensorFlow: they renormalise their input, as torchvision's own
# pretrained ones do, and their auxiliary classifiers serve training only.
_PORTED = ("googlenet", "inception_v3")
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class TorchvisionSource:
    """Every network of ``torchvision.models.list_models(module=torchvision.models)``."""

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return list(_names())

    def card(self, name: str) -> BackboneCard:
        """Return what torchvision's weights enumeration says."""
        from torchvision.models import get_model_weights

        enum = get_model_weights(name)
        first = next(iter(enum))
        entries = sorted(enum, key=lambda entry: entry is not enum.DEFAULT)
        return BackboneCard(
            name=name,
            source="torchvision",
            weights=tuple(WeightsEntry(e.name, e.url, _preprocessing(e)) for e in entries),
            local=_preprocessing(first),
            n_parameters=enum.DEFAULT.meta["num_params"],
            license=enum.DEFAULT.meta.get("license"),
        )

    def build(self, card: BackboneCard) -> nn.Module:
        """Build the network as torchvision's pretrained ones are built."""
        from torchvision.models import get_model

        options: dict[str, Any] = {}
        if card.name in _PORTED:
            options = {"init_weights": False, "aux_logits": False, "transform_input": True}
        module: nn.Module = get_model(card.name, weights=None, **options)
        return module

    def fetch(self, card: BackboneCard, entry: WeightsEntry, module: nn.Module) -> str:
        """Load published weights from torch hub's cache, downloading them where absent."""
        assert entry.url is not None
        path = fetch_file(entry.url, thing=f"backbone {card.name!r}, weights {entry.name!r}")
        load_into(module, read_state_dict(path), thing=str(path), ignored=self.ignored(card))
        return f"{card.source} {entry.name} ({entry.url})"

    def ignored(self, card: BackboneCard) -> tuple[str, ...]:
        """Return the auxiliary classifiers of the two networks that have them."""
        return _AUXILIARY if card.name in _PORTED else ()


@functools.cache
def _names() -> tuple[str, ...]:
    from torchvision import models

    return tuple(sorted(models.list_models(module=models)))


def _preprocessing(entry: Any) -> Preprocessing:
    transform = entry.transforms()
    return Preprocessing(
        resize_px=transform.resize_size[0],
        crop_px=transform.crop_size[0],
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )
