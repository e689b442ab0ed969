"""Which preprocessing goes with a weights file, and what is said of files that are none."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from _encoders import load_encoder, load_recipe
from safetensors.torch import save_file
from torch import nn

import featx
from featx.backbones import build_network, load_backbone, published
from featx.backbones.published import choose_weights
from featx.backbones.weights import read_state_dict
from featx.errors import FingerprintMismatchError, WeightsError

F32 = {"precision": "float32", "device": "cpu", "engine": "torch"}
NAME = "shufflenet_v2_x0_5"
V2 = "mobilenet_v2-7ebf99e0.pth"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Weights of a small network."""
    torch.manual_seed(1)
    return torchvision.models.get_model(NAME, weights=None).state_dict()


@pytest.fixture(autouse=True)
def said_anew() -> None:
    """Have what is said once in a process said once in a test."""
    published._warn.cache_clear()


def wanted(name: str, entry: str) -> tuple[int, int, str]:
    made = torchvision.models.get_model_weights(name)[entry].transforms()
    return made.resize_size[0], made.crop_size[0], made.interpolation.value


def sizes(name: str, weights: Any) -> tuple[int | None, int | None, str]:
    p = choose_weights(name, weights).preprocessing
    return p.resize_px, p.crop_px, p.interpolation


# -- whose preprocessing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [V2, "mobilenet_v2-7ebf99e0 (1).pth", "old_mobilenet_v2-7ebf99e0.safetensors"],
)
def test_a_published_name_counts_wherever_the_file_lies(
    tmp_path: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / file).write_bytes(b"x")
    assert sizes("mobilenet_v2", tmp_path / file) == wanted("mobilenet_v2", "IMAGENET1K_V2")
    choose_weights("mobilenet_v2", tmp_path / file)
    (record,) = caplog.records  # said once, though chosen twice
    assert "has the name of the published mobilenet_v2-7ebf99e0.pth but" in record.getMessage()
    assert hashlib.sha256(b"x").hexdigest()[:16] in record.getMessage()


@pytest.mark.parametrize("network", ["mobilenet_v2", "efficientnet_b1", "vit_b_16", "vgg16"])
def test_each_published_file_gets_its_own_preprocessing_by_name(
    tmp_path: Path, network: str
) -> None:
    """SWAG at 384 px, a bilinear filter after a bicubic one, another normalisation."""
    for entry in torchvision.models.get_model_weights(network):
        path = tmp_path / entry.url.rpartition("/")[2]
        path.write_bytes(b"x")
        assert sizes(network, path) == wanted(network, entry.name)
        assert (
            choose_weights(network, path).preprocessing
            == choose_weights(network, entry.name).preprocessing
        )


def test_content_counts_whatever_the_name_and_wins_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = b"the published bytes"
    start = hashlib.sha256(data).hexdigest()[:8]
    source = choose_weights("mobilenet_v2", None).source
    entry = next(e for e in source.card("mobilenet_v2").weights if e.name == "IMAGENET1K_V2")
    other = next(e for e in source.card("mobilenet_v2").weights if e.name == "IMAGENET1K_V1")
    files = {f"mobilenet_v2-{start}.pth": entry, "mobilenet_v2-b0353104.pth": other}
    monkeypatch.setattr(type(source), "published", lambda *_: files)
    for name in ("renamed.bin", "mobilenet_v2-b0353104.pth"):
        (tmp_path / name).write_bytes(data)
        chosen = choose_weights("mobilenet_v2", tmp_path / name)
        assert chosen.preprocessing.resize_px == 232
        assert chosen.reason == "as IMAGENET1K_V2 was evaluated, which this file is"
    (record,) = caplog.records
    assert "is named like mobilenet_v2-b0353104.pth but is" in record.getMessage()


def test_the_file_by_path_and_the_name_of_the_weights_are_one_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(1)
    weights = torchvision.models.mobilenet_v2(weights=None).state_dict()
    torch.save(weights, checkpoints / V2)
    (tmp_path / "elsewhere").mkdir()
    copied = tmp_path / "elsewhere" / V2
    copied.write_bytes((checkpoints / V2).read_bytes())
    recipes = [
        featx.FeatureExtractor("mobilenet_v2", weights=w, **F32).recipe
        for w in ("default", "IMAGENET1K_V2", checkpoints / V2, copied, copied.parent)
    ]
    assert len({recipe.fingerprint for recipe in recipes}) == 1
    assert recipes[0].preprocessing.resize_px == 232


def test_a_cached_file_with_another_content_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    state: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.get_model_weights(NAME).DEFAULT.url
    place = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    place.parent.mkdir(parents=True)
    torch.save(state, place)
    load_backbone(NAME, **F32)
    assert "another content" in caplog.text


def test_what_is_taken_for_an_unknown_file_is_in_text_and_summary(
    tmp_path: Path, state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    from featx.cli.main import main

    torch.save(state, tmp_path / "mine.pth")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    words = ["extract", str(tmp_path / "a.png"), "--store", str(tmp_path / "f.h5")]
    words += ["--backbone", NAME, "--weights", str(tmp_path / "mine.pth"), "--device", "cpu"]
    assert main([*words]) == 0
    said = (
        "images made into a crop of 224 px from 256 px, bilinear (as for IMAGENET1K_V1: the file "
        f"is not one that is published for {NAME}"
    )
    assert said in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["preprocessing"] == "a crop of 224 px from 256 px, bilinear"
    assert "not one that is published" in found["preprocessing_reason"]


def test_a_recipe_brings_its_own_preprocessing_for_the_same_file(tmp_path: Path) -> None:
    """A table made before the file was recognised, with another filter, is still found."""
    name = "efficientnet_b1"
    torch.manual_seed(1)
    path = tmp_path / "efficientnet_b1-c27df63c.pth"
    torch.save(torchvision.models.get_model(name, weights=None).state_dict(), path)
    new = load_encoder(name, weights=path, **F32).recipes[0]
    assert new.preprocessing.interpolation == "bilinear"
    import dataclasses

    first = choose_weights(name, "IMAGENET1K_V1").preprocessing
    assert first.interpolation == "bicubic"
    normalised = dataclasses.replace(first, mean=(0.5, 0.5, 0.5))
    old = dataclasses.replace(new, preprocessing=normalised)
    loaded = load_recipe(old, weights=path, device="cpu", engine="torch")
    assert loaded.recipes[0] == old
    assert loaded.backbone.preprocessing.mean == (
        0.5,
        0.5,
        0.5,
    )  # what the network is normalised by
    torch.manual_seed(2)
    torch.save(torchvision.models.get_model(name, weights=None).state_dict(), tmp_path / "b.pth")
    with pytest.raises(FingerprintMismatchError, match="weights: got"):
        load_recipe(old, weights=tmp_path / "b.pth", device="cpu")


# -- networks of one size, and hubs --------------------------------------------------------------


@pytest.fixture(scope="module")
def swag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a vision transformer for 384 px, of which the network has a class for 224."""
    torch.manual_seed(1)
    small = {"patch_size": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
    net = torchvision.models.VisionTransformer(image_size=384, **small)
    path = tmp_path_factory.mktemp("swag") / "mine.pth"
    torch.save(net.state_dict(), path)
    return path


def test_a_vision_transformer_file_gets_the_size_of_its_position_embeddings(
    swag: Path, tmp_path: Path
) -> None:
    assert sizes("vit_b_16", swag) == wanted("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")
    state = read_state_dict(swag)
    state["encoder.pos_embedding"] = torch.zeros(1, 1 + 20 * 20, 8)
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "odd.pth")
    assert sizes("vit_b_16", tmp_path / "odd.pth") == (320, 320, "bilinear")
    source = choose_weights("vit_b_16", None).source
    module, _ = source.build(source.card("vit_b_32"), px=384, any_size=False)
    assert module.image_size == 384


def test_timm_weights_get_what_their_tag_or_config_says(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is an extra")
    name, arch = "timm/vit_base_patch16_224", "vit_base_patch16_224"
    for tag, mean in (("augreg_in21k", 0.5), ("dino", 0.485), ("bamboo", 0.48145466)):
        hub = tmp_path / f"models--timm--{arch}.{tag}" / "snapshots" / "0123abcd"
        hub.mkdir(parents=True)
        file = hub / "model.safetensors"
        file.write_bytes(b"x")
        chosen = choose_weights(name, file)
        by_name = choose_weights(f"{name}.{tag}", "default").preprocessing
        assert chosen.preprocessing == by_name
        assert chosen.preprocessing.mean[0] == mean
        assert chosen.reason == f"as {tag} was evaluated, by the file's name"
        assert choose_weights(name, hub).preprocessing == by_name  # the folder
        (tmp_path / f"{arch}.{tag}.bin").write_bytes(b"x")
        assert choose_weights(name, tmp_path / f"{arch}.{tag}.bin").preprocessing == by_name
    config = {
        "architecture": arch,
        "pretrained_cfg": {
            "input_size": [3, 384, 384], "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1],
            "interpolation": "bilinear", "crop_pct": 0.95,
        },
    }  # fmt: skip
    (hub / "config.json").write_text(json.dumps(config))
    said = choose_weights(name, hub).preprocessing
    expected = timm.data.resolve_data_config(pretrained_cfg=config["pretrained_cfg"])
    assert said.mean == tuple(expected["mean"]) == (0.1, 0.2, 0.3)
    assert (said.crop_px, said.resize_px, said.interpolation) == (384, 404, "bilinear")
    (hub / "config.json").write_text(json.dumps(config["pretrained_cfg"]))  # the older form
    assert choose_weights(name, hub).preprocessing == said
    (hub / "config.json").write_text('{"model_type": "vit"}')  # another library's
    assert choose_weights(name, hub).preprocessing == by_name
    (hub / "config.json").write_text("{cut")
    with pytest.raises(WeightsError, match=r"config\.json: says how images are made"):
        choose_weights(name, hub)


def test_a_tuned_file_brings_the_preprocessing_that_it_was_tuned_with(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    p = choose_weights(NAME, None).preprocessing
    notes = {"architecture": NAME, "resize_px": "100", "crop_px": "90"}
    save_file(state, tmp_path / "old.safetensors", metadata=notes)
    assert sizes(NAME, tmp_path / "old.safetensors") == (100, 90, "bilinear")
    notes["preprocessing"] = json.dumps({**p.to_dict(), "resize_px": 99, "mean": [0.0, 0.0, 0.1]})
    save_file(state, tmp_path / "new.safetensors", metadata=notes)
    found = choose_weights(NAME, tmp_path / "new.safetensors")
    assert (found.preprocessing.resize_px, found.preprocessing.mean) == (99, (0.0, 0.0, 0.1))
    assert found.reason == "as the file's header says"
    assert sizes("resnet18", tmp_path / "new.safetensors")[0] == 256  # another network's header


def test_a_folder_must_say_which_file(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"is a folder with 0 weights files \(none\)"):
        load_backbone(NAME, weights=tmp_path)
    torch.save(state, tmp_path / "a.pth")
    assert load_backbone(NAME, weights=tmp_path, **F32).weights_source == str(tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"with 2 weights files \(a.pth, b.pth\), .*name the"):
        load_backbone(NAME, weights=tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    expected = str(tmp_path / "pytorch_model.bin")
    assert load_backbone(NAME, weights=tmp_path, **F32).weights_source == expected


# -- what training scripts save ------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 3},
        lambda s: {"checkpoint": {"model": {"state_dict": s}}},
        lambda s: {"teacher": {f"module.backbone.{k}": v for k, v in s.items()}, "student": {}},
        lambda s: {"model_ema": s, "optimizer": None},
        lambda s: {"state_dict": {f"net.{k}": v for k, v in s.items()}},
        lambda s: {
            "model": {
                **{f"backbone.{k}": v for k, v in s.items()},
                "head.mlp.weight": torch.zeros(2),
            }
        },
        lambda s: {**s, "epoch": 7},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
    ],
    ids=[
        "parallel",
        "nested",
        "teacher",
        "ema",
        "net",
        "with a head beside",
        "with a number",
        "compiled",
    ],
)
def test_weights_are_found_in_what_training_scripts_save(
    tmp_path: Path, state: dict[str, torch.Tensor], wrap: Any
) -> None:
    torch.save(state, tmp_path / "plain.pth")
    torch.save(wrap(state), tmp_path / "wrapped.pth")
    found = [load_backbone(NAME, weights=tmp_path / f, **F32).weights
             for f in ("plain.pth", "wrapped.pth")]  # fmt: skip
    assert found[0] == found[1]


def test_of_several_networks_in_a_file_one_is_taken_and_said_or_none(
    tmp_path: Path, state: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    shifted = {k: v + 1 for k, v in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": shifted}, tmp_path / "ema.pth")
    torch.save(state, tmp_path / "plain.pth")
    net = load_backbone(NAME, weights=tmp_path / "ema.pth", **F32)
    assert net.weights == load_backbone(NAME, weights=tmp_path / "plain.pth", **F32).weights
    assert "under 'state_dict', 'state_dict_ema'; featx takes 'state_dict'" in caplog.text
    moco = {f"encoder_{x}.{k}": v for x in "qk" for k, v in state.items()}
    torch.save(moco, tmp_path / "moco.pth")
    with pytest.raises(WeightsError, match=r"2 networks that fit, under 'encoder_q.', 'encoder_k"):
        load_backbone(NAME, weights=tmp_path / "moco.pth")


def test_a_network_whose_own_names_begin_like_a_wrapper_loads_its_own_file(tmp_path: Path) -> None:
    """Dropping "model." from every name whatever the network's are would not fit it."""

    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x).mean((2, 3))

    torch.save(Mine().state_dict(), tmp_path / "m.pth")
    assert load_backbone(Mine(), weights=tmp_path / "m.pth", **F32).layer("output").shape == (1, 2)


def test_missing_tensors_are_named_as_the_file_has_them(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    part = {f"module.{k}": v for k, v in state.items() if not k.startswith("conv5")}
    torch.save(part, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match=r"missing \(.*unexpected \(module\.conv1\.0\.weight"):
        load_backbone(NAME, weights=tmp_path / "part.pth")


# -- files that are none -------------------------------------------------------------------------


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 14\n"


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (LFS, r"got a Git LFS pointer, .*git lfs pull"),
        (b"\n<!DOCTYPE html><html>404</html>", "got a web page"),
        (b'{"error": "not found"}', r"got text that begins with '\{\"error\"|got text that"),
        (b"PK\x03\x04" + bytes(100), r"got a file whose end is missing \(104 bytes\)"),
    ],
    ids=["empty", "lfs", "html", "json", "cut"],
)
def test_files_that_are_no_weights_are_said_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load_backbone(NAME, weights=tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_download_that_was_cut_is_said(
    tmp_path: Path, state: dict[str, torch.Tensor], kind: str
) -> None:
    whole = tmp_path / f"w.{kind}"
    save_file(state, whole) if kind == "safetensors" else torch.save(state, whole)
    data = whole.read_bytes()
    for share in (0.3, 0.9):
        whole.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(WeightsError, match=r"a file whose end is missing \(\d+ bytes\)"):
            load_backbone(NAME, weights=whole)


def test_the_kind_of_a_file_is_told_by_its_content(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, tmp_path / "w.safetensors")
    save_file(state, tmp_path / "w.pth")
    found = {load_backbone(NAME, weights=p, **F32).weights for p in sorted(tmp_path.iterdir())}
    assert len(found) == 1


def test_what_people_print_is_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    loaded = load_encoder(NAME, weights=None, **F32)
    chosen = choose_weights("vit_b_16", "default")
    net = loaded.backbone
    things = [
        loaded,
        net,
        *loaded.specs,
        chosen,
        chosen.card,
        chosen.entry,
        net._engines,
        net._torch,
    ]
    things += [build_network(NAME, weights=None), net.layer("penultimate")]
    for thing in things:
        text = repr(thing)
        assert "\n" not in text
        assert "tensor(" not in text
        assert len(text) < 500, text
    assert repr(loaded.backbone).startswith(f"Backbone('{NAME}', weights='random (seed 0)'")


@pytest.mark.parametrize("weights", [["a.pth"], {"a": 1}, 7, True])
def test_weights_that_are_no_path_are_refused_in_a_line(weights) -> None:
    with pytest.raises(WeightsError, match=r"got weights .*, expected the path of a file"):
        choose_weights("mobilenet_v2", weights)
