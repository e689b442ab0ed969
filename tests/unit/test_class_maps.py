"""Class activation maps: means are scores, numbers by hand, places in the picture, the pages."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _browser import needs_browser, size, start_browser
from PIL import Image, ImageOps
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from featx import Encoder, PowerNormalizer, extract
from featx.backbones import load_backbone
from featx.backbones.embedded import build_embedded
from featx.backbones.position_maps import PositionMap, find_position_map
from featx.cli.main import main
from featx.errors import BackboneError, ParameterError
from featx.estimators import (
    AttributeClassifier,
    LinearProbeClassifier,
    MultiViewClassifier,
    PCAWhitening,
    SavedModel,
    save_model,
)
from featx.estimators.position_weights import position_weights
from featx.extraction import RunOptions
from featx.images import ImagePreprocessor, sample_data_dir
from featx.pooling import get_pooling
from featx.recipe import Preprocessing
from featx.report import Mistake, PictureMap, Report
from featx.tasks import Classifier, predictions_report
from featx.tasks.class_maps import ClassMaps, draw_class_maps

RUN = RunOptions("cpu", workers=0, progress=False)
PROBE = LinearProbeClassifier
RNG = np.random.default_rng(0)
X = RNG.normal(1, 1, (60, 12)) ** 2
THREE, TWO = RNG.choice(["a", "b", "c"], 60), RNG.choice(["a", "b"], 60)

MODELS: dict[str, tuple[Any, Any]] = {
    "three classes": (PROBE(), THREE),
    "two classes": (PROBE(), TWO),
    "svm, not normalised": (PROBE("svm", normalize=False), THREE),
    "standardised": (make_pipeline(StandardScaler(), PROBE()), THREE),
    "centred, not normalised": (
        make_pipeline(StandardScaler(with_std=False), "passthrough", PROBE(normalize=False)),
        TWO,
    ),
    "to unit length, then standardised": (
        make_pipeline(Normalizer(), StandardScaler(), Normalizer(), PROBE()),
        THREE,
    ),
    "whitened": (make_pipeline(PCAWhitening(5, power=0.5), PROBE()), THREE),
    "whitened, lengths kept": (
        make_pipeline(
            PCAWhitening(5, l2_before=False, l2_after=False), PROBE(normalize=False)
        ),
        THREE,
    ),
    "attributes": (AttributeClassifier(attribute_names=["a", "b"]), RNG.integers(0, 2, (60, 2))),
    "one attribute": (AttributeClassifier(attribute_names=["a"]), RNG.integers(0, 2, (60, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_mean_over_places_is_scikit_learns_score_less_the_intercept(name: str) -> None:
    model, y = MODELS[name]
    model.fit(X, y)
    final = model[-1] if hasattr(model, "steps") else model
    places = RNG.normal(1, 1, (25, 12)) ** 2  # of one picture
    vector = places.mean(axis=0)
    classes = ["a", "b", "c"][: max(final.coef_.shape[0], np.unique(y).size if y.ndim == 1 else 1)]
    weights, shifts = position_weights(model, vector, classes)
    score = model.decision_function(vector[None]).ravel() - final.intercept_
    if name in ("two classes", "centred, not normalised"):
        score = np.array([-score[0], score[0]])  # the first class has no row of its own
    np.testing.assert_allclose((places @ weights.T + shifts).mean(axis=0), score, rtol=1e-9)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (make_pipeline(PowerNormalizer(), PROBE()), "step PowerNormalizer is not linear"),
        (MultiViewClassifier(PROBE(), 2), "is a MultiViewClassifier, expected a LinearProbe"),
        (make_pipeline(Normalizer("max"), PROBE()), "step Normalizer is not linear"),
    ],
    ids=["power", "views", "other norm"],
)
def test_a_model_that_is_not_linear_is_refused(model: Any, match: str) -> None:
    model.fit(X, THREE)
    with pytest.raises(ParameterError, match=match):
        position_weights(model, X[0], ["a"])


NETWORKS = [
    ("densenet121", "penultimate", "none", PositionMap("features", "relu")),
    ("squeezenet1_1", "penultimate", "avg", PositionMap("penultimate")),
    ("timm/test_efficientnet", "penultimate", "none", PositionMap("bn2")),
    ("timm/test_vit", "norm", "patch", PositionMap("norm", n_prefix=1)),
    ("timm/test_vit", "penultimate", "none", "computes something else"),
    ("timm/test_vit", "norm", "avg", "pooling 'avg' of layer 'norm' is no mean over places"),
    ("timm/test_convnext", "penultimate", "none", "or more after it"),
    ("timm/test_convnext", "stages", "gem(3)", r"pooling 'gem\(3\)' of layer 'stages' is no mean"),
]


@pytest.mark.parametrize(
    ("name", "layer", "pooling", "expected"), NETWORKS, ids=[" ".join(n[:3]) for n in NETWORKS]
)
def test_the_map_behind_a_vector_is_found_or_refused(
    name: str, layer: str, pooling: str, expected: PositionMap | str
) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is an extra")
    net = load_backbone(name, weights=None, precision="float32", device="cpu")
    side = net.trial_px if "vit" in name else 64
    view = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), np.uint8)
    how = get_pooling(pooling)
    if pooling == "patch":
        how = dataclasses.replace(how, n_prefix=net.n_prefix_tokens)
    if isinstance(expected, str):
        with pytest.raises(BackboneError, match=expected):
            find_position_map(net, layer, how, view)
        return
    found = find_position_map(net, layer, how, view)
    assert found == expected
    vectors, maps = net.features([view], [(layer, how), (found.layer, found)])
    assert maps.ndim == 4
    assert maps.shape[2] * maps.shape[3] > 1
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), vectors, atol=1e-5 * np.abs(vectors).max())


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Any]:
    """A model of three things, features of float32, and pictures that are not square."""
    folder = tmp_path_factory.mktemp("maps")
    things = sorted(p for p in (sample_data_dir() / "objects").iterdir() if p.is_dir())[:3]
    paths = [str(p) for thing in things for p in sorted(thing.glob("*.jpg"))[:5]]
    y = np.array([Path(p).parent.name for p in paths])
    encoder = Encoder(precision="float32")
    with extract(paths, folder / "f.h5", encoder, device="cpu", workers=0, progress=False) as s:
        rows = {p: i for i, p in enumerate(s.paths.tolist())}
        vectors, recipe = s[[rows[p] for p in paths]], s.recipe
    model = PROBE(Cs=10.0).fit(vectors, y)
    save_model(model, folder / "m", recipe=recipe)
    saved = SavedModel(model, recipe)
    return {"paths": paths, "X": vectors, "y": y, "saved": saved, "folder": folder}


def test_maps_of_the_embedded_network_are_weights_times_its_last_map(world) -> None:
    saved, paths = world["saved"], world["paths"][:4]
    names = list(saved.classes)
    found = draw_class_maps(saved, dict.fromkeys(paths, names), RUN)
    assert found.why_not == ""
    network, made = build_embedded("featx_base"), saved.recipe.preprocessing
    for path, vector in zip(paths, world["X"], strict=False):
        pixels = ImagePreprocessor(made)(Image.open(path).convert("RGB"))[0] / 255
        x = (pixels - made.mean) / made.std
        with torch.inference_mode():
            last = network.forward_map(torch.tensor(x).float().permute(2, 0, 1)[None])[0].numpy()
        by_hand = np.einsum("kc,chw->khw", saved.model.coef_, last) / np.linalg.norm(vector)
        values = np.stack([m.values for m in found.by_path[path]])
        np.testing.assert_allclose(values, by_hand, atol=1e-3 * np.abs(by_hand).max())
        score = saved.model.decision_function(vector[None])[0] - saved.model.intercept_
        np.testing.assert_allclose(values.mean(axis=(1, 2)), score, atol=1e-4)
        assert [m.name for m in found.by_path[path]] == names


def test_a_vector_of_two_mirror_images_has_the_map_of_both(world, tmp_path) -> None:
    saved, path, other = world["saved"], world["paths"][0], str(tmp_path / "mirrored.png")
    ImageOps.mirror(Image.open(path).convert("RGB")).save(other)
    wanted = {path: [saved.classes[0]], other: [saved.classes[0]]}
    recipe = dataclasses.replace(saved.recipe, augment="hflip")
    found = draw_class_maps(dataclasses.replace(saved, recipe=recipe), wanted, RUN).by_path[path]
    vector = Encoder.from_recipe(recipe).encode(path, device="cpu", workers=0)
    score = saved.model.decision_function(vector)[0, 0] - saved.model.intercept_[0]
    assert found[0].values.mean() == pytest.approx(score, abs=1e-4)
    alone = draw_class_maps(saved, wanted, RUN).by_path
    vectors = Encoder.from_recipe(saved.recipe).encode([path, other], device="cpu", workers=0)
    lengths = np.linalg.norm(vectors, axis=1)
    first, second = alone[path][0].values * lengths[0], alone[other][0].values * lengths[1]
    by_hand = (first + second[:, ::-1]) / 2 / np.linalg.norm(vectors.mean(axis=0))
    np.testing.assert_allclose(found[0].values, by_hand, atol=0.02 * np.abs(by_hand).max())


def test_where_maps_would_not_be_exact_a_reason_stands_in_their_place(world) -> None:
    saved, wanted = world["saved"], {world["paths"][0]: [world["saved"].classes[0]]}

    def why_not(**changes: Any) -> str:
        found = draw_class_maps(dataclasses.replace(saved, **changes), wanted, RUN)
        assert not found.by_path
        return found.note

    recipe = saved.recipe
    assert "made outside featx" in why_not(recipe=None)
    for change, text in (
        ({"augment": "ten-crop"}, r"several views of a picture (augment 'ten-crop')"),
        ({"augment": "hflip:keep"}, r"several views of a picture (augment 'hflip:keep')"),
        ({"precision": "int8(160, nncf 3)"}, "int8, whose maps are rounded"),
        ({"layer": "blocks.15", "pooling": "gem(3)", "n_features": 320}, "is no mean over places"),
    ):
        assert text in why_not(recipe=dataclasses.replace(recipe, **change)), change
    power = make_pipeline(PowerNormalizer(), PROBE(Cs=1.0)).fit(world["X"], world["y"])
    assert why_not(model=power) == (
        "No maps of where the model sees a label: the model's step PowerNormalizer is not linear."
    )
    assert ClassMaps().note == ""


def test_a_picture_that_is_gone_and_a_class_that_is_not_known_have_no_map(world) -> None:
    saved, path = world["saved"], world["paths"][0]
    found = draw_class_maps(saved, {"/no/such.jpg": ["x"], path: ["x", saved.classes[1]]}, RUN)
    assert [m.name for m in found.by_path[path]] == [saved.classes[1]]
    assert list(found.by_path) == [path]


@pytest.mark.parametrize(
    ("made", "picture"),
    [
        ({"resize_px": 182, "crop_px": 160}, (640, 400)),
        ({"resize_px": 64, "crop_px": 64}, (300, 500)),
        ({"resize_px": 96, "crop_px": None}, (300, 200)),
        ({"resize_px": 96, "crop_px": 80, "squash": True}, (400, 200)),
        ({"resize_px": None, "crop_px": 100}, (300, 200)),
    ],
    ids=["centre", "tall", "whole", "squashed", "own size"],
)
def test_the_box_is_where_the_view_lies_in_the_picture(
    made: dict[str, Any], picture: tuple[int, int]
) -> None:
    width, height = picture  # red grows from left to right, green from top to bottom
    across, down = np.meshgrid(
        (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    )
    pixels = np.stack([across * 255, down * 255, 0 * down], axis=2).astype(np.uint8)
    preprocessor = ImagePreprocessor(Preprocessing(**made))
    (view,) = preprocessor(Image.fromarray(pixels))
    box = preprocessor.box(width, height)
    seen = view / 255
    by_colours = seen[0, 0, 0], seen[0, 0, 1], seen[-1, -1, 0], seen[-1, -1, 1]
    np.testing.assert_allclose(box, by_colours, atol=0.02)


def test_the_picture_over_a_picture_has_the_maps_colours_at_its_places() -> None:
    values = np.array([[1.0, 0.0], [0.0, -1.0]])
    over = PictureMap("cat", values, (0.25, 0.0, 0.75, 1.0))
    report = Report("x").add_mistakes(
        [Mistake(Image.new("RGB", (200, 100)), "dog", "cat", 0.9, (over, over))], title="t"
    )
    page = report.to_html()
    # The picture fills the width of its square frame and half of its height.
    assert page.count("left:25.00%;top:25.00%;width:50.00%;height:50.00%") == 2
    (png,) = set(re.findall(r"data:image/png;base64,([^\"]+)", page))
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")).astype(int)
    first, last, clear = pixels[0, 0], pixels[-1, -1], pixels[-1, 0]
    assert first[0] > first[2]
    assert first[3] > 150
    assert last[2] > last[0]
    assert last[3] > 150
    assert clear[3] < 20
    (mistake,) = report.to_dict()["sections"][0]["mistakes"]
    assert mistake["maps"][0] == {
        "name": "cat", "values": [[1.0, 0.0], [0.0, -1.0]], "box": [0.25, 0.0, 0.75, 1.0],
    }  # fmt: skip
    assert report.to_dict()["images"]["bytes"] > 2 * len(png)


def sections(page: Path) -> list[dict[str, Any]]:
    text = page.read_text()
    return json.loads(re.findall(r'<template id="numbers">(.*?)</template>', text)[0])["sections"]


def test_predict_and_evaluate_draw_a_map_over_each_picture_that_they_show(
    world, tmp_path, capsys
) -> None:
    model, store = str(world["folder"] / "m"), str(world["folder"] / "f.h5")
    assert main(["predict", model, store, "--html", str(tmp_path / "p.html")]) == 0
    (cards,) = [s["cards"] for s in sections(tmp_path / "p.html") if s["kind"] == "pictures"]
    assert len(cards) == len(world["paths"])
    assert all(card["lines"][0].startswith(card["maps"][0]["name"]) for card in cards)
    page = (tmp_path / "p.html").read_text()
    assert page.count('class="over"') == len(cards)
    assert page.count('type="checkbox"') == 1
    wrong = tmp_path / "wrong.csv"  # every picture has another thing's label, so all are mistakes
    labels = np.roll(world["y"], 5).tolist()
    labels[0] = "unheard of"
    lines = [f"{path},{label}" for path, label in zip(world["paths"], labels, strict=True)]
    wrong.write_text("\n".join(["path,label", *lines]))
    words = ["evaluate", model, store, "--labels", str(wrong), "--html", str(tmp_path / "e.html")]
    assert main(words) == 0
    (mistakes,) = [s["mistakes"] for s in sections(tmp_path / "e.html") if s["kind"] == "mistakes"]
    assert len(mistakes) == 12
    for m in mistakes:
        names = [m["predicted"], *([] if m["true"] == "unheard of" else [m["true"]])]
        assert [one["name"] for one in m["maps"]] == names


def test_of_several_labels_the_page_names_the_one_that_is_mapped() -> None:
    picture = PictureMap("b", np.ones((2, 2)))
    prediction = {
        "path": "/x.jpg", "label": ["a", "b"], "confidence": 0.8, "unknown": None,
        "is_unknown": False, "scores": {"a": 0.6, "b": 0.9},
    }  # fmt: skip
    asked: dict[str, Any] = {}

    def draw(wanted: Any) -> ClassMaps:
        asked.update(wanted)
        return ClassMaps({"/x.jpg": (picture,)})

    none = {**prediction, "path": "/y.jpg", "label": []}
    report = predictions_report([prediction, none], model="m", maps=draw)
    assert asked == {"/x.jpg": ("b",)}
    (section,) = [s for s in report.to_dict()["sections"] if s["kind"] == "pictures"]
    assert [card["lines"][-1] for card in section["cards"]] == ["map of b", "none, 80\u00a0% sure"]


def test_a_classifier_says_why_it_draws_none(world, tmp_path) -> None:
    power = make_pipeline(PowerNormalizer(), PROBE(Cs=1.0)).fit(world["X"], world["y"])
    save_model(power, tmp_path / "m", recipe=world["saved"].recipe)
    found = Classifier.load(str(tmp_path / "m")).draw_maps({world["paths"][0]: ["x"]})
    assert found.why_not == "the model's step PowerNormalizer is not linear"


@needs_browser
@pytest.mark.slow
def test_the_maps_are_switched_off_by_the_keyboard(tmp_path) -> None:
    maps = tuple(PictureMap(name, np.eye(3)) for name in ("cat", "dog"))
    picture = Image.new("RGB", (90, 60), "grey")
    report = Report("x").add_mistakes([Mistake(picture, "dog", "cat", 0.9, maps)] * 3, title="t")
    page = report.save(tmp_path / "p.html")
    seen = "return [...document.querySelectorAll('.over, .second')].filter(e => e.offsetParent)"
    driver = start_browser()
    try:
        for width in (1280, 390):
            size(driver, width, 900)
            driver.get(page.as_uri())
            assert len(driver.execute_script(seen)) == 9
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            driver.switch_to.active_element.send_keys("\ue004")  # tab
            assert driver.switch_to.active_element.get_attribute("type") == "checkbox"
            driver.switch_to.active_element.send_keys(" ")
            assert driver.execute_script(seen) == []
    finally:
        driver.quit()
