"""Sources of networks that other packages add by an entry point, broken ones among them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.backbones import list_backbones, load_backbone
from featx.cli.main import main
from featx.errors import BackboneError
from featx.extraction.notes import _request_digest
from featx.extraction.options import RunOptions
from featx.images import sample_data_dir

LAB = """
import torch
from torch import nn

from featx.backbones import BackboneCard, BuiltSource, WeightsEntry
from featx.recipe import Preprocessing

MADE = Preprocessing(resize_px=32, crop_px=32)


class LabSource(BuiltSource):
    def names(self):
        return ["lab/mean", "lab/fails"]

    def card(self, name, path=None):
        weights = (WeightsEntry("v1", None, MADE, "cc-by-nc-4.0"),)
        return BackboneCard(name, "lab", weights, MADE)

    def build(self, card, *, px, any_size):
        if card.name == "lab/fails":
            raise RuntimeError("no disk\\nleft")
        mean = nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(mean, nn.Flatten(), nn.Linear(3, 5, bias=False)), None

    def fetch(self, card, entry, module):
        with torch.no_grad():
            module[2].weight.fill_(2.0)
        return "the lab"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Make distributions that are found on `sys.path`, as pip leaves them."""

    def make(package: str, entry_points: str, **modules: str) -> None:
        folder = tmp_path / package
        info = folder / f"{package}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[featx.backbones]\n{entry_points}\n")
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(folder)

    yield make
    for name in ("lab_networks", "broken_networks"):
        sys.modules.pop(name, None)


def test_a_package_adds_networks_that_extract_and_are_found_again(
    install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install("featx_lab", "lab = lab_networks:LabSource", lab_networks=LAB)
    assert list_backbones("lab/*") == list_backbones("LAB/") == ["lab/fails", "lab/mean"]
    assert list_backbones("lab/m") == ["lab/mean"]
    assert "lab/mean" not in list_backbones()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    encoder = featx.Encoder("lab/mean", precision="float32")
    mean, std = (np.array(encoder.recipes[0].preprocessing.to_dict()[k]) for k in ("mean", "std"))
    expected = 2 * ((images / 255 - mean) / std).mean((1, 2)).sum(1, keepdims=True)
    np.testing.assert_allclose(
        encoder.encode(images, engine="torch"), np.repeat(expected, 5, 1), atol=1e-4
    )
    # its code may change between two runs, so that no request is taken for one of before
    assert _request_digest(encoder, RunOptions()) is None
    assert _request_digest(featx.Encoder(), RunOptions()) is not None


def test_a_network_of_a_package_is_compared(
    install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("featx_lab", "lab = lab_networks:LabSource", lab_networks=LAB)
    photos = sample_data_dir() / "objects"
    words = ["compare", photos / "apple", photos / "car", "--store", tmp_path / "c.h5"]
    more = ["--backbone", "lab/mean", "--device", "cpu", "--workers", "0", "--folds", "2"]
    assert main([str(word) for word in (*words, *more)]) == 0
    assert "lab/mean is the most accurate" in capsys.readouterr().out


def test_terms_of_a_plug_in_are_shown(install, capsys: pytest.CaptureFixture[str]) -> None:
    install("featx_lab", "lab = lab_networks:LabSource", lab_networks=LAB)
    assert main(["backbones", "lab/mean", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["backbones"]
    assert (found["source"], found["license"], found["crop_px"]) == ("lab", "cc-by-nc-4.0", 32)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "lab/fails",
            r"package featx_lab 1\.2 fails in load \(RuntimeError: no disk left\); mend",
        ),
        ("lab/maen", r"got 'lab/maen', expected one of lab/fails, lab/mean \(package featx_lab 1"),
        (
            "nolib/x",
            r"'nolib/': the plug-in of package featx_broken 1\.2 cannot be loaded \(Modul",
        ),
        ("raises/x", r"package featx_broken 1\.2 cannot be loaded \(ZeroDivisionError: division"),
        ("odd/x", r"package featx_broken 1\.2 gives a dict, expected a featx\.backbones\.Source"),
        (
            "other/x",
            r"package featx_broken 1\.2 has a network 'lab/mean', .* names with 'other/'",
        ),
        (
            "twice/x",
            r"packages featx_broken 1\.2 and featx_lab 1\.2 both have this name|both have",
        ),
        ("nothing/x", r"begins with 'timm/', .*'lab/', 'nolib/', 'odd/', 'other/', 'raises/'"),
    ],
)
def test_a_broken_package_is_named_and_breaks_no_other(
    install, name: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    install(
        "featx_lab",
        "lab = lab_networks:LabSource\ntwice = lab_networks:LabSource",
        lab_networks=LAB,
    )
    install(
        "featx_broken",
        "nolib = no_such_module:Source\nodd = builtins:dict\nraises = broken_networks:Source\n"
        "timm = builtins:dict\nother = lab_networks:LabSource\ntwice = lab_networks:LabSource",
        broken_networks="1 / 0",
    )
    with pytest.raises(BackboneError, match=message) as caught:
        load_backbone(name) if name != "other/x" else list_backbones(name)
    assert "\n" not in str(caught.value)
    assert load_backbone("lab/mean").license == "cc-by-nc-4.0"
    assert list_backbones("resnet18") == ["resnet18"]
    assert list_backbones("lab/mean") == ["lab/mean"]
    assert list_backbones("mean") == ["lab/mean"]
    said = [record.getMessage() for record in caplog.records]
    assert sum("cannot be loaded" in line for line in said) == 2
