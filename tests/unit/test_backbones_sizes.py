"""Images of other sizes than a network's weights were trained on: features, or which sizes go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _encoders import load_encoder, load_recipe
from PIL import Image

import featx
from featx.backbones import build_network, load_backbone
from featx.backbones._traces import explain_size
from featx.errors import BackboneError, FeatxError, ParameterError
from featx.recipe import Preprocessing

CPU = {"precision": "float32", "device": "cpu", "engine": "torch"}
VIT = "timm/vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)).resize((400, 300))


def vector(name: str, picture: Image.Image, **options: Any) -> np.ndarray:
    extractor = featx.FeatureExtractor(name, weights=None, **CPU, **options)
    return extractor.transform([picture])[0]


def test_timms_transformer_interpolates_its_positions_as_timm_does(picture: Image.Image) -> None:
    timm = pytest.importorskip("timm", reason="timm is an extra")
    found = vector(VIT, picture, resize_px=80, crop_px=80)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True).eval()
    module.reset_classifier(0)
    loaded = load_encoder(VIT, weights=None, resize_px=80, crop_px=80, **CPU)
    (view,) = loaded.preprocessor()(picture)
    p = loaded.recipes[0].preprocessing
    x = (torch.tensor(view).float() / 255 - torch.tensor(p.mean)) / torch.tensor(p.std)
    with torch.inference_mode():
        expected = module.forward_features(x.permute(2, 0, 1)[None])[0, 0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, where timm itself resamples
@pytest.mark.parametrize(("name", "px"), [("test_vit_relpos", 96), ("test_coatnet", 96)])
def test_a_network_that_is_built_for_one_size_is_resampled_as_timm_does(
    name: str, px: int
) -> None:
    """Its weights are identified as they were loaded: the size is in the recipe anyway."""
    timm = pytest.importorskip("timm", reason="timm is an extra")
    net = load_backbone(f"timm/{name}", weights=None, sizes=[px], **CPU)
    whole = build_network(f"timm/{name}", weights=None)
    state = dict(whole.module.state_dict())
    overlay = {"state_dict": state, "source": ""}
    theirs = timm.create_model(name, img_size=px, pretrained=True, pretrained_cfg_overlay=overlay)
    x = np.random.default_rng(0).integers(0, 256, (1, px, px, 3)).astype(np.uint8)
    p = whole.preprocessing
    y = (torch.tensor(x).float() / 255 - torch.tensor(p.mean)) / torch.tensor(p.std)
    with torch.inference_mode():
        tokens = theirs.eval().forward_features(y.permute(0, 3, 1, 2))
        expected = theirs.forward_head(tokens, pre_logits=True)
    (found,) = net.features([x], [("penultimate", lambda v: v)])
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert net.weights == load_backbone(f"timm/{name}", weights=None, **CPU).weights
    with pytest.raises(BackboneError, match=r"is no multiple of .* expected 96 or "):
        load_backbone(f"timm/{name}", weights=None, sizes=[px + 2], **CPU)


def test_multi_scale_is_the_mean_over_sizes_that_are_asked_for_alone(picture: Image.Image) -> None:
    pytest.importorskip("timm", reason="timm is an extra")
    sizes = {"resize_px": 64, "crop_px": 64}
    loaded = load_encoder(VIT, weights=None, augment="multi-scale", **sizes, **CPU)
    sides = [scale.crop_px for scale in loaded.preprocessor().scales]
    assert sides == [64, 32, 96]
    alone = [vector(VIT, picture, resize_px=px, crop_px=px) for px in sides]
    together = vector(VIT, picture, augment="multi-scale", **sizes)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-4, atol=1e-5)


def test_multi_scale_takes_multiples_of_the_networks_own_patches(picture: Image.Image) -> None:
    """Of 14 px: their recipe says so, and is loaded again; others keep theirs."""
    timm = pytest.importorskip("timm", reason="timm is an extra")
    module = timm.models.VisionTransformer(
        img_size=70, patch_size=14, embed_dim=16, depth=2, num_heads=2, num_classes=0,
        dynamic_img_size=True,
    )  # fmt: skip
    encoder = featx.Encoder(module, augment="multi-scale", resize_px=70, crop_px=70,
                            precision="float32")  # fmt: skip
    loaded = encoder.load()
    assert loaded.recipes[0].augment == "multi-scale(14)"
    assert [scale.crop_px for scale in loaded.preprocessor().scales] == [70, 56, 98]
    assert encoder.encode([picture]).shape == (1, 16)
    sizes = {"resize_px": 64, "crop_px": 64}
    (recipe,) = load_encoder(VIT, weights=None, augment="multi-scale", **sizes, **CPU).recipes
    assert recipe.augment == "multi-scale"


def test_a_network_of_ones_own_that_takes_one_size_only(picture: Image.Image) -> None:
    """Not the 224 px that others are tried with."""
    timm = pytest.importorskip("timm", reason="timm is an extra")
    torch.manual_seed(0)
    module = timm.models.VisionTransformer(
        img_size=48, patch_size=16, embed_dim=16, depth=2, num_heads=2, num_classes=0
    ).eval()
    encoder = featx.Encoder(module, resize_px=48, crop_px=48, precision="float32",
                            poolings=["cls", "patch"], layers="last2")  # fmt: skip
    assert encoder.encode([picture, picture]).shape == (2, 64)
    with pytest.raises(BackboneError, match="of shape \\(1, 3, 224, 224\\)"):
        load_backbone(module, **CPU).layer("penultimate")


def test_a_preprocessing_of_another_size_is_the_size_that_a_network_is_built_for() -> None:
    pytest.importorskip("timm", reason="timm is an extra")
    made = Preprocessing(resize_px=96, crop_px=96)
    for name, width in (("timm/test_vit", 64), ("timm/test_vit_relpos", 96)):
        net = load_backbone(name, weights=None, preprocessing=made, **CPU)
        assert net.trial_px == 96
        assert net.layer("penultimate").shape == (1, width)
        images = np.zeros((1, 96, 96, 3), np.uint8)
        assert net.features([images], [("penultimate", lambda x: x)])[0].shape == (1, width)


def test_the_weights_and_the_usual_size_stay_what_they_are() -> None:
    """A recipe at the usual size knows nothing of the option."""
    pytest.importorskip("timm", reason="timm is an extra")
    plain, any_size = (load_backbone(VIT, weights=None, sizes=s, **CPU) for s in ((), (96, 224)))
    assert plain.weights == any_size.weights
    assert plain.layer("patch_embed").shape == (1, 196, 192)
    images = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.uint8)
    reads = [("penultimate", lambda x: x[:, 0] if x.ndim == 3 else x)]
    vectors = [net.features([images], reads)[0] for net in (plain, any_size)]
    np.testing.assert_array_equal(*vectors)


def test_a_recipe_of_another_size_is_loaded_again(picture: Image.Image) -> None:
    pytest.importorskip("timm", reason="timm is an extra")
    made = load_encoder(VIT, weights=None, resize_px=64, crop_px=64, **CPU)
    again = load_recipe(made.recipes[0], weights=None, device="cpu", engine="torch")
    assert again.recipes == made.recipes


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (VIT, {"crop_px": 100}, r"of 100 x 100 px \(Input.* expected 96 or 112 px: set"),
        (VIT, {"crop_px": 8}, "expected 16 px"),
        ("timm/vit_tiny_patch16_224", {"augment": "multi-scale(14)", "crop_px": 224},
         "images of 154 x 154 px .*expected 144 or 160 px"),
        ("timm/mixer_s32_224", {"crop_px": 256}, "expected 224 px only"),
        ("vit_b_32", {"crop_px": 256}, "expected 224 px only"),
        ("alexnet", {"crop_px": 8, "resize_px": 8}, "expected 63 px or more"),
        ("squeezenet1_1", {"crop_px": 16, "resize_px": 16}, "expected 17 px or more"),
    ],
    ids=["patch", "less than a patch", "steps", "mixer", "torchvision", "alexnet", "squeezenet"],
)  # fmt: skip
def test_a_size_that_a_network_cannot_take_names_those_it_can(
    name: str, options: dict[str, Any], message: str
) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is an extra")
    with pytest.raises(BackboneError, match=message) as caught:
        load_encoder(name, weights=None, **options, **CPU)
    assert "\n" not in str(caught.value)


def test_the_command_line_says_it_in_one_line_and_makes_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], picture: Image.Image
) -> None:
    from featx.cli.main import main

    picture.save(tmp_path / "a.png")
    words = ["extract", str(tmp_path / "a.png"), "--store", str(tmp_path / "f.h5")]
    words += [
        "--backbone",
        "squeezenet1_1",
        "--weights",
        str(tmp_path / "w.pth"),
        "--device",
        "cpu",
    ]
    torch.save(
        build_network("squeezenet1_1", weights=None).module.state_dict(), tmp_path / "w.pth"
    )
    assert main([*words, "--resize", "8", "--crop", "8"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "'squeezenet1_1': does not take images of 8 x 8 px" in line
    assert not (tmp_path / "f.h5").exists()


def test_odd_sizes_go_where_the_network_takes_any(picture: Image.Image) -> None:
    for px in (1, 33, 97):
        assert vector("featx_small", picture, resize_px=px, crop_px=px).shape == (1280,)


def test_widths_of_flattened_maps_are_those_of_the_size_that_is_read(picture: Image.Image) -> None:
    """They would be those of 224 px, and the extraction fail when it writes."""
    options = {"layer": "layer4", "pooling": "flatten"}
    assert vector("resnet18", picture, resize_px=96, crop_px=96, **options).shape == (512 * 9,)
    with pytest.raises(ParameterError, match="views of 224, 160, 320 px, of which it makes 25"):
        vector("resnet18", picture, augment="multi-scale", **options)


def test_whatever_a_network_raises_on_a_batch_is_one_of_our_errors() -> None:
    """A layer's map at a size that the caller chose, as spatial verification does."""
    net = load_backbone("vit_b_32", weights=None, **CPU)
    with pytest.raises(BackboneError, match=r"images of shape \(96, 96, 3\) \(AssertionError"):
        net.maps(np.zeros((1, 96, 96, 3), np.uint8), "conv_proj")


def test_a_border_of_black_is_said(caplog: pytest.LogCaptureFixture) -> None:
    from featx.extraction import loading

    loading._warn_of_border.cache_clear()
    for _ in range(2):
        load_encoder("featx_small", resize_px=80, **CPU)
    (record,) = caplog.records
    assert (
        "resize_px 80 is less than crop_px 160: the rest of each view is black" in record.message
    )


def test_nearest_sizes_are_looked_for_on_both_sides() -> None:
    def said(takes: Any, px: int) -> str:
        return explain_size(takes, px, "net", ValueError("no"), 224).partition("expected ")[2]

    assert said(lambda px: px % 14 == 0, 300).startswith("294 or 308 px:")
    assert said(lambda px: px == 224, 500).startswith("224 px only")
    assert said(lambda px: px == 224, 200).startswith("224 px only")
    assert said(lambda px: px >= 75, 1).startswith("75 px or more")
    assert issubclass(BackboneError, FeatxError)
