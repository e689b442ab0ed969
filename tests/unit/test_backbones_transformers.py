"""Networks of transformers from a folder: features and images are those of transformers itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from featx import Encoder
from featx.backbones import load_backbone
from featx.backbones._processor import preprocessing_of
from featx.errors import BackboneError, MissingDependencyError, WeightsError
from featx.images import ImagePreprocessor

transformers = pytest.importorskip("transformers", reason="transformers is an extra")
F32 = {"precision": "float32", "decode": "full"}
SAMPLES = Path(__file__).parents[2] / "data" / "samples"
PX = 32
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": PX,
         "patch_size": 8, "intermediate_size": 32}  # fmt: skip


@pytest.fixture(scope="module")
def photographs() -> list[Path]:
    return sorted(SAMPLES.rglob("*.jpg"))[::60]


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Save a small network with random weights, and a processor, as transformers does."""

    def make(model: torch.nn.Module, processor: object) -> Path:
        folder = tmp_path_factory.mktemp("hf")
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    torch.manual_seed(0)
    return make


def vit(**args) -> torch.nn.Module:
    torch.manual_seed(0)
    return transformers.ViTModel(transformers.ViTConfig(**SMALL, **args))


def squashing(px: int = PX):
    return transformers.ViTImageProcessorPil(size={"height": px, "width": px})


def images_of(paths: list[Path]) -> list[Image.Image]:
    return [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in paths]


@pytest.mark.parametrize("kind", ["vit", "dinov2", "resnet"])
def test_features_are_those_of_transformers(
    save: Callable[..., Path], photographs: list[Path], kind: str
) -> None:
    torch.manual_seed(0)
    if kind == "vit":
        folder = save(vit(), squashing())
    elif kind == "dinov2":
        small = {k: v for k, v in SMALL.items() if k != "intermediate_size"}
        crop = {"size": {"shortest_edge": 40}, "crop_size": {"height": PX, "width": PX}}
        model = transformers.Dinov2Model(transformers.Dinov2Config(**small))
        folder = save(model, transformers.BitImageProcessorPil(**crop))
    else:
        config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
        processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": PX})
        folder = save(transformers.ResNetModel(config), processor)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.inference_mode():
        x = processor(images_of(photographs), return_tensors="pt").pixel_values
        expected = model(pixel_values=x)
    layers = ["pooler_output", "last_hidden_state"]
    pooled = expected.pooler_output.flatten(1).numpy()
    last = expected.last_hidden_state
    last = last.flatten(1).numpy()
    encoder = Encoder(f"hf/{folder}", layers=layers, poolings="flatten", **F32)
    found = encoder.encode([str(path) for path in photographs], engine="torch")
    wanted = np.concatenate([pooled, last], axis=1)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    default = Encoder(f"hf/{folder}", **F32)
    assert default.recipes[0].backbone == "hf/"
    found = default.encode([str(path) for path in photographs], engine="torch")
    assert np.abs(found - pooled).max() < 1e-5 * np.abs(pooled).max()


def processors() -> dict[str, object]:
    square, edge = {"height": 48, "width": 48}, {"shortest_edge": 56}
    t = transformers
    return {
        "vit": t.ViTImageProcessorPil(size=square),
        "siglip": t.SiglipImageProcessorPil(size=square),
        "clip": t.CLIPImageProcessorPil(size=edge, crop_size=square),
        "bit": t.BitImageProcessorPil(size=edge, crop_size=square),
        "deit": t.DeiTImageProcessorPil(size={"height": 64, "width": 64}, crop_size=square),
        "convnext": t.ConvNextImageProcessorPil(size={"shortest_edge": 48}),
        "convnext at 384": t.ConvNextImageProcessorPil(size={"shortest_edge": 384}),
        "plain": t.ViTImageProcessorPil(size=square, do_normalize=False, resample=1),
    }


@pytest.mark.parametrize("kind", list(processors()))
def test_images_are_those_of_the_processor(photographs: list[Path], kind: str) -> None:
    processor = processors()[kind]
    made = preprocessing_of(processor, "here")
    mean, std = np.array(made.mean), np.array(made.std)
    full = ImagePreprocessor(made, "none")
    for path, image in zip(photographs, images_of(photographs), strict=True):
        expected = np.asarray(processor(image, return_tensors="np").pixel_values[0])
        (view,) = full(image)
        found = ((view / 255 - mean) / std).transpose(2, 0, 1)
        assert found.shape == expected.shape, path
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t.ViTImageProcessorPil(rescale_factor=1 / 127.5), r"rescale_factor 0\.00784"),
        (
            lambda t: t.ViTImageProcessorPil(do_rescale=False),
            "got do_rescale False, .*pected True",
        ),
        (
            lambda t: t.ViTImageProcessorPil(size={"height": 32, "width": 64}),
            r"got size \{'height': 32, 'width': 64\}, which featx does not do, expected a square",
        ),
        (
            lambda t: t.EfficientNetImageProcessorPil(),
            "EfficientNetImageProcessor, which has a _p",
        ),
        (lambda t: t.MobileViTImageProcessorPil(), "MobileViTImageProcessor, which has a prepro"),
    ],
)
def test_what_featx_does_not_do_is_named(make: Callable, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        preprocessing_of(make(transformers), "folder/preprocessor_config.json")


def test_a_checkpoint_without_weights_of_its_pooling_gives_tokens(
    save: Callable[..., Path],
) -> None:
    """Else its features would be a projection by random weights, others in every process."""
    folder = save(_classifier(), squashing())
    net = load_backbone(f"hf/{folder}", precision="float32", device="cpu")
    assert net.layer("penultimate").shape == (1, 17, 24)
    assert "pooler_output" not in net.layers


def _classifier() -> torch.nn.Module:
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL))


def test_another_number_of_heads_is_another_network(save: Callable[..., Path]) -> None:
    """The weights are the same to the last bit."""
    one, two = save(vit(), squashing()), save(vit(), squashing())
    options = {"precision": "float32", "device": "cpu"}
    assert load_backbone(f"hf/{one}", **options).weights == load_backbone(
        "hf/", weights=two, **options
    ).weights  # fmt: skip
    text = (two / "config.json").read_text()
    assert '"num_attention_heads": 2' in text
    (two / "config.json").write_text(
        text.replace('"num_attention_heads": 2', '"num_attention_heads": 4')
    )
    first, second = (load_backbone(f"hf/{folder}", **options) for folder in (one, two))
    assert first.weights != second.weights


def test_other_sizes_interpolate_positions(save: Callable[..., Path]) -> None:
    folder = save(vit(), squashing())
    image = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), np.uint8)
    found = Encoder(f"hf/{folder}", crop_px=48, resize_px=48, **F32).encode(image, engine="torch")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        x = torch.from_numpy(image).permute(0, 3, 1, 2) / 127.5 - 1
        expected = model(pixel_values=x, interpolate_pos_encoding=True).pooler_output.numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_folders_and_names_that_cannot_be_read_are_said(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(vit(), squashing())
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"transformers cannot read it \(.*preprocessor_config"):
        load_backbone(f"hf/{folder}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"o/n cannot be fetched from the hub .*'hf/FOLDER'"):
        load_backbone("hf/o/n")
    with pytest.raises(WeightsError, match="got no folder, expected 'hf/FOLDER'"):
        load_backbone("hf/")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[transformers\]'"):
        load_backbone("hf/o/n")
