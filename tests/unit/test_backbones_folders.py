"""Networks that a folder or a hub describes as timm does: weights and preprocessing together."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from _hub import serve_hub
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

import featx
from featx import Encoder
from featx.backbones import backbone_card, load_backbone
from featx.backbones._hub import _find_obstacle
from featx.cli.main import main
from featx.errors import MissingDependencyError, ParameterError, WeightsError
from featx.extraction.embed import load_by_recipe

timm = pytest.importorskip("timm", reason="timm is an extra")
F32 = {"precision": "float32", "decode": "full"}
SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def save(folder: Path, name: str = "test_vit.r160_in1k", *, safe: bool = True, **args) -> Path:
    """Save a network with random weights as timm does."""
    torch.manual_seed(0)
    timm.models.save_for_hf(timm.create_model(name, **args), folder, safe_serialization=safe)
    return folder


def edit(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("local") / "vit")


@pytest.fixture(scope="module")
def photographs() -> list[Path]:
    return sorted(SAMPLES.rglob("*.jpg"))[::60]


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("name", ["test_vit.r160_in1k", "test_convnext.r160_in1k"])
def test_features_of_a_folder_are_timms_own(
    tmp_path: Path, photographs: list[Path], name: str, safe: bool
) -> None:
    folder = save(tmp_path / "a", name, safe=safe, num_classes=7)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))
    images = [ImageOps.exif_transpose(Image.open(p)).convert("RGB") for p in photographs]
    with torch.inference_mode():
        x = torch.stack([transform(image) for image in images])
        expected = model.forward_head(model.forward_features(x), pre_logits=True).numpy()
    found = Encoder(f"local-dir:{folder}", **F32).encode([str(p) for p in photographs])
    assert len(found) == len(photographs) > 4
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_where_a_folder_lies_is_no_part_of_what_it_is_but_its_arguments_are(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    recipe = Encoder(f"local-dir:{folder}", **F32).recipes[0]
    assert recipe.backbone == "local-dir:"
    assert Encoder(f"local-dir:{tmp_path}/copy", **F32).recipes[0] == recipe
    assert Encoder("local-dir:", weights=tmp_path / "copy", **F32).recipes[0] == recipe
    given = json.loads((folder / "config.json").read_text())["model_args"]
    edit(tmp_path / "copy", model_args={**given, "num_heads": 1})  # no weight shows that
    other = Encoder(f"local-dir:{tmp_path}/copy", weights="default", **F32)
    assert other.load().backbone.weights != recipe.weights


def test_a_table_finds_its_folder_again(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    options = {**F32, "device": "cpu", "engine": "torch"}
    store = featx.extract(tmp_path / "a.png", tmp_path / "f.h5", f"local-dir:{folder}", **options)
    assert (store.recipe.backbone, store.made_with["weights"]) == ("local-dir:", str(folder))
    assert store.made_with["license"] == "apache-2.0"
    loaded = load_by_recipe(store.recipe, store.made_with, thing="store")
    assert loaded.recipes == (store.recipe,)


def test_a_folder_is_described_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", f"local-dir:{folder}", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["backbones"]
    assert found["name"] == f"local-dir:{folder}"
    assert (found["license"], found["crop_px"]) == ("apache-2.0", 160)


def test_a_folder_that_is_none_of_timms_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="local-dir:': got no folder, expected 'local-dir:FOLD"):
        load_backbone("local-dir:")
    with pytest.raises(WeightsError, match="no such file"):
        load_backbone(f"local-dir:{tmp_path}/missing")
    with pytest.raises(ParameterError, match=r"got 'x.pth' together with backbone 'local-dir:"):
        Encoder(f"local-dir:{folder}", weights="x.pth")
    bad = shutil.copytree(folder, tmp_path / "bad")
    (bad / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(WeightsError, match=r"got no architecture .* named 'hf/FOLDER'"):
        load_backbone(f"local-dir:{bad}")
    shutil.copy(folder / "config.json", bad)
    edit(bad, architecture="no_such_network")
    with pytest.raises(
        WeightsError, match=r"timm cannot build .*no_such_network.* \(.*Unknown mod"
    ):
        load_backbone(f"local-dir:{bad}")
    edit(bad, architecture="test_resnet", model_args={})
    with pytest.raises(WeightsError, match=r"model\.safetensors.*does not fit"):
        load_backbone(f"local-dir:{bad}")


def test_weights_of_a_training_that_diverged_are_refused(folder: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(folder, tmp_path / "bad")
    state = load_file(bad / "model.safetensors")
    state["cls_token"][..., 0] = np.nan
    save_file(state, bad / "model.safetensors")
    with pytest.raises(WeightsError, match=r"'cls_token' has 1 of 64 numbers that are NaN"):
        load_backbone(f"local-dir:{bad}")


# -- a hub ---------------------------------------------------------------------------------------


@pytest.fixture
def hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, list[str]]]:
    """A hub at a loopback address, with a network of an owner, and an empty cache."""
    constants = pytest.importorskip("huggingface_hub").constants
    shutil.copytree(folder, tmp_path / "hub" / "owner" / "vit")
    (tmp_path / "hub" / "owner" / "vit" / "README.md").write_text("---\nlicense: mit\n---\n")
    with serve_hub(tmp_path / "hub") as (address, asked):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield tmp_path / "hub" / "owner" / "vit", asked


def test_a_hub_gives_what_its_folder_gives_and_a_machine_without_one_too(
    hub: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there, asked = hub
    edit(there, pretrained_cfg={**_config(there)["pretrained_cfg"], "license": None})
    card = backbone_card("hf-hub:owner/vit")
    assert (card.license, card.local.crop_px) == ("mit", 160)
    assert not any("safetensors" in line for line in asked)  # a card needs no weights
    recipe = Encoder("hf-hub:owner/vit", **F32).recipes[0]
    assert "GET /owner/vit/resolve/main/model.safetensors" in asked
    assert recipe.backbone == "hf-hub:owner/vit"
    local = Encoder(f"local-dir:{there}", **F32).recipes[0]
    assert recipe.weights == local.weights
    assert recipe.preprocessing == local.preprocessing
    n_asked = len(asked)
    from_folder = Encoder("hf-hub:owner/vit", weights=there, **F32)
    assert from_folder.recipes[0] == recipe
    assert len(asked) == n_asked  # nothing is fetched where a folder is given
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert backbone_card("hf-hub:owner/vit").license == "mit"  # from the cache
    with pytest.raises(
        WeightsError,
        match=r"'hf-hub:owner/other': owner/other cannot be fetched from the hub .*hf download "
        r"owner/other --local-dir FOLDER\) and name backbone 'local-dir:FOLDER'",
    ):
        Encoder("hf-hub:owner/other", **F32).load()


def test_a_hub_that_cannot_be_reached_is_said_at_once_and_its_cache_serves(
    hub: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Would catch the hub's own retries: five waits for each file, and two lines of log each."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert backbone_card("hf-hub:owner/vit").license == "apache-2.0"
    with socket.socket() as held:  # nobody listens at it
        held.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits for another try"))
        assert backbone_card("hf-hub:owner/vit").license == "apache-2.0"  # from the cache
        why = rf"{address} cannot be reached \(.+\), and the cache has no copy"
        for name in ("hf-hub:owner/other", "timm/resnet10t.c3_in1k"):
            with pytest.raises(WeightsError, match=why):
                Encoder(name, **F32).load()
    assert not constants.HF_HUB_OFFLINE
    assert capfd.readouterr().err == ""


def test_a_proxy_is_what_has_to_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("no_proxy", "other.invalid")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert _find_obstacle("https://hub.invalid", 0) == ""
    assert _find_obstacle("https://hub.invalid", 1) != ""


def test_what_a_hub_does_not_have_is_said_on_one_line(
    hub: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backbones", "hf-hub:owner/other"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "owner/other cannot be fetched from the hub (RepositoryNotFoundError" in line
    (hub[0] / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"owner/vit cannot be fetched from the hub \(.*Entry"):
        load_backbone("hf-hub:owner/vit")


def _config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def test_without_timm_its_install_command_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[timm\]'"):
        load_backbone(f"local-dir:{folder}")
