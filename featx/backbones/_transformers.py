"""Networks of transformers, for what timm lacks, where the package is installed.

``"hf/facebook/dinov2-small"`` is fetched from a hub, and ``"hf//folder"`` lies on this machine, as
``save_pretrained`` writes them: config.json, preprocessor_config.json and the weights. Of a
network with a tower for text the one for images is taken. Code of a repository is never run.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featx._optional import is_installed, require
from featx.backbones._hub import asking_hub, fetching
from featx.backbones._processor import PROCESSOR, preprocessing_of
from featx.backbones.licenses import README, read_license
from featx.backbones.sources import SEED, BackboneCard, Source, WeightsEntry
from featx.errors import FeatxError, WeightsError, one_line
from featx.recipe import Preprocessing

__all__ = ["HF", "TransformersSource"]

HF = "hf/"
FOLDER = f"{HF}FOLDER"
# Of a configuration: what changes no feature.
NO_PART = frozenset(
    ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype", "id2label",
     "label2id", "problem_type")
)  # fmt: skip


class ImageNetwork(nn.Module):
    """Give what a network of transformers has for an image as tensors, each as a layer.

    Parameters
    ----------
    model : nn.Module
        Which takes `pixel_values`.
    any_size : bool
        Whether its position embeddings are to be interpolated.
    has_pooled : bool
        Whether its pooled output comes from trained weights.

    Notes
    -----
    Layer "last_hidden_state" is tokens or a map, and "pooler_output" a vector, where there is one;
    it is then what the network returns.
    """

    def __init__(self, model: nn.Module, *, any_size: bool, has_pooled: bool) -> None:
        super().__init__()
        self.model = model
        self.last_hidden_state, self.pooler_output = nn.Identity(), nn.Identity()
        known = inspect.signature(model.forward).parameters
        option = "interpolate_pos_encoding"
        self._options = {option: True} if any_size and option in known else {}
        self._has_pooled = has_pooled
        config = {k: v for k, v in model.config.to_diff_dict().items() if k not in NO_PART}  # type: ignore[operator, union-attr]
        digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).digest()
        # what no weight shows, such as the number of heads, makes another network
        self.register_buffer("config", torch.tensor(list(digest), dtype=torch.uint8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the pooled output (B, D), else the last hidden state."""
        found = self.model(pixel_values=x, **self._options)
        last: torch.Tensor = self.last_hidden_state(found.last_hidden_state)
        pooled = getattr(found, "pooler_output", None) if self._has_pooled else None
        if pooled is None:
            return last
        out: torch.Tensor = self.pooler_output(pooled.flatten(1))
        return out


class TransformersSource(Source):
    """Everything that ``AutoModel`` and ``AutoImageProcessor`` read."""

    prefix = HF
    is_open = True

    @property
    def is_installed(self) -> bool:
        """Whether transformers is installed."""
        return is_installed("transformers")

    def names(self) -> list[str]:
        """Return none: the hub knows them."""
        return []

    def has(self, name: str) -> bool:
        """Tell whether a name can be one; whether it is there, the hub knows."""
        return name.startswith(HF)

    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what the processor of a folder, or of the hub, says.

        Raises
        ------
        WeightsError
            If it cannot be had.
        BackboneError
            If it makes images in a way that featx has not.
        """
        if path is not None:
            with _reading(path.parent):
                local = preprocessing_of(_processor(str(path.parent)), path.parent / PROCESSOR)
            terms = read_license(path.parent)
            return BackboneCard(name, HF[:-1], (), local, local_license=terms, folder=path.parent)
        repo = _repo(name)
        with fetching(name, repo, HF):
            local = preprocessing_of(_processor(repo), f"{repo}/{PROCESSOR}")
        entry = WeightsEntry(repo, f"https://huggingface.co/{repo}", local, _terms(name, repo))
        return BackboneCard(name, HF[:-1], (entry,), local)

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return none: a file is what its folder says."""
        return {}

    def guess(self, card: BackboneCard, path: Path) -> tuple[Preprocessing, str]:
        """Return what the folder says."""
        return card.local, f"as {path.parent / PROCESSOR} says"

    def load(
        self,
        card: BackboneCard,
        entry: WeightsEntry | None,
        path: Path | None,
        *,
        px: int | None,
        any_size: bool,
    ) -> tuple[nn.Module, str | None, str]:
        """Load the network, or with neither weights nor a path make random ones."""
        auto, options = _transformers().AutoModel, {"output_loading_info": True}
        if path is not None:
            with _reading(path.parent):
                model, info = auto.from_pretrained(path.parent, **options)
            origin = str(path.absolute())
        elif entry is not None:
            with fetching(card.name, _repo(card.name), HF):
                model, info = auto.from_pretrained(_repo(card.name), **options)
            origin = f"hub {entry.name}"
        else:
            repo = _repo(card.name)
            with fetching(card.name, repo, HF), torch.random.fork_rng(devices=[]):
                torch.manual_seed(SEED)
                model = auto.from_config(_transformers().AutoConfig.from_pretrained(repo))
            info, origin = {}, f"random (seed {SEED})"
        missing = _missing(info, card.name)
        model = getattr(model, "vision_model", model)
        if getattr(model, "main_input_name", "pixel_values") != "pixel_values":
            raise WeightsError(
                f"backbone {card.name!r}: {type(model).__name__} takes "
                f"{model.main_input_name!r}, expected a network that takes images (pixel_values)"
            )
        module = ImageNetwork(model.float(), any_size=any_size, has_pooled=not missing)
        return module.eval(), None, origin


def _missing(info: Mapping[str, Any], name: str) -> list[str]:
    """Return the weights of the pooling that a checkpoint does not have; refuse if others lack.

    One that was saved with a classifier often has no weights for it, and transformers then draws
    random ones.
    """
    keys = sorted(info.get("missing_keys", ()))
    wrong = [key for key in keys if "pooler" not in key.split(".")]
    wrong += [str(key) for key in info.get("mismatched_keys", ())]
    if wrong:
        raise WeightsError(
            f"backbone {name!r}: {len(wrong)} tensors are missing or of another shape (the first "
            f"is {wrong[0]}), expected the weights of its config.json; fetch the folder again"
        )
    return keys


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Name the folder in whatever goes wrong while transformers reads it.

    Raises
    ------
    WeightsError
        Whatever is raised inside, as one.
    """
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    except FeatxError:
        raise
    except Exception as err:
        raise WeightsError(
            f"{folder}: transformers cannot read it ({type(err).__name__}: {one_line(err)}), "
            f"expected a folder of save_pretrained with config.json, {PROCESSOR} and the weights"
        ) from err
    finally:
        log.setLevel(level)


def _processor(name: str) -> Any:
    return _transformers().AutoImageProcessor.from_pretrained(name, backend="pil")


def _repo(name: str) -> str:
    repo = name.removeprefix(HF)
    if not repo:
        raise WeightsError(
            f"backbone {HF!r}: got no folder, expected '{FOLDER}', or the folder as weights "
            "(--weights FOLDER, weights=FOLDER in Python)"
        )
    return repo


def _terms(name: str, repo: str) -> str | None:
    hub = require("huggingface_hub", extra="transformers", purpose=f"backbone {name!r}")
    try:
        with asking_hub():
            return read_license(Path(hub.hf_hub_download(repo, README)).parent)
    except (hub.errors.EntryNotFoundError, OSError):  # then the terms are not known, which is said
        return None


def _transformers() -> Any:
    return require(
        "transformers", extra="transformers", purpose="a backbone whose name begins with 'hf/'"
    )
