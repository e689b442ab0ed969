"""A request that was made before is answered by its kept graph, and features stay the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featx
from featx.extraction import kept, loading, notes, requests
from featx.extraction.options import RunOptions

pytest.importorskip("openvino", reason="needs pip install 'featx[openvino]'")
ASKED = {
    "backbone": "squeezenet1_1", "weights": None, "precision": "float32", "device": "cpu",
    "resize_px": 64, "crop_px": 64, "workers": 0, "progress": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEATX_GRAPHS", str(tmp_path / "graphs"))
    kept._open.cache_clear()
    return tmp_path / "graphs"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (70, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture
def loads(monkeypatch) -> list:
    """Count how often torch makes a network, that of a graph apart."""
    made, make = [], loading.prepare

    def counted(encoder, *arguments):
        if encoder.recipe is None:
            made.append(encoder)
        return make(encoder, *arguments)

    monkeypatch.setattr(loading, "prepare", counted)
    return made


def test_the_second_time_the_graph_answers_and_torch_loads_nothing(
    photos, tmp_path, loads, monkeypatch
) -> None:
    first = featx.extract(photos, tmp_path / "a.h5", **ASKED)
    assert (first.summary.engine, len(loads)) == ("openvino", 1)
    with monkeypatch.context() as patch:  # as each container has a name of its own
        patch.setattr("platform.node", lambda: "another")
        again = featx.extract(photos, tmp_path / "b.h5", **ASKED)
    assert (again.summary.engine_reason[:18], len(loads)) == ("its graph is kept,", 1)
    np.testing.assert_array_equal(again[:], first[:])
    exact = featx.extract(photos, tmp_path / "c.h5", **ASKED, engine="torch")
    assert exact.fingerprint == first.fingerprint
    assert np.abs(exact[:] - first[:]).max() <= 1e-5 * np.abs(exact[:]).max()
    for name in ("precision_reason", "preprocessing_reason", "preprocessing", "device"):
        assert getattr(again.summary, name) == getattr(exact.summary, name)
    # whatever else comes with it, to the last bit; and a table that torch has begun goes on
    (tmp_path / "new.png").write_bytes((photos / "07.png").read_bytes() + b" ")
    more = featx.extract(tmp_path / "new.png", tmp_path / "c.h5", **ASKED)
    assert (len(more), len(more.tables), more.summary.engine) == (13, 1, "openvino")
    np.testing.assert_array_equal(more[12], first[7])


def test_what_is_noted_is_checked(photos, tmp_path, folder, caplog) -> None:
    featx.extract(photos / "00.png", tmp_path / "a.h5", **ASKED)
    (note,) = folder.glob("*.json")
    whole = note.read_text()
    for bad in (whole[:-9], whole.replace("squeezenet1_1", "squeezenet1_0"), "[]", "{}"):
        note.write_text(bad)
        assert requests.load_request(note.stem, RunOptions(device="cpu")) is None
        assert f"{note}: cannot be read" in caplog.text
        caplog.clear()
    featx.extract(photos / "00.png", tmp_path / "b.h5", **ASKED)
    assert note.read_text() == whole


@pytest.mark.parametrize("other", [{"layers": ("features.3", "features.6")}, {"engine": "torch"}])
def test_other_requests_are_torchs(tmp_path, folder, other) -> None:
    run = RunOptions(device="cpu", engine=other.get("engine", "auto"))
    encoder = featx.Encoder("squeezenet1_1", weights=None, layers=other.get("layers"))
    found = notes.find_encoder(encoder, run, tmp_path / "a.h5")
    assert not isinstance(found.backbone, kept.KeptNetwork)
    assert not folder.exists()


def test_networks_of_a_hub_are_asked_for_again(monkeypatch, tmp_path) -> None:
    """Their weights change under a name."""
    monkeypatch.setattr(notes, "load_encoder", lambda *_: "torch")
    encoder = featx.Encoder("timm/test_vit3", weights=None)
    assert notes.find_encoder(encoder, RunOptions(), tmp_path / "a.h5") == "torch"


def test_tables_in_another_precision_are_left_to_torch(photos, tmp_path, monkeypatch) -> None:
    """As "auto" continues them: what it came to without them is no answer."""
    asked = {**ASKED, "precision": "auto"}
    mine = featx.extract(photos / "00.png", tmp_path / "a.h5", **asked).recipe
    other = {"float32": "bfloat16", "bfloat16": "float32"}[mine.precision]
    featx.extract(photos, tmp_path / "b.h5", **{**ASKED, "precision": other, "engine": "torch"})
    more = featx.extract(photos / "00.png", tmp_path / "b.h5", **asked)
    assert (more.recipe.precision, more.summary.reused) == (other, 1)
    assert dataclasses.replace(more.recipe, precision=mine.precision) == mine
