"""The terms of weights: shown, kept in a table's notes, said where they may forbid a use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

import featx
from featx.backbones import backbone_card, licenses
from featx.backbones.licenses import is_free, read_license
from featx.backbones.published import choose_weights
from featx.cli.main import main

NAME = "shufflenet_v2_x0_5"
OTHER = "---\ntags:\n- a\nlicense: other\nlicense_name: dinov3-license\n---\nlicense: mit\n"


@pytest.fixture(autouse=True)
def said_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licenses, "_said", set())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("weights")
    torch.save(torchvision.models.get_model(NAME, weights=None).state_dict(), made / "w.pth")
    Image.new("RGB", (40, 30), "red").save(made / "a.png")
    return made


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        (OTHER, "dinov3-license"),
        ("---\nlicense: CC-BY-NC-4.0\ntags: [a]\n---\n", "CC-BY-NC-4.0"),
        ("---\nlicense: 'mit'\n---", "mit"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: [license]\n---\nlicense: mit\n", None),
        ("# A network\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_the_top_of_a_readme_states_the_terms(
    tmp_path: Path, text: str, terms: str | None
) -> None:
    assert read_license(tmp_path) is None
    (tmp_path / "README.md").write_text(text)
    assert read_license(tmp_path) == terms


def test_terms_belong_to_weights_not_to_networks(capsys: pytest.CaptureFixture[str]) -> None:
    """Those by SWAG are for uses without gain; of the default none are stated."""
    card = backbone_card("vit_b_16")
    stated = {entry.name: entry.license for entry in card.weights}
    assert stated["IMAGENET1K_SWAG_E2E_V1"] == "cc-by-nc-4.0"
    assert card.license is stated["IMAGENET1K_V1"] is None
    assert choose_weights("vit_b_16", "IMAGENET1K_SWAG_E2E_V1").license == "cc-by-nc-4.0"
    assert main(["backbones", "vit_b_16", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["backbones"]
    assert (found["license"], found["licenses"]) == (None, stated)
    assert main(["backbones", "vit_b_16"]) == 0
    shown = capsys.readouterr().out
    assert "not stated  IMAGENET1K_V1, IMAGENET1K_SWAG_E2E_V1 (cc-by-nc-4.0)" in shown
    assert not is_free("cc-by-nc-4.0")
    assert is_free(backbone_card("featx_small").license)


def test_timms_terms_are_those_of_its_configuration() -> None:
    timm = pytest.importorskip("timm", reason="timm is an extra")
    for name in ("convnext_base.dinov3_lvd1689m", "resnet18.a1_in1k"):
        stated = timm.models.get_pretrained_cfg(name).license
        assert backbone_card(f"timm/{name}").license == stated
    assert backbone_card("timm/dla60_res2net.in1k").license is None  # timm says "unknown"


def test_terms_are_noted_and_said_once_and_change_no_fingerprint(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"device": "cpu", "precision": "float32", "engine": "torch"}
    image, weights = folder / "a.png", folder / "w.pth"
    plain = featx.extract(image, tmp_path / "plain.h5", NAME, weights=weights, **options)
    assert plain.made_with["license"] is None
    assert "terms" not in caplog.text
    (tmp_path / "README.md").write_text(OTHER)
    shutil.copy(weights, tmp_path)
    for name in ("one.h5", "two.h5"):
        store = featx.extract(image, tmp_path / name, NAME, weights=tmp_path, **options)
        assert store.made_with["license"] == "dinov3-license"
        assert store.recipe == plain.recipe
    (record,) = [r for r in caplog.records if "terms" in r.getMessage()]
    assert f"the weights of {NAME} come under the terms 'dinov3-license'" in record.getMessage()
