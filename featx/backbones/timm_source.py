"""timm's networks, where the package is installed: ``"timm/resnet50.a1_in1k"``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from featx._optional import require
from featx.backbones.cards import BackboneCard, WeightsEntry
from featx.backbones.config import preprocessing_of_fields
from featx.backbones.weights import load_into
from featx.errors import BackboneError, WeightsError, nearest
from featx.recipe import Preprocessing

__all__ = ["PREFIX", "TimmSource"]

PREFIX = "timm/"


class TimmSource:
    """Every network of ``timm.list_models()``, with and without a weights tag."""

    def names(self) -> list[str]:
        """Return the names of published weights, sorted, with the prefix."""
        return [PREFIX + n for n in sorted(_timm().list_pretrained())]

    def has(self, name: str) -> bool:
        """Tell whether timm has a network, and weights of the tag where one is named."""
        timm, bare = _timm(), name.removeprefix(PREFIX)
        is_there = timm.is_model(bare) and ("." not in bare or timm.is_model_pretrained(bare))
        return bool(is_there)

    def card(self, name: str) -> BackboneCard:
        """Return what timm's pretrained configuration says.

        Raises
        ------
        BackboneError
            If timm has no such network.
        """
        timm, bare = _timm(), name.removeprefix(PREFIX)
        if not self.has(name):
            raise BackboneError(_unknown(timm, name))
        config = timm.models.get_pretrained_cfg(bare, allow_unregistered=True)
        preprocessing = _preprocessing(timm, config)
        published = config is not None and config.has_weights
        head = config.classifier if config is not None else None
        return BackboneCard(
            name=name,
            source="timm",
            weights=(_entry(timm, config),) if published else (),
            local=preprocessing,
            # Distilled networks name two classifiers, which are fed by two tokens; the first is
            # the class token's.
            head=head[0] if isinstance(head, tuple | list) and head else head or None,
            license=config.license if config is not None else None,
        )

    def build(self, card: BackboneCard, *, px: int | None, any_size: bool) -> nn.Module:
        """Build the network without weights; with `any_size` it interpolates its positions."""
        timm, bare = _timm(), card.name.removeprefix(PREFIX)
        module: nn.Module
        if any_size:
            try:
                module = timm.create_model(bare, pretrained=False, dynamic_img_size=True)
            except TypeError:  # has no such option
                pass
            else:
                return module
        module = timm.create_model(bare, pretrained=False)
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
        thing = f"weights {entry.name!r} for backbone {card.name!r}"
        load_into(module, loaded.state_dict(), thing=thing)
        return f"timm {entry.name} ({entry.url})"

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return all weights of the architecture, by name and by the names of their files."""
        timm = _timm()
        architecture = card.name.removeprefix(PREFIX).partition(".")[0]
        found: dict[str, WeightsEntry] = {}
        for bare in timm.list_pretrained(f"{architecture}.*"):
            config = timm.models.get_pretrained_cfg(bare, allow_unregistered=True)
            entry = _entry(timm, config)
            found[bare] = entry
            if config.url:
                found[config.url.rpartition("/")[2]] = entry
        return found

    def guess(self, card: BackboneCard, path: Path) -> tuple[Preprocessing, str]:
        """Return what the network's default weights ask for."""
        like = card.weights[0].name if card.weights else "timm's default"
        return card.local, f"as for {like}"

    def ignored(self, card: BackboneCard) -> tuple[str, ...]:
        """Return nothing: timm's files hold what its networks use."""
        return ()


def _timm() -> Any:
    return require("timm", extra="timm", purpose="a backbone whose name begins with 'timm/'")


def _unknown(timm: Any, name: str) -> str:
    """Say what is wrong with a name: its tag, or all of it."""
    bare = name.removeprefix(PREFIX)
    architecture, dot, tag = bare.partition(".")
    if dot and timm.is_model(architecture):
        tags = [n.partition(".")[2] for n in timm.list_pretrained(f"{architecture}.*")]
        near = nearest(tag, tags).replace("'", f"'{PREFIX}{architecture}.", 1)
        return (
            f"backbone: got {name!r}, but timm's {architecture} has no weights {tag!r}, expected "
            f"{', '.join(tags) or 'the name without a tag'}.{near}"
        )
    known = [*timm.list_models(), *timm.list_pretrained()]
    hint = nearest(bare.lower(), known).replace("'", f"'{PREFIX}", 1)
    return (
        f"backbone: got {name!r}, expected {PREFIX!r} and a name from "
        f"timm.list_models() or timm.list_pretrained().{hint}"
    )


def _entry(timm: Any, config: Any) -> WeightsEntry:
    url = config.url or f"https://huggingface.co/{config.hf_hub_id}"
    return WeightsEntry(config.tag or "default", url, _preprocessing(timm, config))


def _preprocessing(timm: Any, config: Any) -> Preprocessing:
    if config is None:
        return Preprocessing()
    fields = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    return preprocessing_of_fields(fields)
