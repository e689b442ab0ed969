"""open_clip's networks of two towers, one for images and one for text, where it is installed.

``"clip/ViT-B-32/laion2b_s34b_b79k"`` is a model of open_clip with published weights;
``"clip/ViT-B-32"`` one whose weights are a file; and ``"clip/"`` is described by a folder as
open_clip saves it: open_clip_config.json, the weights, and the tokenizer where it is not built in.
The image tower is the network that runs; the other is loaded where words are asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from featx._optional import is_installed, require
from featx.backbones._hub import asking_hub
from featx.backbones.licenses import read_license
from featx.backbones.sources import BackboneCard, Source, WeightsEntry
from featx.backbones.weights import load_into, read_state_dict, state_digest
from featx.backbones.words import Floats, Meaning, Words
from featx.engines.engine import Network
from featx.errors import BackboneError, WeightsError, nearest, one_line
from featx.fingerprint import file_digest
from featx.recipe import Preprocessing

__all__ = ["CLIP", "ClipSource"]

CLIP = "clip/"
CONFIG = "open_clip_config.json"
IMAGES = "visual."
FOLDER = "local-dir:"
# What Hugging Face's tokenizers are saved as.
TOKENIZER_FILES = ("*token*.json", "vocab*", "merges.txt", "*.model")
RESIZED = {"shortest": False, "squash": True}


@dataclasses.dataclass(frozen=True)
class _Towers:
    """What is to be built: open_clip's name, or a configuration of a folder."""

    name: str  # as open_clip takes it, with `FOLDER` before it where it is one
    config: dict[str, Any]
    preprocessing: Preprocessing

    def build(self) -> nn.Module:
        """Build both towers with random weights.

        Raises
        ------
        BackboneError
            If open_clip cannot, as where a tower is another package's.
        """
        options = {"load_weights": False, "pretrained_text": False}
        try:
            with _quiet():
                model: nn.Module = _open_clip().create_model(self.name, **options)
        except Exception as err:
            raise BackboneError(
                f"backbone: open_clip cannot build {self.name!r} ({one_line(err)}), expected a "
                "configuration that it can build with what is installed"
            ) from err
        return model.eval()

    def digest_tokenizer(self) -> list[str]:
        """Hash the files of the tokenizer: open_clip's own, or the folder's.

        One that open_clip would fetch has its name in the configuration; nothing is fetched here.
        """
        if not self.config["text_cfg"].get("hf_tokenizer_name"):
            return [file_digest(_open_clip().tokenizer.default_bpe())]
        folder = self.name.removeprefix(FOLDER)
        if folder == self.name:
            return []
        files = {path for glob in TOKENIZER_FILES for path in Path(folder).glob(glob)}
        return [f"{path.name} {file_digest(path)}" for path in sorted(files)]

    def tokenizer(self) -> Any:
        """Return what turns text into numbers.

        Raises
        ------
        BackboneError
            If it cannot be had.
        """
        try:
            with _quiet():
                return _open_clip().get_tokenizer(self.name)
        except Exception as err:
            raise BackboneError(
                f"text: the tokenizer of {self.name!r} cannot be loaded ({one_line(err)}); "
                "expected its files in the folder, or the package transformers if it needs that"
            ) from err


class ImageTower(nn.Module):
    """Map images to open_clip's image features, not scaled.

    Parameters
    ----------
    model : nn.Module
        Both towers.
    words : str
        Hexadecimal digest of what else a query by text depends on: it is a buffer, so that the
        network with another text tower is another network.
    rebuild : callable
        Loads both towers again, for a query by text.
    """

    visual: nn.Module
    words: torch.Tensor

    def __init__(self, model: nn.Module, words: str, rebuild: Callable[[], Any]) -> None:
        super().__init__()
        self.visual = model.get_submodule("visual")
        self.register_buffer("words", torch.tensor(list(bytes.fromhex(words)), dtype=torch.uint8))
        self.rebuild = rebuild

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, n_features)."""
        features: torch.Tensor = self.visual(x)
        return features


class ClipSource(Source):
    """Every network of ``open_clip.list_pretrained()``, and folders as open_clip saves them."""

    prefix = CLIP

    @property
    def is_installed(self) -> bool:
        """Whether open_clip is installed."""
        return is_installed("open_clip")

    def names(self) -> list[str]:
        """Return the names of published weights, sorted, with the prefix."""
        return sorted(f"{CLIP}{model}/{tag}" for model, tag in _open_clip().list_pretrained())

    def has(self, name: str) -> bool:
        """Tell whether open_clip has a model, and weights of the tag where one is named."""
        model, slash, tag = name.removeprefix(CLIP).partition("/")
        if not model:
            return not slash
        known = _open_clip()
        tags = known.list_pretrained_tags_by_model(model)
        return model in known.list_models() and (not slash or tag in tags)

    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what open_clip's configuration says, or that of a weights file's folder.

        Raises
        ------
        BackboneError
            If open_clip has no such network, with the nearest name.
        """
        if not self.has(name):
            known = [*self.names(), *(CLIP + model for model in _open_clip().list_models())]
            raise BackboneError(
                f"backbone: got {name!r}, expected 'clip/MODEL/WEIGHTS' as open_clip's "
                "list_pretrained() has them, or 'clip/' with weights that are a folder as "
                f"open_clip saves it.{nearest(name, known)}"
            )
        model, _, tag = name.removeprefix(CLIP).partition("/")
        has_config = path is not None and (path.parent / CONFIG).is_file()
        local, terms = Preprocessing(), None
        if path is not None and (has_config or not model):
            local, terms = _in_folder(path.parent).preprocessing, read_license(path.parent)
        elif model:
            local = _named(model, tag).preprocessing
        url = f"https://huggingface.co/models?search={tag}"
        entry = WeightsEntry(tag, url, _named(model, tag).preprocessing) if tag else None
        return BackboneCard(
            name=name,
            source="clip",
            weights=(entry,) if entry else (),
            local=local,
            local_license=terms,
        )

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return none: a file is what its folder, or the name of the model, says."""
        return {}

    def guess(self, card: BackboneCard, path: Path) -> tuple[Preprocessing, str]:
        """Return what the folder's configuration says, else that of the model."""
        config = path.parent / CONFIG
        return card.local, f"as {config} says" if config.is_file() else f"as for {card.name}"

    def load(
        self,
        card: BackboneCard,
        entry: WeightsEntry | None,
        path: Path | None,
        *,
        px: int | None,
        any_size: bool,
    ) -> tuple[nn.Module, str | None, str]:
        """Load both towers and return the image tower, which has no classifier."""
        load = functools.partial(_load, card.name, path, is_published=entry is not None)
        towers, model, origin = load()
        return ImageTower(model, _digest_words(towers, model), load), None, origin

    def words(self, network: Network) -> Words:
        """Return the text tower."""
        assert isinstance(network.module, ImageTower)
        towers, model, _ = network.module.rebuild()
        return TextWords(model, towers.tokenizer())


class TextWords(Words):
    """Words by a text tower.

    Parameters
    ----------
    model : nn.Module
        Both towers, in eval mode.
    tokenizer : callable
        Text to numbers.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._n_features = self.vectors(["a"]).shape[1]

    def meaning(self, word: str) -> Meaning:
        """Return the words as they are: the network reads them."""
        return Meaning(word, (word,))

    def vectors(self, words: Sequence[str]) -> Floats:
        """Return what the text tower gives, scaled to length 1, (n_words, n_features)."""
        if not words:
            return np.empty((0, self._n_features), np.float32)
        with torch.inference_mode():
            found = self._model.encode_text(self._tokenizer(list(words)), normalize=True)  # type: ignore[operator]
        return np.asarray(found.float().numpy(), np.float32)


def _load(name: str, path: Path | None, *, is_published: bool) -> tuple[_Towers, nn.Module, str]:
    """Return both towers with their weights, and where these came from."""
    model_name, _, tag = name.removeprefix(CLIP).partition("/")
    if model_name:
        towers = _named(model_name, tag)
    elif path is None:
        raise WeightsError(
            f"backbone {CLIP!r}: got no weights, expected a folder as open_clip saves it "
            "(--weights FOLDER, weights=FOLDER in Python)"
        )
    else:
        towers = _in_folder(path.parent)
    if is_published:
        return towers, _fetch(model_name, tag), f"open_clip {model_name} {tag}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = towers.build()
    if path is None:
        return towers, model, "random (seed 0)"
    what = f"weights {str(path)!r} for backbone {name!r}"
    load_into(model, read_state_dict(path), name=what)
    return towers, model, str(path.absolute())


def _fetch(model: str, tag: str) -> nn.Module:
    """Load published weights through open_clip, which keeps its own cache."""
    try:
        with _quiet(), asking_hub():
            found: nn.Module = _open_clip().create_model(model, pretrained=tag)
    except Exception as err:
        raise WeightsError(
            f"backbone '{CLIP}{model}/{tag}': its weights cannot be fetched ({one_line(err)}); "
            f"fetch the model's folder on a machine that can ({CONFIG}, weights, tokenizer), and "
            "pass backbone 'clip/' with --weights FOLDER (weights=FOLDER in Python)"
        ) from err
    return found.eval()


def _named(model: str, tag: str) -> _Towers:
    known = _open_clip()
    config = known.get_model_config(model)
    said = known.get_pretrained_cfg(model, tag) if tag else {}
    return _Towers(model, config, _preprocessing(config, said or {}, f"{CLIP}{model}"))


def _in_folder(folder: Path) -> _Towers:
    """Read what a folder holds.

    Raises
    ------
    WeightsError
        If its configuration is missing or is none.
    """
    path = folder / CONFIG
    try:
        whole = json.loads(path.read_text("utf-8"))
        config, said = whole["model_cfg"], whole.get("preprocess_cfg", {})
        missing = {"embed_dim", "vision_cfg", "text_cfg"} - config.keys()
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as err:
        raise WeightsError(
            f"{path}: cannot be read ({one_line(err)}), expected a folder as open_clip saves it, "
            f"with {CONFIG} beside the weights"
        ) from err
    if missing:
        raise WeightsError(
            f"{path}: got model_cfg of {', '.join(config) or 'nothing'}, expected embed_dim, "
            "vision_cfg and text_cfg, as open_clip writes it"
        )
    made = _preprocessing(config, said, str(path))
    return _Towers(f"{FOLDER}{folder.absolute()}", config, made)


def _preprocessing(config: Mapping[str, Any], said: Mapping[str, Any], name: str) -> Preprocessing:
    """Translate open_clip's names, with its defaults.

    Raises
    ------
    BackboneError
        If images are made in a way that featx has not, or the network is of another kind.
    """
    constants = require("open_clip.constants", extra="clip", purpose=CLIP)
    size, mode = config["vision_cfg"].get("image_size", 224), said.get("resize_mode", "shortest")
    if not isinstance(size, int) or mode not in RESIZED or "multimodal_cfg" in config:
        raise BackboneError(
            f"{name}: got images of {size} px, resized by {mode!r}"
            f"{', and a decoder' if 'multimodal_cfg' in config else ''}, expected two towers, "
            f"square images and {' or '.join(map(repr, RESIZED))}"
        )
    mean = said.get("mean") or constants.OPENAI_DATASET_MEAN
    std = said.get("std") or constants.OPENAI_DATASET_STD
    is_bilinear = said.get("interpolation") == "bilinear"
    return Preprocessing(
        resize_px=size,
        crop_px=size,
        interpolation="bilinear" if is_bilinear else "bicubic",
        mean=tuple(map(float, mean)),  # type: ignore[arg-type]
        std=tuple(map(float, std)),  # type: ignore[arg-type]
        squash=RESIZED[mode],
    )


def _digest_words(towers: _Towers, model: nn.Module) -> str:
    """Hash what a query by text depends on beside the image tower's weights.

    That is the text tower, the configuration, which has numbers that no weight shows, such as that
    of heads, and the tokenizer.
    """
    others = nn.Module()
    for name, tensor in model.state_dict().items():
        if not name.startswith(IMAGES):
            others.register_buffer(name.replace(".", "/"), tensor)
    config = json.dumps(towers.config, sort_keys=True)
    parts = [state_digest(others), config, *towers.digest_tokenizer()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning of what is intended, since weights are loaded later.

    It also logs the errors that it raises.
    """
    log, nowhere = logging.getLogger(), logging.NullHandler()
    level = log.level
    log.setLevel(logging.CRITICAL)
    log.addHandler(nowhere)  # else the first warning would give the root logger one of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.removeHandler(nowhere)
        log.setLevel(level)


def _open_clip() -> Any:
    return require("open_clip", extra="clip", purpose="a backbone whose name begins with 'clip/'")
