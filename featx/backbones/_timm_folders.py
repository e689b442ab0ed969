"""timm's networks as a hub keeps them: weights, configuration and preprocessing in one folder.

``"local-dir:/folder"`` is such a folder on this machine, and ``"hf-hub:owner/name"`` one of a hub,
which is fetched through huggingface_hub into its cache. Both names are timm's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featx._optional import require
from featx.backbones._hub import fetching
from featx.backbones._timm import CONFIG, TimmSource, preprocessing_of_config
from featx.backbones.licenses import README, read_license
from featx.backbones.names import HUB, LOCAL
from featx.backbones.sources import BackboneCard, WeightsEntry
from featx.backbones.weights import load_into
from featx.errors import FeatxError, WeightsError, one_line
from featx.recipe import Preprocessing

__all__ = ["HubSource", "LocalSource"]

DIGEST = "featx_architecture"


class LocalSource(TimmSource):
    """Folders as timm saves them: config.json beside model.safetensors or pytorch_model.bin."""

    prefix = LOCAL
    is_open = True

    def names(self) -> list[str]:
        """Return none: a folder is named by its path."""
        return []

    def has(self, name: str) -> bool:
        """Tell whether the name is the prefix alone; the folder is in the weights."""
        return name == self.prefix

    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what the configuration beside a weights file says.

        Raises
        ------
        WeightsError
            If there is no folder, or its configuration is not timm's.
        """
        if path is None:
            raise WeightsError(
                f"backbone {name!r}: got no folder, expected '{LOCAL}FOLDER', or the folder as "
                "weights (--weights FOLDER, weights=FOLDER in Python)"
            )
        _, local, terms = _read(path.parent)
        return BackboneCard(
            name, "timm", (), local, local_license=terms, ignored=(DIGEST,), folder=path.parent
        )

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return none: a file is what its folder says."""
        return {}

    def _timm_name(self, card: BackboneCard, *, pretrained: bool) -> str:
        return f"{LOCAL}{card.folder}"

    def load(
        self,
        card: BackboneCard,
        entry: WeightsEntry | None,
        path: Path | None,
        *,
        px: int | None,
        any_size: bool,
    ) -> tuple[nn.Module, str | None, str]:
        """Build the network and fill it, with the digest of what its weights do not show.

        Two networks may differ in nothing but an activation; the name of a folder does not tell
        them apart, so that a buffer has to.
        """
        assert card.folder is not None
        told = _read(card.folder)[0]
        try:
            module, head, origin = super().load(card, entry, path, px=px, any_size=any_size)
        except FeatxError:
            raise
        except Exception as err:
            raise WeightsError(
                f"{card.folder / CONFIG}: timm cannot build {told} ({one_line(err)}), expected an "
                "architecture and arguments of the installed timm; upgrade timm"
            ) from err
        digest = hashlib.sha256(told.encode()).digest()
        module.register_buffer(DIGEST, torch.tensor(list(digest), dtype=torch.uint8))
        return module, head, origin


class HubSource(LocalSource):
    """Repositories of a hub that timm can read: ``hf-hub:owner/name`` or ``...@revision``."""

    prefix = HUB

    def has(self, name: str) -> bool:
        """Tell whether a name can be one; whether it is there, the hub knows."""
        return name.startswith(HUB) and name != HUB

    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what the configuration beside a weights file says, else that of the hub.

        Raises
        ------
        WeightsError
            If it is in neither, or is not timm's.
        """
        if path is not None and (path.parent / CONFIG).is_file():
            return super().card(name, path)
        folder = _fetch(name)
        repo, revision = _split(name)
        _, local, terms = _read(folder)
        weights = f"{repo}@{revision or 'main'}"
        entry = WeightsEntry(weights, f"https://huggingface.co/{repo}", local, terms)
        return BackboneCard(name, "timm", (entry,), local, ignored=(DIGEST,), folder=folder)

    def fetch(self, card: BackboneCard, entry: WeightsEntry, module: nn.Module) -> str:
        """Load the hub's weights through timm.

        Raises
        ------
        WeightsError
            If they cannot be fetched or do not fit.
        """
        repo, _ = _split(card.name)
        with fetching(card.name, repo, LOCAL):
            loaded, _ = self._create(card, pretrained=True)
        load_into(module, loaded.state_dict(), name=f"weights of backbone {card.name!r}")
        return f"hub {entry.name}"

    def _timm_name(self, card: BackboneCard, *, pretrained: bool) -> str:
        return card.name if pretrained else super()._timm_name(card, pretrained=False)


def _read(folder: Path) -> tuple[str, Preprocessing, str | None]:
    """Return the architecture with its arguments as text, the preprocessing, and the terms.

    Raises
    ------
    WeightsError
        If the configuration is missing or not timm's.
    """
    path = folder / CONFIG
    local = preprocessing_of_config(path) if path.is_file() else None
    whole: dict[str, Any] = {} if local is None else json.loads(path.read_text("utf-8"))
    fields = whole.get("pretrained_cfg", whole)
    architecture = whole.get("architecture")
    if local is None or not isinstance(architecture, str):
        raise WeightsError(
            f"{path}: got no architecture with the size, mean and deviation of its images, "
            f"expected a folder as timm saves it, with {CONFIG} beside the weights; one of "
            "transformers is named 'hf/FOLDER', one of open_clip 'clip/FOLDER'"
        )
    told = json.dumps([architecture, whole.get("model_args", {})], sort_keys=True)
    terms = fields.get("license") or read_license(folder)
    return told, local, terms if isinstance(terms, str) else None


def _fetch(name: str) -> Path:
    """Fetch a repository's configuration and README; return the folder in the hub's cache."""
    hub = require("huggingface_hub", extra="timm", purpose=f"backbone {name!r}")
    repo, revision = _split(name)
    with fetching(name, repo, LOCAL):
        folder = Path(hub.hf_hub_download(repo, CONFIG, revision=revision)).parent
        # without a README the terms are not known, which is said
        with contextlib.suppress(hub.errors.EntryNotFoundError):
            hub.hf_hub_download(repo, README, revision=revision)
    return folder


def _split(name: str) -> tuple[str, str | None]:
    repo, _, revision = name.removeprefix(HUB).partition("@")
    return repo, revision or None
