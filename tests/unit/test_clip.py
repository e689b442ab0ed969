"""Networks of open_clip: its features and words, from a folder; a small one that is trained."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from _towers import CAPTIONS, SIDE_PX, configure, draw, train
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

import featx
from featx import Encoder, RetrievalIndex
from featx.backbones.catalogue import backbone_card, list_backbones
from featx.cli.main import main
from featx.errors import BackboneError, MissingDependencyError, WeightsError
from featx.recipe import Preprocessing

open_clip = pytest.importorskip("open_clip")
MODES = ("shortest", "squash")


@pytest.fixture(scope="module", params=MODES)
def towers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random towers, which open_clip itself writes and reads."""
    return train(tmp_path_factory.mktemp("towers"), resize_mode=request.param, n_steps=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("towers"), n_steps=0)


def peer(folder: Path) -> tuple:
    """open_clip's own model, preprocessing and tokenizer."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{folder}")


def encoder_of(folder: Path, **options: object) -> Encoder:
    return Encoder("clip/", weights=folder, precision="float32", decode="full", **options)


def largest_difference(images: list[Path], folder: Path) -> float:
    """Between featx's features and open_clip's, as a share of the largest number."""
    model, preprocess, _ = peer(folder)
    found = encoder_of(folder).encode([str(path) for path in images])
    views = [preprocess(ImageOps.exif_transpose(Image.open(path))) for path in images]
    with torch.inference_mode():
        expected = model.encode_image(torch.stack(views)).numpy()
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_images_are_those_of_open_clip(towers: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [(48, 40), (31, 32), (32, 32), (33, 90), (120, 31), (200, 20)]
    paths = []
    for i, size in enumerate(sizes):
        noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
        paths.append(tmp_path / f"{i}.png")
        noise.save(paths[-1])
    assert largest_difference(paths, towers) < 1e-5


def test_photographs_are_those_of_open_clip(towers: Path, shared_assets: Path) -> None:
    """A hundred, of three sets."""
    paths: list[Path] = []
    for name, n in (("caltech101", 50), ("flowers12", 25), ("scene15", 25)):
        found = featx.ImageManifest.from_source(shared_assets / "datasets" / name).paths
        paths += [Path(found[i]) for i in np.linspace(0, len(found) - 1, n).astype(int)]
    assert largest_difference(paths, towers) < 1e-5


def test_words_are_those_of_open_clip(folder: Path) -> None:
    model, _, tokenizer = peer(folder)
    words = ["a red circle", "a photograph of two dogs, sitting", "Schnee"]
    with torch.inference_mode():
        expected = model.encode_text(tokenizer(words), normalize=True).numpy()
    np.testing.assert_allclose(encoder_of(folder).encode_text(words), expected, atol=1e-6)


def test_several_words_are_a_sum(folder: Path) -> None:
    encoder = encoder_of(folder)
    red, star, found = encoder.encode_text(["a red circle", "a star", "a red circle -a star"])
    np.testing.assert_allclose(found, (red - star) / np.linalg.norm(red - star), atol=1e-6)


def test_the_folder_may_be_a_part_of_the_name(folder: Path, tmp_path: Path) -> None:
    """Where it lies is no part of the recipe."""
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    by_name = Encoder(f"clip/{moved}", precision="float32", decode="full")
    assert by_name == encoder_of(moved)
    assert by_name.recipes == encoder_of(folder).recipes
    assert by_name.recipes[0].backbone == "clip/"


def test_an_index_answers_words_images_and_both(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    paths = [str(tmp_path / f"{i}.png") for i in range(8)]
    for path, caption in zip(paths, CAPTIONS, strict=False):
        draw(caption, rng).save(path)
    encoder = encoder_of(folder)
    store = featx.extract(paths, tmp_path / "f.h5", encoder)
    index = RetrievalIndex().fit(store)
    X = encoder.encode(paths)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    text = encoder.encode_text("a red circle")
    found = index.query(text="a red circle", k=8)
    np.testing.assert_allclose(found.distances, 1 - (X @ text)[found.indices], atol=1e-5)
    both = index.query(paths[2], text="a red circle", k=8)
    query = (X[2] + text) / np.linalg.norm(X[2] + text)
    np.testing.assert_allclose(both.distances, 1 - (X @ query)[both.indices], atol=1e-5)
    index.save(tmp_path / "f.index")
    loaded = RetrievalIndex.load(tmp_path / "f.index")
    assert loaded.query(text="a red circle", k=8).ids.tolist() == found.ids.tolist()


def test_the_command_line_takes_a_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for i, caption in enumerate(CAPTIONS[:4]):
        draw(caption, np.random.default_rng(i)).save(tmp_path / "images" / f"{i}.png")
    store, index = str(tmp_path / "f.h5"), str(tmp_path / "f.index")
    name = f"clip/{folder}"
    assert main(["extract", str(tmp_path / "images"), "--store", store, "--backbone", name]) == 0
    assert main(["index", store, "--out", index]) == 0
    capsys.readouterr()
    assert main(["query", index, "--text", "a red circle", "-k", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["text"] == [{"text": "a red circle", "is_wanted": True, "names": ["a red circle"]}]
    assert len(said["results"][0]["matches"]) == 2
    assert said["distance"] == "cosine distance"
    assert "probability" not in said


@pytest.mark.parametrize("changed", ["text tower", "heads", "context length", "scale of logits"])
def test_what_changes_an_answer_changes_the_fingerprint(
    changed: str, folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    config, state = configure(), load_file(other / "open_clip_model.safetensors")
    if changed == "text tower":
        state["text_projection"] += 0.01
    elif changed == "scale of logits":
        state["logit_scale"] += 0.01
    elif changed == "heads":  # which no weight's shape shows
        config["model_cfg"]["text_cfg"]["heads"] = 4
    else:
        config["model_cfg"]["text_cfg"]["context_length"] = 10
        state["positional_embedding"] = state["positional_embedding"][:10].contiguous()
    (other / "open_clip_config.json").write_text(json.dumps(config))
    save_file(state, other / "open_clip_model.safetensors")
    recipe, changed_recipe = (encoder_of(each).recipes[0] for each in (folder, other))
    assert list(recipe.differences(changed_recipe)) == ["weights"]


def test_the_folders_tokenizer_is_part_of_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    """It need not be loaded, which takes another package, for features of images."""
    other = shutil.copytree(folder, tmp_path / "other")
    config = configure()
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "somebody/tokenizer"
    (other / "open_clip_config.json").write_text(json.dumps(config))
    found = []
    for content in ("{}", '{"a": 1}'):
        (other / "tokenizer.json").write_text(content)
        found.append(encoder_of(other).recipes[0].weights)
        featx.extraction.loading.load_network.cache_clear()  # the weights' file is the same
    assert found[0] != found[1]


def test_published_names_and_their_preprocessing() -> None:
    assert "clip/ViT-B-32/laion2b_s34b_b79k" in list_backbones("clip/vit-b-32/laion2b*")
    siglip = backbone_card("clip/ViT-B-16-SigLIP/webli").default
    assert siglip is not None
    assert siglip.preprocessing == Preprocessing(
        224, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), squash=True
    )
    openai = backbone_card("clip/RN50x4/openai").default
    assert openai is not None
    assert (openai.preprocessing.crop_px, openai.preprocessing.squash) == (288, False)
    assert openai.preprocessing.mean[0] == 0.48145466


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip/ViT-B-33", r"Did you mean 'clip/ViT-B-32"),
        ("clip/ViT-B-32/laion2b", r"expected 'clip/MODEL/WEIGHTS'.* Did you mean"),
    ],
)
def test_unknown_names_have_a_near_one(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        backbone_card(name)


def test_folders_that_are_none_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights are published"):
        Encoder("clip/").recipes  # noqa: B018
    other = shutil.copytree(folder, tmp_path / "other")
    config = other / "open_clip_config.json"
    config.unlink()
    with pytest.raises(WeightsError, match="expected a folder as open_clip saves it"):
        Encoder("clip/", weights=other).recipes  # noqa: B018
    config.write_text(json.dumps({"model_cfg": {}}))
    with pytest.raises(WeightsError, match="got model_cfg of nothing"):
        Encoder("clip/", weights=other).recipes  # noqa: B018
    config.write_text(json.dumps(configure("longest")))
    with pytest.raises(BackboneError, match="resized by 'longest'"):
        Encoder("clip/", weights=other).recipes  # noqa: B018
    unlike = configure()
    unlike["model_cfg"]["vision_cfg"]["layers"] = "many"
    config.write_text(json.dumps(unlike))
    with pytest.raises(BackboneError, match="open_clip cannot build"):
        Encoder("clip/", weights=other).recipes  # noqa: B018
    config.write_text(json.dumps(configure()))
    (other / "open_clip_model.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match=r"open_clip_model\.safetensors"):
        Encoder("clip/", weights=other).recipes  # noqa: B018


def test_without_open_clip_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[clip\]'"):
        Encoder("clip/ViT-B-32", weights=None).recipes  # noqa: B018


@pytest.mark.slow
def test_loading_leaves_the_root_logger_alone(folder: Path) -> None:
    code = (
        "import logging, featx; "
        f"featx.Encoder('clip/', weights={str(folder)!r}).recipes; "
        "assert not logging.getLogger().handlers"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_squash_stretches_and_older_recipes_stay() -> None:
    squash = Preprocessing(resize_px=SIDE_PX, crop_px=SIDE_PX, squash=True)
    image = draw("a red star", np.random.default_rng(0), (90, 40))
    view = featx.images.ImagePreprocessor(squash)(image)[0]
    expected = np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(view, expected)
    assert Preprocessing.from_dict(squash.to_dict()) == squash
    assert "squash" not in Preprocessing().to_dict()


@pytest.mark.slow
def test_trained_towers_find_what_captions_say(tmp_path: Path) -> None:
    """Recall@1 on drawings that they were not trained on; 10 s to train on two quiet cores."""
    folder = train(tmp_path / "towers")
    rng = np.random.default_rng(99)
    found = []
    for i in range(5):
        paths = [str(tmp_path / f"{i}-{k}.png") for k in range(len(CAPTIONS))]
        for path, caption in zip(paths, CAPTIONS, strict=True):
            draw(caption, rng).save(path)
        store = featx.extract(paths, tmp_path / f"{i}.h5", encoder_of(folder))
        index = RetrievalIndex().fit(store)
        first = [index.query(text=caption, k=1).ids[0] for caption in CAPTIONS]
        found += [path == one for path, one in zip(paths, first, strict=True)]
    assert np.mean(found) >= 0.9
