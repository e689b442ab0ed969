"""Names of networks: found in every source, whatever their case, and nearly right ones."""

from __future__ import annotations

import json

import pytest

from featx.backbones import list_backbones, load_backbone
from featx.backbones.catalogue import TIMM, count_timm
from featx.cli.main import main
from featx.errors import BackboneError, MissingDependencyError


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="timm is an extra")


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["backbones", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["backbones", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("word", ["dino", "DINO", "beit", "dinov2", "dino*"])
def test_a_word_that_only_timm_has_lists_timms(
    timm, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    found = listed(capsys, word)
    names = [b["name"] for b in found["backbones"]]
    stem = word.lower().strip("*")
    assert names == [f"timm/{n}" for n in sorted(timm.list_pretrained()) if stem in n]
    assert found["n_more_in_timm"] == 0
    assert list_backbones(word) == names


def test_a_word_of_two_sources_lists_both(timm) -> None:
    pytest.importorskip("open_clip")
    names = list_backbones("siglip")
    assert names[0].startswith("timm/")
    assert names[-1].startswith("clip/")


def test_what_torchvision_has_comes_alone_with_a_count_of_timms(
    timm, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listed(capsys, "vit*")
    assert [b["name"] for b in found["backbones"]][:2] == ["vit_b_16", "vit_b_32"]
    assert {b["source"] for b in found["backbones"]} == {"torchvision"}
    assert found["n_more_in_timm"] == count_timm("vit*") > 100
    assert main(["backbones", "vit*"]) == 0
    assert "more: featx backbones 'timm/*vit*'" in capsys.readouterr().out


def test_case_does_not_matter_and_no_pattern_lists_what_needs_no_extra() -> None:
    assert list_backbones("ResNet1*") == list_backbones("resnet1*") != []
    assert list_backbones("ILENET_V2") == ["mobilenet_v2"]
    assert not any(name.startswith("timm/") for name in list_backbones())


def test_long_lists_are_cut_in_text_only(timm, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "timm/*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    n = len(timm.list_pretrained())
    assert lines[-1].startswith(f"... and {n - 100} more: give more of the name")
    assert lines[-2] == "params -: known only once the network is built"
    assert len(lines) == 103
    rows = listed(capsys, "timm/*")["backbones"]
    assert len(rows) == n
    unusable = {row["name"]: row["unusable"] for row in rows if "unusable" in row}
    assert 0 < len(unusable) < 10
    assert all("'border'" in reason for reason in unusable.values())
    found = listed(capsys, "timm/*deepseek*")
    assert (found["n_more_in_timm"], {row["source"] for row in found["backbones"]}) == (
        0,
        {"timm"},
    )
    assert main(["backbones", min(unusable)]) == 1
    assert "cropped by 'border'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("timm/resnet50.a1_in1k", ["timm/resnet50.a1_in1k"]),
        ("TIMM/ResNet50.A1_in1k", ["timm/resnet50.a1_in1k"]),
        ("timm/resnet10t", ["timm/resnet10t.c3_in1k"]),
    ],
)
def test_names_of_timm_with_and_without_prefix_and_tag(timm, word: str, names: list[str]) -> None:
    assert list_backbones(word) == names


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("resnot18", "'resnet18'"),
        ("timm/resnet10t.c9_in1k", "'timm/resnet10t.c3_in1k'"),
        ("timm/vit_b_16", "'vit_b_16'"),
    ],
)
def test_a_miss_has_the_nearest_name(
    timm, capsys: pytest.CaptureFixture[str], word: str, near: str
) -> None:
    line = refused(capsys, word)
    assert f"nothing fits {word!r}" in line
    assert line.endswith(f"Did you mean {near}?")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RESNET18", "Did you mean 'resnet18'"),
        ("resnet10t", "Did you mean 'timm/resnet10t.c3_in1k'"),
        ("resnet50.tv_in1k", "Did you mean 'timm/resnet50.tv_in1k'"),
        ("dinov2", r"featx backbones dinov2 lists those of timm, such as 'timm/\w*dinov2\w*\."),
        ("timm/vit_b_16", "which timm does not have, expected 'vit_b_16', which comes without"),
        ("timm/resnet10t.c9", r"has no weights 'c9', expected c3_in1k\.|no weights 'c9'"),
        ("timm/RESNET10T", "Did you mean 'timm/resnet10t'"),
    ],
)
def test_loading_a_name_that_is_nearly_right_says_which_is(timm, name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load_backbone(name, weights=None)


def test_without_timm_its_install_command_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    assert not TIMM.is_installed
    assert "pip install 'featx[timm]'" in refused(capsys, "dinov2")
    assert listed(capsys, "vit")["n_more_in_timm"] == 0
    with pytest.raises(BackboneError, match=r"pip install 'featx\[timm\]'"):
        load_backbone("vit_base_patch14_dinov2")
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[timm\]'"):
        list_backbones("timm/*")
