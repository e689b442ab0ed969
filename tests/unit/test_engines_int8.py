"""Eight-bit integers: what nncf gives by hand, made once, its loss measured and said."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from _encoders import load_encoder, load_recipe
from torch import nn

import featx
from featx.backbones import load_backbone
from featx.backbones.embedded import build_embedded
from featx.cli.main import main
from featx.engines import _int8
from featx.engines.placement import Precision
from featx.errors import BackboneError, MissingDependencyError, ParameterError
from featx.extraction import loaded as loaded_module
from featx.extraction import loading
from featx.extraction.embed import embed_images
from featx.images import ImageManifest, sample_data_dir

is_there = all(importlib.util.find_spec(name) for name in ("nncf", "openvino"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_there, reason="needs nncf (featx[int8])"),
]
REST = Precision.parse("auto", torch.device("cpu")).rest
INT8 = {"backbone": "featx_small", "device": "cpu", "precision": "int8"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory):
    """An empty cache for the module, so that the first test quantises and the others need not."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("torch")
    patch.setenv("TORCH_HOME", str(folder))
    yield folder / "hub"
    patch.undo()


@pytest.fixture(autouse=True)
def _cache(hub: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "by_hand" not in request.node.name:  # fewer samples: how many is not in question
        monkeypatch.setattr(loaded_module, "EVERY_SAMPLE", 18)


def load_fresh(**options):
    loading.load_network.cache_clear()
    return load_encoder(**{**INT8, **options})


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(float), b.astype(float)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def refuse(*_, **__):
    raise AssertionError("quantised again")


def test_it_is_what_nncf_gives_by_hand_and_the_loss_is_what_numpy_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nncf
    import openvino

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    loaded = load_fresh()
    choice = loaded.choose_engine(1)
    assert choice.name == "openvino"
    paths = ImageManifest.from_source(sample_data_dir()).paths[::3]
    images = loaded._samples((160, 160, 3))
    assert len(images) == len(paths)
    held_out = np.arange(len(images)) % 4 == 0
    reads = [(spec.layer, spec.pooling) for spec in loaded.specs]
    (found,) = loaded.backbone.features([images], reads)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = build_embedded("featx_small").eval()

        def forward(self, x):
            # The same steps in the same order: each is a place where values are rounded.
            mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
            std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
            x = x.permute(0, 3, 1, 2).float() * (1 / (std * 255))
            return self.net(x - mean / std)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated
        graph = openvino.convert_model(Whole(), example_input=torch.from_numpy(images[:1]))
    data = nncf.Dataset([image[None] for image in images[~held_out]])
    small = nncf.quantize(
        graph, data, subset_size=int((~held_out).sum()), preset=nncf.QuantizationPreset.MIXED
    )
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if REST == "bfloat16" else "f32"}
    compiled = openvino.compile_model(small, "CPU", hints)
    by_hand = np.concatenate([compiled(image[None])[0] for image in images])
    # Roundings that fall otherwise by a bit grow from layer to layer.
    assert cosines(found, by_hand).mean() > 0.995
    with torch.inference_mode():
        exact = Whole()(torch.from_numpy(images[held_out])).numpy()
    loss = cosines(found[held_out], exact)
    assert loss.mean() == pytest.approx(cosines(by_hand[held_out], exact).mean(), abs=0.002)
    assert choice.reason == (
        f"int8: cosine to float32 over {held_out.sum()} sample images {loss.mean():.4f}, at worst "
        f"{loss.min():.4f}"
    )
    assert 0.9 < loss.min() < loss.mean() < 0.9999


def test_a_second_start_takes_the_kept_graph_to_the_last_bit(
    hub: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (3, 80, 90, 3), np.uint8))
    loaded = load_fresh()
    first = embed_images(loaded, images).features
    (folder,) = (hub / "featx-int8").iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["graph.bin", "graph.xml", "loss.json"]
    n_weights = sum(p.numel() for p in build_embedded("featx_small").parameters())
    assert n_weights < (folder / "graph.bin").stat().st_size < 1.3 * n_weights  # a byte each
    monkeypatch.setattr(_int8, "_quantise_graph", refuse)
    again = load_fresh()
    np.testing.assert_array_equal(embed_images(again, images).features, first)
    assert again.choose_engine(3) == loaded.choose_engine(3)
    with pytest.raises(BackboneError, match="quantised again"):  # another size is another graph
        embed_images(load_fresh(crop_px=64, resize_px=64), images)
    assert not caplog.records


def test_jobs_that_share_the_network_share_the_graph_whichever_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (3, 80, 90, 3), np.uint8))
    found = []
    for order in ((160, 200), (200, 160)):
        loading.load_network.cache_clear()
        both = {px: load_encoder(**INT8, resize_px=px, crop_px=160) for px in order}
        assert len({id(loaded.backbone) for loaded in both.values()}) == 1
        by_size = {px: embed_images(loaded, images).features for px, loaded in both.items()}
        found.append([by_size[160], by_size[200]])
    np.testing.assert_array_equal(*found)
    assert (found[0][0] != found[0][1]).any()
    monkeypatch.setattr(
        loaded_module.LoadedEncoder, "_samples", refuse
    )  # it is calibrated: no sample is decoded
    embed_images(both[160], images)


@pytest.mark.parametrize("damage", ["graph.bin", "loss.json"])
def test_a_damaged_graph_is_made_again_and_said(
    damage: str, hub: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (2, 80, 90, 3), np.uint8))
    first = embed_images(load_fresh(), images).features
    (folder,) = (hub / "featx-int8").iterdir()
    path = folder / damage
    path.write_bytes(path.read_bytes()[:40])
    np.testing.assert_array_equal(embed_images(load_fresh(), images).features, first)
    (record,) = caplog.records
    assert record.message.startswith(f"int8: {folder} cannot be read")
    assert record.message.endswith("quantising again")
    assert path.stat().st_size > 40


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "file"))
    choice = load_fresh().choose_engine(1)
    assert choice.reason.startswith("int8: cosine")
    assert "so the next start quantises again" in caplog.text


def test_its_name_holds_the_quantisers_version(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version("nncf")
    loaded = load_fresh()
    assert loaded.recipes[0].precision == f"int8({REST}, nncf {version})"
    assert load_recipe(loaded.recipes[0]).recipes == loaded.recipes
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "9.9")
    loading.load_network.cache_clear()
    with pytest.raises(ParameterError, match=rf"9\.9 is installed.*pip install nncf=={version}"):
        load_recipe(loaded.recipes[0])
    with pytest.raises(ParameterError, match=r"'int8x'.*expected 'int8', or a recipe's"):
        load_backbone(precision="int8x")

    def none(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", none)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[int8\]'"):
        load_backbone(precision="int8")


def test_what_cannot_be_quantised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError, match=r"got 'int8' with engine 'torch'.*'openvino'"):
        load_backbone(precision="int8", engine="torch")
    images = [np.zeros((70, 80, 3), np.uint8)]
    net = load_backbone(**INT8)
    with pytest.raises(BackboneError, match=r"int8 was not calibrated for views of shape \(64"):
        net.features([np.zeros((1, 64, 64, 3), np.uint8)], [("penultimate", lambda x: x)])
    own_sizes = load_fresh()
    recipe = own_sizes.recipes[0]
    whole = _without_crop(recipe)
    object.__setattr__(own_sizes, "recipes", (whole,))
    with pytest.raises(ParameterError, match="images that keep their own sizes"):
        embed_images(own_sizes, images)
    monkeypatch.setattr(_int8, "LEAST", 1.0)
    with pytest.raises(BackboneError, match=r"'penultimate' does not survive int8 \(cosine"):
        embed_images(load_fresh(crop_px=96, resize_px=96), images)


def _without_crop(recipe):
    import dataclasses

    preprocessing = dataclasses.replace(recipe.preprocessing, resize_px=None, crop_px=None)
    return dataclasses.replace(recipe, preprocessing=preprocessing)


def test_a_store_an_index_and_a_query_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = sample_data_dir() / "instances"
    store, index = str(tmp_path / "f.h5"), str(tmp_path / "i")
    assert main(["extract", str(folder), "--store", store, "--precision", "int8", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["engine"], made["failed"]) == ("openvino", 0)
    assert "cosine to float32 over 6 sample images" in made["engine_reason"]
    assert featx.open_store(store).made_with["engine_reason"] == made["engine_reason"]
    assert main(["index", store, "--out", index, "--json"]) == 0
    capsys.readouterr()
    image = str(min(folder.rglob("*.jpg")))
    assert main(["query", index, image, "-k", "1", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["matches"][0]["path"] == image
    assert abs(result["matches"][0]["distance"]) < 1e-6
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
