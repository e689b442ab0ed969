"""What images are made into for towers of CLIP's kind, against open_clip's own transforms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import featx
from featx.backbones._timm import TimmSource, preprocessing_of_config
from featx.backbones.catalogue import backbone_card
from featx.engines.engine import Normalise
from featx.errors import BackboneError
from featx.images import ImagePreprocessor
from featx.recipe import Preprocessing

open_clip = pytest.importorskip("open_clip", reason="open_clip is an extra")
timm = pytest.importorskip("timm", reason="timm is an extra")

# open_clip's name, and timm's of the same image tower where featx makes images for both alike.
TOWERS = {
    "ViT-B-32/openai": None,
    "ViT-B-16-SigLIP/webli": "vit_base_patch16_siglip_224.webli",
    "ViT-B-16-SigLIP2-256/webli": "vit_base_patch16_siglip_256.v2_webli",
    "ViT-SO400M-16-SigLIP-i18n-256/webli": "vit_so400m_patch16_siglip_256.webli_i18n",
    "ViT-L-14-CLIPA/datacomp1b": None,
    "ViT-B-16/dfn2b": "vit_base_patch16_clip_224.dfn2b",
    "ViT-H-14-378/dfn5b": "vit_huge_patch14_clip_378.dfn5b",
    "ViT-H-14-quickgelu/dfn5b": "vit_huge_patch14_clip_quickgelu_224.dfn5b",
    "PE-Core-B-16/meta": "vit_pe_core_base_patch16_224.fb",
    "MobileCLIP-S1/datacompdr": None,
}


def transform_of(name: str) -> Any:
    """open_clip's own transform of published weights."""
    model, tag = name.split("/")
    said = open_clip.get_pretrained_cfg(model, tag)
    keys = ("mean", "std", "interpolation", "resize_mode")
    return open_clip.image_transform(
        open_clip.get_model_config(model)["vision_cfg"].get("image_size", 224),
        is_train=False,
        **{key: said[key] for key in keys if key in said},
    )


def preprocessings(name: str) -> list[Preprocessing]:
    names = [f"clip/{name}", f"timm/{TOWERS[name]}"] if TOWERS[name] else [f"clip/{name}"]
    return [backbone_card(n).weights[0].preprocessing for n in names]


def largest_difference(name: str, images: Sequence[Image.Image]) -> float:
    """Between what the network is given by featx and by open_clip, where 1 is a deviation."""
    transform, found = transform_of(name), [0.0]
    for made in preprocessings(name):
        preprocess, normalise = ImagePreprocessor(made), Normalise(made)
        for image in images:
            (view,) = preprocess(image)
            mine = normalise(torch.tensor(view)[None])[0]
            found.append(float((mine - transform(image)).abs().max()))
    return max(found)


@pytest.mark.parametrize("name", TOWERS)
def test_images_are_made_as_open_clip_makes_them(name: str) -> None:
    rng = np.random.default_rng(0)
    sizes = ((500, 375), (300, 640), (224, 224), (90, 700))
    shapes = [(height // 4, width // 4, 3) for width, height in sizes]
    small = [Image.fromarray(rng.integers(0, 256, s).astype(np.uint8)) for s in shapes]
    images = [image.resize(size) for image, size in zip(small, sizes, strict=True)]
    assert largest_difference(name, images) < 1e-5


@pytest.fixture(scope="module")
def photographs(shared_assets: Path) -> list[Image.Image]:
    """A hundred, of four sets."""
    images: list[Image.Image] = []
    for folder in ("caltech101", "flowers12", "scene15", "imagenet_samples"):
        paths = featx.ImageManifest.from_source(shared_assets / "datasets" / folder).paths
        chosen = np.linspace(0, len(paths) - 1, 25).astype(int)
        images += [Image.open(paths[i]).convert("RGB") for i in chosen]
    return images


@pytest.mark.slow
@pytest.mark.parametrize("name", TOWERS)
def test_photographs_are_made_as_open_clip_makes_them(
    name: str, photographs: list[Image.Image]
) -> None:
    assert len(photographs) == 100
    assert largest_difference(name, photographs) < 1e-5


def test_every_tower_of_timms_that_open_clip_stretches_is_stretched() -> None:
    """Of SigLIP and PE-Core, whose towers open_clip itself takes from timm."""
    n = 0
    for model, tag in open_clip.list_pretrained():
        said = open_clip.get_pretrained_cfg(model, tag)
        tower = open_clip.get_model_config(model)["vision_cfg"].get("timm_model_name", "")
        if said.get("resize_mode") != "squash" or not tower or model.startswith("nllb"):
            continue
        version = "v2_webli" if "SigLIP2" in model else "webli_i18n" if "i18n" in model else tag
        known = [n.partition(".")[2] for n in timm.list_pretrained(f"{tower}.*")]
        tags = {"meta": ["fb"]}.get(tag, [version] if version in known else ["webli"])
        for each in tags:
            made = backbone_card(f"timm/{tower}.{each}").weights[0].preprocessing
            side = made.crop_px
            assert made == Preprocessing(
                side, side, said["interpolation"], tuple(said["mean"]), tuple(said["std"]),
                squash=True,
            ), (model, tower, each)  # fmt: skip
            n += 1
    assert n >= 30


def test_all_other_weights_of_timms_are_as_timm_says() -> None:
    """Tuned ones among them: their tags say so."""
    source, changed = TimmSource(), set()
    for name in timm.list_pretrained():
        said = timm.models.get_pretrained_cfg(name)
        if said.crop_mode == "border":
            with pytest.raises(BackboneError, match=r"by 'border', expected 'center' or 'squash'"):
                source.card(f"timm/{name}")
        elif source.card(f"timm/{name}").local.squash != (said.crop_mode == "squash"):
            changed.add(name)
    assert changed == {
        name
        for name in timm.list_pretrained()
        if ("_siglip_" in name and name.split(".")[1] in ("webli", "v2_webli", "webli_i18n"))
        or name.endswith(".dfn5b")
        or "vit_pe_core_" in name
    }


@pytest.mark.parametrize(("n_outputs", "squash"), [(0, True), (10, False)])
def test_a_folder_of_weights_tuned_from_them_is_as_its_configuration_says(
    tmp_path: Path, n_outputs: int, squash: bool
) -> None:
    """timm keeps the tag of the weights that it started from, in either form."""
    config = timm.models.get_pretrained_cfg("vit_base_patch16_siglip_224.webli").to_dict()
    whole = {"architecture": config["architecture"], "num_classes": n_outputs}
    path = tmp_path / "config.json"
    for fields in (config, {**config, "num_classes": n_outputs}):
        path.write_text(json.dumps({**whole, "pretrained_cfg": fields}))
        made = preprocessing_of_config(path)
        assert made is not None
        assert (made.squash, made.resize_px) == (squash, 224 if squash else 248)
