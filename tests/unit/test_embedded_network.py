"""The embedded network: its shape, its file, and that it computes what it was folded from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featx.backbones.embedded import (
    EMBEDDED,
    THIN_LITE0,
    InvertedResiduals,
    NetworkShape,
    build_embedded,
    load_network,
)
from featx.errors import BackboneError, WeightsError
from pipelines.distill.export import export

TINY = NetworkShape(8, ((8, 8, 1), (16, 12, 2), (24, 12, 1)), 20)


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    export(InvertedResiduals(TINY), tmp_path / "tiny.safetensors", history="a test")
    return tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("shape", [TINY, THIN_LITE0])
def test_shape_survives_json(shape: NetworkShape) -> None:
    assert NetworkShape.from_json(shape.to_json()) == shape


def test_featx_base_gives_nearly_what_its_teacher_gives(shared_assets: Path) -> None:
    """timm's own forward pass at 224 px, on photographs that it was not trained on."""
    timm = pytest.importorskip("timm")
    weights = shared_assets / "weights" / "tf_efficientnet_lite0.pth"
    photographs = sorted((shared_assets / "datasets" / "cats_dogs").rglob("*.jpg"))[::40]
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.reset_classifier(0)
    images = [Image.open(path).convert("RGB").resize((224, 224)) for path in photographs]
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1
    small = torch.nn.functional.interpolate(x, (192, 192), mode="bilinear", antialias=True)
    with torch.inference_mode():
        expected, found = network.eval()(x), build_embedded("featx_base")(small)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(expected, found).min() > 0.75
    assert cosine(expected, found.roll(1, 0)).mean() < cosine(expected, found).mean() - 0.2


def test_saved_network_loads_with_its_shape_and_rounded_weights(tiny_file: Path) -> None:
    torch.manual_seed(0)
    expected = InvertedResiduals(TINY).half().float().eval()
    loaded = load_network(tiny_file)
    x = torch.rand(3, 3, 40, 40)
    assert loaded.shape == TINY
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in loaded.parameters())
    torch.testing.assert_close(loaded(x), expected(x), rtol=0, atol=0)


def test_features_do_not_depend_on_the_batch_or_the_mode(tiny_file: Path) -> None:
    """Would catch a batch norm left in the network."""
    network, x = load_network(tiny_file), torch.rand(4, 3, 32, 32)
    together = network.train()(x)
    alone = torch.cat([network.eval()(one[None]) for one in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_vector_is_the_mean_of_the_map(tiny_file: Path) -> None:
    network, x = load_network(tiny_file), torch.rand(2, 3, 48, 32)
    expected = network.forward_map(x).numpy().mean(axis=(2, 3))
    torch.testing.assert_close(network(x), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(BackboneError, match=r"got 'featx_smal', .* Did you mean 'featx_small'"):
        build_embedded("featx_smal")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors': no such file, expected the path"):
        load_network(tmp_path / "none.safetensors")


def test_an_installation_without_the_file_says_what_to_do(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("featx.backbones.embedded.resources.files", lambda _: tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(WeightsError, match=r"no such file.*belongs to featx: reinstall it"):
        build_embedded("featx_small")


def test_cut_file_is_refused(tiny_file: Path) -> None:
    tiny_file.write_bytes(tiny_file.read_bytes()[:-100])
    cut = r"tiny\.safetensors: cannot be read as weights, got a file whose end is missing"
    with pytest.raises(WeightsError, match=cut):
        load_network(tiny_file)


def test_file_without_a_shape_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match=r"foreign\.safetensors: got KeyError \('shape'\)"):
        load_network(tmp_path / "foreign.safetensors")


def test_tensors_that_do_not_fit_the_shape_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"shape": TINY.to_json()})
    with pytest.raises(WeightsError, match=r"x\.safetensors: tensors do not fit .*stem\.weight"):
        load_network(tmp_path / "x.safetensors")


def test_card_agrees_with_its_own_file_name() -> None:
    assert all(card.name == name for name, card in EMBEDDED.items())


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_card_has_the_number_of_weights(name: str) -> None:
    n = sum(weights.numel() for weights in build_embedded(name).parameters())
    assert EMBEDDED[name].n_parameters == n
