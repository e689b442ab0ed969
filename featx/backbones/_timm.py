"""timm's networks, where the package is installed: ``"timm/resnet50.a1_in1k"``.

Also how images are made by its configurations: a hub keeps them as ``config.json`` beside weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from featx._optional import is_installed, require
from featx.backbones._hub import asking_hub
from featx.backbones._timm_sizes import resize_network
from featx.backbones.sources import BackboneCard, BuiltSource, WeightsEntry
from featx.backbones.weights import load_into
from featx.errors import BackboneError, WeightsError, nearest, one_line
from featx.recipe import Preprocessing

__all__ = ["CONFIG", "TimmSource", "preprocessing_of_config"]

PREFIX = "timm/"
CONFIG = "config.json"
# What timm takes where a configuration does not say.
CROP_PCT, INTERPOLATION = 0.875, "bicubic"
CROPPED = {"center": False, "squash": True}
# Image towers that were trained on pictures stretched to a square, as open_clip says, where timm
# says a crop of the centre: architecture and tag, the filter, and the lengths of outputs.
STRETCHED = (
    (r".*_siglip_.*\.(v2_)?webli(_i18n)?", "bicubic", (0,)),
    (r"vit_huge_patch14_clip_.*\.dfn5b", "bicubic", (1024,)),
    (r"vit_pe_core_.*\.fb", "bilinear", (512, 1024, 1280)),
)


class TimmSource(BuiltSource):
    """Every network of ``timm.list_models()``, with and without a weights tag."""

    prefix = PREFIX

    @property
    def is_installed(self) -> bool:
        """Whether timm is installed."""
        return is_installed("timm")

    def names(self) -> list[str]:
        """Return the names of published weights, sorted, with the prefix."""
        return [PREFIX + n for n in sorted(_timm().list_pretrained())]

    def has(self, name: str) -> bool:
        """Tell whether timm has a network, and weights of the tag where one is named."""
        timm, bare = _timm(), name.removeprefix(PREFIX)
        is_there = timm.is_model(bare) and ("." not in bare or timm.is_model_pretrained(bare))
        return bool(is_there)

    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what timm's pretrained configuration says.

        Raises
        ------
        BackboneError
            If timm has no such network, or makes images in a way that featx has not.
        """
        if not self.has(name):
            raise BackboneError(_unknown(_timm(), name))
        config = _config(name)
        entry = None if config is None else _entry(config)
        return BackboneCard(
            name=name,
            source="timm",
            weights=(entry,) if entry is not None and config.has_weights else (),
            local=Preprocessing() if entry is None else entry.preprocessing,
        )

    def build(
        self, card: BackboneCard, *, px: int | None, any_size: bool
    ) -> tuple[nn.Module, str | None]:
        """Build the network without weights; with `any_size` it interpolates its positions.

        Weights that were tuned at another size have positions and tables of that size.
        """
        is_tuned = px is not None and px != card.local.crop_px
        if any_size or is_tuned:
            with contextlib.suppress(TypeError):  # has no such option
                return self._create(card, pretrained=False, dynamic_img_size=True)
        module, head = self._create(card, pretrained=False)
        if px is not None and is_tuned:
            module = self.resize(card, module, px) or module
        return module, head

    def resize(self, card: BackboneCard, module: nn.Module, px: int) -> nn.Module | None:
        """Resample position embeddings as timm does, where each pass does not."""
        usual_px = card.local.crop_px
        assert usual_px is not None
        return resize_network(module, px, network=f"backbone {card.name!r}", usual_px=usual_px)

    def fetch(self, card: BackboneCard, entry: WeightsEntry, module: nn.Module) -> str:
        """Load published weights through timm, which keeps its own cache.

        Raises
        ------
        WeightsError
            If timm cannot fetch or fit them.
        """
        try:
            with asking_hub():
                loaded, _ = self._create(card, pretrained=True)
        except Exception as err:
            reason = one_line(err)
            raise WeightsError(
                f"backbone {card.name!r}: weights {entry.name!r} cannot be fetched from "
                f"{entry.url} ({type(err).__name__}: {reason}); fetch the file on a machine that "
                "can and pass it with --weights FILE (weights=FILE in Python); without one, "
                "backbone 'featx_base' needs no download"
            ) from err
        what = f"weights {entry.name!r} for backbone {card.name!r}"
        load_into(module, loaded.state_dict(), name=what)
        return f"timm {entry.name} ({entry.url})"

    def _create(
        self, card: BackboneCard, *, pretrained: bool, **options: Any
    ) -> tuple[nn.Module, str | None]:
        """Let timm build a network, and name its classifier.

        Distilled networks name two, which are fed by two tokens; the first is the class token's.
        """
        name = self._timm_name(card, pretrained=pretrained)
        module: nn.Module = _timm().create_model(name, pretrained=pretrained, **options)
        said = getattr(module, "pretrained_cfg", {})
        config = _config(said.get("architecture") or name)
        head = said.get("classifier") or getattr(config, "classifier", None) or None
        return module, head[0] if isinstance(head, tuple | list) else head

    def _timm_name(self, card: BackboneCard, *, pretrained: bool) -> str:
        """Return what timm calls the network."""
        return card.name.removeprefix(PREFIX)

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return all weights of the architecture, by name and by the names of their files."""
        architecture = card.name.removeprefix(PREFIX).partition(".")[0]
        found: dict[str, WeightsEntry] = {}
        for bare in _timm().list_pretrained(f"{architecture}.*"):
            config = _config(bare)
            found[bare] = _entry(config)
            if config.url:
                found[config.url.rpartition("/")[2]] = found[bare]
        return found


def preprocessing_of_config(path: Path) -> Preprocessing | None:
    """Return what a ``config.json`` beside the weights says; None where it says nothing of images.

    Parameters
    ----------
    path : Path
        As timm writes it: the fields under "pretrained_cfg", in older ones at the top.

    Raises
    ------
    WeightsError
        If it cannot be read.
    BackboneError
        If images are made in a way that featx has not.
    """
    try:
        whole = json.loads(path.read_text("utf-8"))
        fields = whole.get("pretrained_cfg", whole)
        if not {"input_size", "mean", "std"} <= fields.keys():
            return None
        config = {**fields, **{k: v for k, v in whole.items() if k != "pretrained_cfg"}}
        return _stretch(_preprocessing(fields), config)
    except BackboneError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as err:
        raise WeightsError(
            f"{path}: says how images are made for the weights beside it, but cannot be read "
            f"({one_line(err)}), expected timm's JSON; fetch it again"
        ) from err


def _preprocessing(fields: Mapping[str, Any]) -> Preprocessing:
    """Translate timm's names: it resizes to crop / crop_pct, rounded down.

    Raises
    ------
    BackboneError
        If images are made in a way that featx has not.
    """
    mode = fields.get("crop_mode") or "center"
    if mode not in CROPPED:
        raise BackboneError(
            f"timm's {fields.get('architecture', 'network')}: got images that are cropped by "
            f"{mode!r}, expected {' or '.join(map(repr, CROPPED))}; in Python, build it with timm "
            "and pass the module with timm's transform"
        )
    crop = int(fields["input_size"][-1])
    return Preprocessing(
        resize_px=math.floor(crop / float(fields.get("crop_pct") or CROP_PCT)),
        crop_px=crop,
        interpolation=str(fields.get("interpolation") or INTERPOLATION),
        mean=tuple(map(float, fields["mean"])),  # type: ignore[arg-type]
        std=tuple(map(float, fields["std"])),  # type: ignore[arg-type]
        squash=CROPPED[mode],
    )


def _stretch(made: Preprocessing, config: Mapping[str, Any]) -> Preprocessing:
    """Correct what timm's configuration of published weights says.

    What was tuned from them keeps their tag, and was trained as its configuration says: its
    outputs are as many as its classes.
    """
    name = f"{config.get('architecture')}.{config.get('tag')}"
    n_outputs = config.get("num_classes")
    for pattern, interpolation, lengths in STRETCHED:
        if re.fullmatch(pattern, name) and n_outputs in lengths:
            return dataclasses.replace(
                made, resize_px=made.crop_px, interpolation=interpolation, squash=True
            )
    return made


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
    names = [*timm.list_models(), *timm.list_pretrained()]
    hint = nearest(bare.lower(), names).replace("'", f"'{PREFIX}", 1)
    return (
        f"backbone: got {name!r}, expected {PREFIX!r} and a name from "
        f"timm.list_models() or timm.list_pretrained().{hint}"
    )


def _config(name: str) -> Any:
    """Return timm's configuration of a network; None where it has none."""
    bare = name.removeprefix(PREFIX)
    return _timm().models.get_pretrained_cfg(bare, allow_unregistered=True)


def _entry(config: Any) -> WeightsEntry:
    url = config.url or f"https://huggingface.co/{config.hf_hub_id}"
    fields = _timm().data.resolve_data_config(pretrained_cfg=config.to_dict())
    terms = None if config.license == "unknown" else config.license
    fields["architecture"] = config.architecture
    made = _stretch(_preprocessing(fields), config.to_dict())
    return WeightsEntry(config.tag or "default", url, made, terms)
