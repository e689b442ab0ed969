"""`FeatureExtractor` among scikit-learn's own: clone, pickle, pipelines, searches."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from _encoders import load_encoder
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

import featx
from featx import FeatureExtractor
from featx.errors import ImageDecodeError, ParameterError

NET = {"precision": "float32", "device": "cpu"}


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[list[str], list[str]]:
    """Twelve pictures, half of them red, half blue."""
    rng = np.random.default_rng(0)
    paths, labels = [], []
    for i in range(12):
        pixels = rng.integers(0, 60, (32, 32, 3), np.uint8)
        pixels[..., 2 * (i % 2)] += 150
        paths.append(str(tmp_path / f"{i}.png"))
        labels.append(["red", "blue"][i % 2])
        Image.fromarray(pixels).save(paths[-1])
    return paths, labels


def extractor(**options) -> FeatureExtractor:
    return FeatureExtractor("featx_small", **{**NET, **options})


def test_constructor_loads_nothing_and_keeps_its_arguments(monkeypatch) -> None:
    """Would catch a network built in __init__, which clone would load again."""

    def refuse(*_, **__):
        raise AssertionError("a network was loaded")

    monkeypatch.setattr("featx.backbones.load_backbone", refuse)
    one = FeatureExtractor("no such network", layer="x", cache=Path("y"))
    two = clone(one)
    assert two.get_params() == one.get_params()
    assert two.fit(["a.jpg"]) is two
    assert repr(two).startswith("FeatureExtractor(")


def test_all_kinds_of_input_give_the_same_vectors(pictures) -> None:
    paths, _ = pictures
    images = [Image.open(p) for p in paths]
    arrays = np.stack([np.asarray(i) for i in images])
    tensors = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    expected = extractor().transform(paths)
    assert expected.dtype == np.float32
    for X in (
        np.array(paths),
        np.array(paths, object)[:, None],
        [Path(p) for p in paths],
        images,
        arrays,
        list(arrays),
        tensors,
        tensors.float() / 255,
    ):
        np.testing.assert_allclose(extractor().transform(X), expected, rtol=1e-5, atol=1e-6)


def test_a_search_over_classifiers_runs_the_network_once_an_image(
    pictures, tmp_path: Path
) -> None:
    paths, labels = pictures
    net = load_encoder("featx_small", **NET).backbone
    before = net.n_images
    pipeline = make_pipeline(
        extractor(cache=tmp_path / "f.h5"), Normalizer(), LogisticRegression()
    )
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1, 10]}, cv=3)
    search.fit(paths, labels)
    assert net.n_images - before == len(paths)
    assert search.best_score_ == 1.0
    assert search.predict(paths).tolist() == labels


def test_a_search_over_layers_and_poolings_runs_the_network_once_an_image(
    pictures, tmp_path: Path
) -> None:
    paths, labels = pictures
    net = load_encoder("featx_small", **NET).backbone
    before = net.n_images
    layers, poolings = ["blocks.5", "blocks.12"], ["avg", "gem(3)"]
    pipeline = make_pipeline(
        extractor(cache=tmp_path / "f.h5", cached_layers=layers, cached_poolings=poolings),
        LogisticRegression(max_iter=500),
    )
    grid = {"featureextractor__layer": layers, "featureextractor__pooling": poolings}
    GridSearchCV(pipeline, grid, cv=3).fit(paths, labels)
    assert net.n_images - before == len(paths)


def test_a_search_in_two_processes_shares_the_cache(pictures, tmp_path: Path) -> None:
    paths, labels = pictures
    pipeline = make_pipeline(extractor(cache=tmp_path / "f.h5"), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}, cv=2, n_jobs=2)
    assert search.fit(paths, labels).best_score_ == 1.0
    assert len(featx.open_store(tmp_path / "f.h5")) == len(paths)


def test_cache_serves_images_in_memory_and_repeated_ones(pictures, tmp_path: Path) -> None:
    paths, _ = pictures
    arrays = np.stack([np.asarray(Image.open(p)) for p in paths])
    cached = extractor(cache=tmp_path / "f.h5")
    net = load_encoder("featx_small", **NET).backbone
    before = net.n_images
    first = cached.transform(arrays[[0, 1, 1]])
    again = cached.transform(list(arrays[[1, 0]]))
    assert net.n_images - before == 2
    np.testing.assert_array_equal(first[[1, 0]], again)
    np.testing.assert_array_equal(first[1], first[2])
    np.testing.assert_allclose(
        first, extractor().transform(arrays[[0, 1, 1]]), rtol=1e-4, atol=1e-5
    )


def test_cache_notices_that_an_image_changed(pictures, tmp_path: Path) -> None:
    paths, _ = pictures
    cached = extractor(cache=tmp_path / "f.h5")
    before = cached.transform(paths[:2])
    Image.new("RGB", (9, 9), "white").save(paths[0])
    after = cached.transform(paths[:2])
    assert not np.allclose(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize("is_cached", [False, True], ids=["plain", "cached"])
def test_bad_images_raise_or_become_rows_of_nan(pictures, tmp_path: Path, is_cached) -> None:
    paths, _ = pictures
    bad = str(tmp_path / "bad.jpg")
    Path(bad).write_bytes(b"no")
    cache = tmp_path / "f.h5" if is_cached else None
    with pytest.raises(ImageDecodeError, match=r"bad\.jpg': not a JPEG.*\(1 such images in all\)"):
        extractor(cache=cache).transform([paths[0], bad])
    X = extractor(cache=cache, on_error="nan").transform([paths[0], bad, paths[1]])
    assert np.isnan(X).all(axis=1).tolist() == [False, True, False]
    with pytest.raises(
        ParameterError, match="on_error: got 'skip', expected one of 'raise' or 'nan'"
    ):
        extractor(on_error="skip").transform(paths)


def test_names_pickling_and_containers(pictures) -> None:
    paths, _ = pictures
    one = extractor(layer="blocks.5", pooling="max").set_output(transform="default")
    X = one.fit_transform(paths)
    assert one.get_feature_names_out()[:2].tolist() == ["featureextractor0", "featureextractor1"]
    assert len(one.get_feature_names_out()) == X.shape[1] == one.recipe.n_features
    data = pickle.dumps(one)
    assert len(data) < 3000  # the network stays out
    np.testing.assert_array_equal(pickle.loads(data).transform(paths), X)


def test_own_network_goes_through_clone_and_pickle(pictures) -> None:
    paths, _ = pictures
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1),
                              torch.nn.Flatten())  # fmt: skip
    one = FeatureExtractor(net, device="cpu", precision="float32")
    X = one.transform(paths)
    assert X.shape == (12, 4)
    np.testing.assert_array_equal(clone(one).transform(paths), X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).transform(paths), X)


def test_nothing_to_transform_is_an_error() -> None:
    with pytest.raises(ParameterError, match="X: got no images, expected at least one"):
        extractor().transform([])
