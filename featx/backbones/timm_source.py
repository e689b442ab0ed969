"""timm's networks, where the package is installed: ``"timm/resnet50.a1_in1k"``."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from featx._optional import require
from featx.backbones.cards import BackboneCard, WeightsEntry
from featx.errors import BackboneError, WeightsError, nearest
from featx.recipe import Preprocessing

__all__ = ["PREFIX", "TimmSource"]

PREFIX = "timm/"


class TimmSource:
    """Every network of ``timm.list_models()``, with and without a weights tag."""

    def names(self) -> list[str]:
        """Return the names of published weights, sorted, with the prefix."""
        return [PREFIX + n for n in sorted(_timm().list_pretrained())]

    def card(self, name: str) -> BackboneCard:
        """Return what timm's pretrained configuration says.

        Raises
        ------
        BackboneError
            If timm has no such network.
        """
        timm, bare = _timm(), name.removeprefix(PREFIX)
        if not timm.is_model(bare) or not _has_tag(timm, bare):
            known = [*timm.list_pretrained(), *timm.list_models()]
            hint = nearest(bare, known).replace("'", f"'{PREFIX}", 1)
            raise BackboneError(
                f"backbone: got {name!r}, expected {PREFIX!r} and a name from "
                f"timm.list_models() or timm.list_pretrained().{hint}"
            )
        config = timm.models.get_pretrained_cfg(bare, allow_unregistered=True)
        preprocessing = _preprocessing(timm, config)
        published = config is not None and config.has_weights
        url = (config.url or f"https://huggingface.co/{config.hf_hub_id}") if published else None
        head = config.classifier if config is not None else None
        return BackboneCard(
            name=name,
            source="timm",
            weights=(WeightsEntry(config.tag or "default", url, preprocessing),)
            if published
            else (),
            local=preprocessing,
            # Distilled networks name two classifiers, which are fed by two tokens; the first is
            # the class token's.
            head=head[0] if isinstance(head, tuple | list) and head else head or None,
            license=config.license if config is not None else None,
        )

    def build(self, card: BackboneCard) -> nn.Module:
        """Build the network without weights."""
        module: nn.Module = _timm().create_model(card.name.removeprefix(PREFIX), pretrained=False)
        return module

    def fetch(self, card: BackboneCard, entry: WeightsEntry, module: nn.Module) -> str:
        """Load published weights through timm, which keeps its own cache.

        Raises
        ------
        WeightsError
            If timm cannot fetch or fit them.
        """
        try:
            loaded = _timm().create_model(card.name.removeprefix(PREFIX), pretrained=True)
        except Exception as err:
            reason = " ".join(str(err).split())[:160]
            raise WeightsError(
                f"backbone {card.name!r}: weights {entry.name!r} cannot be fetched from "
                f"{entry.url} ({type(err).__name__}: {reason}); fetch the file on a machine that "
                "can and pass it with --weights FILE (weights=FILE in Python); without one, "
                "backbone 'featx_small' needs no download"
            ) from err
        module.load_state_dict(loaded.state_dict())
        return f"timm {entry.name} ({entry.url})"

    def ignored(self, card: BackboneCard) -> tuple[str, ...]:
        """Return nothing: timm's files hold what its networks use."""
        return ()


def _timm() -> Any:
    return require("timm", extra="timm", purpose="a backbone whose name begins with 'timm/'")


def _has_tag(timm: Any, bare: str) -> bool:
    architecture, dot, _ = bare.partition(".")
    return not dot or bare in timm.list_pretrained(f"{architecture}.*")


def _preprocessing(timm: Any, config: Any) -> Preprocessing:
    """Translate timm's data configuration: it resizes to crop / crop_pct, rounded down."""
    if config is None:
        return Preprocessing()
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    crop = data["input_size"][-1]
    return Preprocessing(
        resize_px=math.floor(crop / data["crop_pct"]),
        crop_px=crop,
        interpolation=data["interpolation"],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )
