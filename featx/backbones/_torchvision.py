"""torchvision's classification networks.

torchvision is imported where one is asked for: it brings torch's compiler, which takes as long to
import as torch.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from featx.backbones.download import content_problem, fetch_file
from featx.backbones.sources import NOT_PUBLISHED, BackboneCard, BuiltSource, WeightsEntry
from featx.backbones.weights import load_into, read_state_dict
from featx.recipe import Preprocessing

__all__ = ["TorchvisionSource", "find_head"]

# The two networks ported from TensorFlow: they renormalise their input, as torchvision's own
# pretrained ones do, and their auxiliary classifiers serve training only.
_PORTED = ("googlenet", "inception_v3")
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_VIT = "vit_"  # built for one size of image
_POSITIONS = "encoder.pos_embedding"  # (1, 1 + patches, D) of these
# What the page holds that torchvision names as terms; timm says the same of these weights.
_LICENSES = {"https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "cc-by-nc-4.0"}
log = logging.getLogger(__name__)


class TorchvisionSource(BuiltSource):
    """Every network of ``torchvision.models.list_models(module=torchvision.models)``."""

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return list(_names())

    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what torchvision's weights enumeration says."""
        from torchvision.models import get_model_weights

        enum = get_model_weights(name)
        entries = sorted(enum, key=lambda entry: entry is not enum.DEFAULT)
        return BackboneCard(
            name=name,
            source="torchvision",
            weights=tuple(_entry(e) for e in entries),
            local=_preprocessing(next(iter(enum))),
            n_parameters=enum.DEFAULT.meta["num_params"],
            ignored=_AUXILIARY if name in _PORTED else (),
        )

    def build(
        self, card: BackboneCard, *, px: int | None, any_size: bool
    ) -> tuple[nn.Module, str | None]:
        """Build the network as torchvision's pretrained ones are built, for images of `px`."""
        from torchvision.models import get_model

        options: dict[str, Any] = {}
        if card.name in _PORTED:
            options = {"init_weights": False, "aux_logits": False, "transform_input": True}
        if card.name.startswith(_VIT):
            options = {"image_size": px}
        module: nn.Module = get_model(card.name, weights=None, **options)
        return module, find_head(module)

    def fetch(self, card: BackboneCard, entry: WeightsEntry, module: nn.Module) -> str:
        """Load published weights from torch hub's cache, downloading them where absent."""
        assert entry.url is not None
        path = fetch_file(entry.url, name=f"backbone {card.name!r}, weights {entry.name!r}")
        problem = content_problem(path, entry.url.rpartition("/")[2])
        if problem is not None:
            log.warning("%s", problem)
        load_into(module, read_state_dict(path), name=str(path), ignored=card.ignored)
        return f"torchvision {entry.name} ({entry.url})"

    def guess(self, card: BackboneCard, path: Path) -> tuple[Preprocessing, str]:
        """Return what the first weights ask for; of a vision transformer, those of its size."""
        local, reason = super().guess(card, path)
        px = _vit_px(card.name, read_state_dict(path)) if card.name.startswith(_VIT) else None
        if px is None or px == local.crop_px:
            return local, reason
        reason = f"by the {px} px of its position embeddings: {NOT_PUBLISHED} {card.name}"
        for entry in card.weights:
            if entry.preprocessing.crop_px == px:
                return entry.preprocessing, f"as for {entry.name}, {reason}"
        return dataclasses.replace(local, resize_px=px, crop_px=px), reason


def find_head(module: nn.Module) -> str | None:
    """Return the name of the final classifier of a classification network.

    That is the linear layer or convolution that was registered last; torchvision's networks all
    keep to it. None where there is no such layer.
    """
    names = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return names[-1] if names else None


def _vit_px(name: str, state: Mapping[str, Any]) -> int | None:
    """Return the size of image that a vision transformer's position embeddings are for."""
    n = next((len(x[0]) for k, x in state.items() if k.endswith(_POSITIONS) and x.ndim == 3), 0)
    side = math.isqrt(max(n - 1, 0))
    return side * int(name.rpartition("_")[2]) if side and side * side == n - 1 else None


@functools.cache
def _names() -> tuple[str, ...]:
    from torchvision import models

    return tuple(sorted(models.list_models(module=models)))


def _entry(found: Any) -> WeightsEntry:
    terms = found.meta.get("license")
    return WeightsEntry(found.name, found.url, _preprocessing(found), _LICENSES.get(terms, terms))


def _preprocessing(entry: Any) -> Preprocessing:
    transform = entry.transforms()
    return Preprocessing(
        resize_px=transform.resize_size[0],
        crop_px=transform.crop_size[0],
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )
