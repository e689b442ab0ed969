"""`Encoder`: one value for what is asked of a network."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image

import featx
from featx import Encoder, FeatureExtractor
from featx.errors import (
    BackboneError,
    FingerprintMismatchError,
    ImageDecodeError,
    ParameterError,
)
from featx.extraction import RunOptions

SMALL = {"resize_px": 64, "crop_px": 48, "precision": "float32"}
RUN = {"device": "cpu", "engine": "torch", "workers": 0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return sorted(map(str, folder.iterdir()))


def test_it_is_a_value_that_can_be_a_key_and_travel() -> None:
    encoder = Encoder("resnet18", layers=["layer3", "penultimate"], weights=Path("w.pth"))
    same = Encoder("resnet18", layers=("layer3", "penultimate"), weights="w.pth")
    assert (encoder, hash(encoder)) == (same, hash(same))
    assert pickle.loads(pickle.dumps(encoder)) == encoder
    assert encoder != dataclasses.replace(encoder, augment="hflip")
    assert Encoder(layers="layer3").layers == ("layer3",)
    with pytest.raises(dataclasses.FrozenInstanceError, match="augment"):
        encoder.augment = "hflip"
    assert len(repr(encoder)) < 200


def test_making_one_imports_no_torch() -> None:
    code = "import sys, featx; featx.Encoder('resnet50'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_paths_arrays_and_images_alike_are_encoded_as_the_transformer_does(photos) -> None:
    images = [Image.open(path) for path in photos]
    arrays = np.stack([np.asarray(image) for image in images])
    expected = FeatureExtractor(**SMALL, **RUN).transform(photos)
    for form in (photos, [Path(p) for p in photos], images, arrays, np.array(photos)):
        np.testing.assert_array_equal(Encoder(**SMALL).encode(form, **RUN), expected)
    # Sums over batches of another size are rounded otherwise.
    one = Encoder(**SMALL).encode(photos[2], **RUN)
    np.testing.assert_allclose(one, expected[2:3], rtol=1e-3, atol=1e-5)
    twice = Encoder(**SMALL).encode([photos[1], photos[1]], **RUN)
    np.testing.assert_array_equal(twice[0], twice[1])
    np.testing.assert_allclose(twice, expected[[1, 1]], rtol=1e-3, atol=1e-5)


def test_several_layers_and_poolings_stand_side_by_side_in_the_order_of_the_recipes(
    photos,
) -> None:
    encoder = Encoder(**SMALL, layers=["blocks.6", "penultimate"])
    alone = [Encoder(**SMALL, layers=name).encode(photos, **RUN) for name in encoder.layers]
    found = encoder.encode(photos, **RUN)
    np.testing.assert_allclose(found, np.hstack(alone), rtol=1e-3, atol=1e-5)
    assert [recipe.layer for recipe in encoder.recipes] == ["blocks.6", "penultimate"]
    assert found.shape[1] == sum(recipe.n_features for recipe in encoder.recipes)


def test_an_extraction_fills_the_tables_of_its_recipes(photos, tmp_path) -> None:
    encoder = Encoder(**SMALL, poolings=["avg", "max"], layers="blocks.6", augment="hflip")
    with featx.extract(photos, tmp_path / "f.h5", encoder, **RUN) as store:
        assert store.summary.fingerprints == tuple(r.fingerprint for r in encoder.recipes)
        expected = encoder.encode(photos, **RUN)[:, : store.n_features]
        np.testing.assert_allclose(store[:], expected, rtol=1e-3, atol=1e-5)
    flat = {"poolings": ["avg", "max"], "layers": "blocks.6", "augment": "hflip", **SMALL}
    with featx.extract(photos, tmp_path / "f.h5", **flat, **RUN) as again:
        assert (again.summary.extracted, again.summary.reused) == (0, 5)


def test_a_recipe_gives_its_encoder_back(photos, tmp_path) -> None:
    with featx.extract(photos, tmp_path / "f.h5", Encoder(**SMALL), **RUN) as store:
        encoder = Encoder.from_recipe(store.recipe)
        assert encoder.recipes == (store.recipe,)
        np.testing.assert_allclose(encoder.encode(photos, **RUN), store[:], atol=1e-5)
        other = dataclasses.replace(store.recipe, weights="0" * 64)
    with pytest.raises(FingerprintMismatchError, match="weights: got"):
        Encoder.from_recipe(other).encode(photos, **RUN)
    own = dataclasses.replace(other, backbone="mine:Net")
    with pytest.raises(BackboneError, match="'mine:Net' is a module of your own"):
        Encoder.from_recipe(own)


def test_a_recipe_of_other_sizes_is_not_taken_for_what_was_asked_before(photos, tmp_path) -> None:
    plain = Encoder(layers="penultimate", poolings="none", precision="float32")
    other = dataclasses.replace(plain, resize_px=64, crop_px=48).recipes[0]
    featx.extract(photos, tmp_path / "f.h5", plain, **RUN).close()
    with featx.extract(photos, tmp_path / "f.h5", Encoder.from_recipe(other), **RUN) as store:
        assert store.recipe == other
        assert store.summary.extracted == len(photos)


def test_processes_encode_alike(photos) -> None:
    encoder = Encoder(**SMALL)
    jobs = [joblib.delayed(encoder.encode)([path], **RUN) for path in photos[:2]]
    with joblib.parallel_config("loky", n_jobs=2):
        found = joblib.Parallel()(jobs)
    expected = encoder.encode(photos[:2], **RUN)
    np.testing.assert_allclose(np.vstack(found), expected, rtol=1e-3, atol=1e-5)


def test_an_image_that_cannot_be_read_is_named(photos, tmp_path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(ImageDecodeError, match=r"bad\.jpg.*\(1 such images in all\)"):
        Encoder(**SMALL).encode([photos[0], tmp_path / "bad.jpg"], **RUN)


@pytest.mark.parametrize(
    ("encoder", "options", "says"),
    [
        ("featx_base", {"agument": "hflip"}, "agument: .*Did you mean 'augment'"),
        ("featx_base", {"backbone": "resnet18"}, None),
        ("resnet50", {"backbone": "resnet18"}, "got 'resnet18' and 'resnet50', expected one"),
        (Encoder(), {"augment": "hflip"}, "augment: got one together with an Encoder"),
        ("featx_base", {"decode": "half"}, "decode: got 'half'"),
        ("featx_base", {"batch_size": 0}, "batch_size: got 0, expected an integer"),
    ],
)
def test_options_that_cannot_be_used_are_refused(encoder, options, says, tmp_path) -> None:
    # The source has no images, so that options that are fine end in another error.
    with pytest.raises((ParameterError, featx.FeatxError), match=says or "no images|not found"):
        featx.extract(tmp_path, tmp_path / "f.h5", encoder, **options)


def test_run_options_are_checked_and_no_part_of_an_encoder() -> None:
    assert {f.name for f in dataclasses.fields(RunOptions)}.isdisjoint(
        f.name for f in dataclasses.fields(Encoder)
    )
    with pytest.raises(
        ParameterError, match="max_pixels: got 0, expected an integer of at least 1"
    ):
        RunOptions(max_pixels=0)
