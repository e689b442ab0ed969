"""``featx train`` on images and stores with presets, its page, and the same in Python."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score

import featx
from featx.cli.main import main
from featx.errors import FileFormatError, ManifestError, ParameterError
from featx.estimators import LinearProbeClassifier, load_model, save_model
from featx.estimators._folds import draw_rows
from featx.estimators.held_out import final_estimator, predict_held_out
from featx.estimators.multi_view import MultiViewClassifier
from featx.estimators.presets import get_preset
from featx.serve._labeller import Labeller
from featx.store import store_info
from featx.tasks import Classifier, evaluation_report, train

RUN = ["--device", "cpu", "--workers", "0"]
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder of 18 pictures of three colours, two of which show another colour."""
    root = tmp_path_factory.mktemp("train") / "photos"
    rng = np.random.default_rng(0)
    for i in range(18):
        shown = i % 3 if i not in (4, 8) else (i + 1) % 3
        pixels = rng.integers(0, 90, (48, 48, 3), np.uint8)
        pixels[..., shown] += 140
        place = root / COLOURS[i % 3] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return root


@pytest.fixture(scope="module")
def store(photos) -> str:
    path = str(photos.parent / "plain.h5")
    featx.extract(photos, path, device="cpu", workers=0).close()
    return path


def run(*words) -> int:
    return main([str(word) for word in words])


def result(capsys, *words) -> dict:
    capsys.readouterr()
    assert run(*words, "--json") == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return json.loads(printed)


def refused(capsys, *words) -> str:
    capsys.readouterr()
    assert run(*words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def numbers(page: Path) -> list[dict]:
    (found,) = re.findall(r'<template id="numbers">(.*?)</template>', page.read_text())
    return json.loads(found)["sections"]


def test_a_folder_is_extracted_beside_the_model_and_then_trained_on(
    photos, tmp_path, capsys
) -> None:
    (photos / "red" / "broken.png").write_bytes(b"no")
    try:
        words = ["train", photos, "--out", tmp_path / "m", "--preset", "best", *RUN]
        found = result(capsys, *words, "--html", tmp_path / "m.html")
    finally:
        (photos / "red" / "broken.png").unlink()
    assert found["classes"] == sorted(COLOURS)
    assert (found["n_samples"], found["preset"]) == (18, "best")
    (failure,) = found["failures"]
    assert failure["path"].endswith("broken.png")
    assert failure["reason"]
    assert found["store"] == f"{tmp_path / 'm'}.h5"
    assert {"cv_score", "C", "seconds"} <= set(found)
    (table,) = store_info(found["store"]).tables
    assert table.recipe.augment == "ten-crop"
    model = load_model(tmp_path / "m").model
    assert model[0].power == 0.5
    page = (tmp_path / "m.html").read_text()
    assert found["report"] == str(tmp_path / "m.html")
    assert page.count("data:image/jpeg") >= 2  # the mistakes as pictures
    again = result(capsys, *words)
    assert (again["C"], again["cv_score"]) == (found["C"], found["cv_score"])


def test_the_page_has_the_score_and_the_mistakes_of_images_that_were_held_out(
    photos, store, tmp_path, capsys
) -> None:
    found = result(capsys, "train", store, "--out", tmp_path / "m", "--html", tmp_path / "m.html")
    sections = {section["kind"]: section for section in numbers(tmp_path / "m.html")}
    scores = {row["name"]: row for row in sections["scores"]["scores"]}
    assert scores["accuracy"]["value"] == pytest.approx(found["cv_score"])
    assert scores["accuracy"]["low"] <= scores["accuracy"]["value"] <= scores["accuracy"]["high"]
    assert sections["curve"]["title"] == "Accuracy with fewer labels per class"
    wrong = {Path(m["path"]).name for m in sections["mistakes"]["mistakes"]}
    assert {"4.png", "8.png"} <= wrong
    assert len(wrong) == round(18 * (1 - scores["accuracy"]["value"]))


@pytest.mark.parametrize(
    ("preset", "augment", "n_views"),
    [("paper", "sixteen-view:keep", 16), ("places", "ten-crop:keep", 10)],
)
def test_presets_that_keep_several_views_are_saved_and_predict(
    photos, tmp_path, capsys, preset, augment, n_views
) -> None:
    """Would catch a model that only the process that trained it can use."""
    words = ["train", photos, "--out", tmp_path / "m", "--store", tmp_path / "s.h5", *RUN]
    found = result(capsys, *words, "--preset", preset)
    assert found["store"] == str(tmp_path / "s.h5")
    with featx.open_store(tmp_path / "s.h5") as opened:
        assert opened.recipe.augment == augment
        X, y = opened[:], opened.labels
    expected = get_preset(preset).classifier(n_views).fit(X, y)
    loaded = load_model(tmp_path / "m").model
    np.testing.assert_array_equal(loaded.predict_proba(X), expected.predict_proba(X))
    predicted = result(capsys, "predict", tmp_path / "m", photos, *RUN)["predictions"]
    assert [p["label"] for p in predicted] == expected.predict(X).tolist()
    assert "accuracy" in result(capsys, "evaluate", tmp_path / "m", tmp_path / "s.h5")


def test_a_store_without_the_presets_features_is_said_so(store, tmp_path, capsys) -> None:
    words = ["train", store, "--out", tmp_path / "m", "--preset", "best"]
    (note,) = result(capsys, *words)["notes"]
    assert "preset 'best' asks for features with augment 'ten-crop'" in note
    assert "have 'none': only its classifier was taken" in note
    assert run(*words) == 0
    assert note in capsys.readouterr().err
    assert load_model(tmp_path / "m").model[0].power == 0.5
    assert (
        result(capsys, "train", store, "--out", tmp_path / "m", "--preset", "svm")["notes"] == []
    )
    found = result(capsys, "train", store, "--out", tmp_path / "m", "--preset", "places")
    assert "'ten-crop:keep'" in found["notes"][0]


def test_places_are_not_made_of_views_that_are_no_ten_crops(photos, tmp_path, capsys) -> None:
    words = ["extract", photos, "--store", tmp_path / "s.h5", "--augment", "hflip:keep", *RUN]
    assert run(*words) == 0
    words = ["train", tmp_path / "s.h5", "--out", tmp_path / "m", "--preset", "places"]
    error = refused(capsys, *words)
    assert "preset 'places': got rows of 2 views, expected 10" in error


def test_an_explicit_method_overrules_the_presets(store, tmp_path, capsys) -> None:
    words = ["train", store, "--out", tmp_path / "m", "--preset", "best", "--method", "svm"]
    assert result(capsys, *words)["classes"] == sorted(COLOURS)
    assert final_estimator(load_model(tmp_path / "m").model).method == "svm"


def test_only_labelled_images_of_the_source_are_extracted_and_trained_on(
    photos, tmp_path, capsys
) -> None:
    """Would catch rows of an earlier source in the store, or of images without a label."""
    other = tmp_path / "other"
    for name in ("cat", "dog"):
        (other / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (32, 32), (90 * i, 50, 7 * len(name))).save(
                other / name / f"{i}{name}.png"
            )
    assert result(capsys, "train", other, "--out", tmp_path / "m", *RUN)["n_samples"] == 4
    pictures = sorted(photos.rglob("*.png"))[:12]
    lines = [f"{path},{path.parent.name}" for path in pictures]
    (tmp_path / "l.csv").write_text("\n".join(["path,label", *lines]))
    words = ["train", photos, "--out", tmp_path / "m", "--labels", tmp_path / "l.csv", *RUN]
    found = result(capsys, *words)
    assert (found["n_samples"], found["n_unlabelled"]) == (12, 6)
    assert "cat" not in found["classes"]
    assert store_info(tmp_path / "m.h5").tables[0].n_samples == 4 + 12


def test_attributes_of_a_folder_with_a_preset_and_a_page(photos, tmp_path, capsys) -> None:
    lines = [
        f"{p},{int(p.parent.name == 'red')},{'' if i < 3 else int(p.parent.name == 'blue')}"
        for i, p in enumerate(sorted(photos.rglob("*.png")))
    ]
    (tmp_path / "a.csv").write_text("\n".join(["path,is_red,is_blue", *lines]))
    words = ["train", photos, "--task", "attributes", "--labels", tmp_path / "a.csv"]
    words += ["--out", tmp_path / "m", "--preset", "sqrt", *RUN]
    found = result(capsys, *words, "--html", tmp_path / "m.html")
    assert found["classes"] == ["is_red", "is_blue"]
    assert set(found["C"]) == {"is_red", "is_blue"}
    titles = [section["title"] for section in numbers(tmp_path / "m.html")]
    assert "Average precision by attribute" in titles
    (one, *_) = result(capsys, "predict", tmp_path / "m", tmp_path / "m.h5")["predictions"]
    assert isinstance(one["label"], list)
    assert set(one["scores"]) == {"is_red", "is_blue"}
    with featx.open_store(tmp_path / "m.h5") as opened:
        assert Labeller(str(tmp_path / "m"), opened.recipe).names == ["is_red", "is_blue"]
    words = ["evaluate", tmp_path / "m", tmp_path / "m.h5", "--labels", tmp_path / "a.csv"]
    found = result(capsys, *words, "--html", tmp_path / "e.html")
    assert found["n_seen_in_training"] == 18
    assert (tmp_path / "e.html").stat().st_size > 1000


def test_attributes_print_a_loss_and_name_those_of_one_image(store, tmp_path, capsys) -> None:
    with featx.open_store(store) as opened:
        rows = [f"{p},{int(i % 2)},{int(i == 0)}" for i, p in enumerate(opened.paths)]
    (tmp_path / "a.csv").write_text("\n".join(["path,odd,first", *rows]))
    words = ["train", store, "--task", "attributes", "--labels", tmp_path / "a.csv"]
    assert run(*words, "--out", tmp_path / "m") == 0
    out, err = capsys.readouterr()
    assert re.search(
        r"2 attributes, 18 images, mean log loss \(0 is perfect\) \d\.\d{3} cross-", out
    )
    assert (
        "1 attribute with a single yes or no, or none, cannot be measured: first (1 yes);" in err
    )
    assert result(capsys, *words, "--out", tmp_path / "m")["cv_score"] < 0  # scripts rely on it


def test_an_evaluation_writes_a_page(photos, store, tmp_path, capsys) -> None:
    assert run("train", store, "--out", tmp_path / "m") == 0
    found = result(capsys, "evaluate", tmp_path / "m", store, "--html", tmp_path / "e.html")
    assert found["report"] == str(tmp_path / "e.html")
    sections = numbers(tmp_path / "e.html")
    assert sections[0]["scores"][0]["value"] == found["accuracy"]
    assert run("evaluate", tmp_path / "m", store, "--html", tmp_path / "e.html") == 0
    assert f"page: {tmp_path / 'e.html'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["PHOTOS", "--preset", "bset"], ["--preset: got 'bset'", "Did you mean 'best'?"]),
        (["PHOTOS", "STORE"], ["expected stores alone or none"]),
        (["STORE", "STORE"], ["SOURCE: got 2 stores, expected one"]),
        (["STORE", "--crop", "64"], ["--crop: got one together with the store"]),
        (["STORE", "--store", "x.h5"], ["--store: got one together with the store"]),
        (["PHOTOS", "--table", "ab"], ["--table: got 'ab' without a store"]),
        (["PHOTOS", "--layer", "a", "--layer", "b"], ["got several, expected one"]),
        (["PHOTOS", "--store", "STORE.html"], ["plain.h5.html"]),
        (["nowhere"], ["'nowhere': not found"]),
        (["PHOTOS", "--out", "STORE"], ["plain.h5"]),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, list) else "",
)  # fmt: skip
def test_errors_are_one_line(photos, store, tmp_path, capsys, words, says) -> None:
    page = Path(f"{store}.html")
    page.write_text("mine")
    out = [] if "--out" in words else ["--out", tmp_path / "m"]
    words = [w.replace("PHOTOS", str(photos)).replace("STORE", store) for w in words]
    before = Path(store).read_bytes()
    error = refused(capsys, "train", *words, *out)
    assert error.startswith("featx train: ")
    assert "fault in featx" not in error
    for part in says:
        assert part in error
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "m.h5").exists()
    assert Path(store).read_bytes() == before
    assert page.read_text() == "mine"


def test_a_file_of_another_kind_where_the_store_would_lie_is_left_alone(
    photos, tmp_path, capsys
) -> None:
    (tmp_path / "m.h5").write_text("notes of mine")
    error = refused(capsys, "train", photos, "--out", tmp_path / "m", *RUN)
    assert "m.h5" in error
    assert (tmp_path / "m.h5").read_text() == "notes of mine"


def test_images_of_which_none_can_be_read_are_refused(tmp_path, capsys) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "x.jpg").write_bytes(b"no")
    error = refused(capsys, "train", tmp_path / "photos", "--out", tmp_path / "m", *RUN)
    assert "fault in featx" not in error
    assert not (tmp_path / "m").exists()


def test_training_in_python_gives_what_the_command_gives(store, tmp_path, capsys) -> None:
    found = result(capsys, "train", store, "--out", tmp_path / "m", "--preset", "sqrt")
    with featx.open_store(store) as opened:
        training = train(opened, preset="sqrt")
        evaluation = training.cross_validate(opened)
        training.save(tmp_path / "n", opened)
        X = opened[:]
    assert {k: v for k, v in found.items() if k in training.to_dict() and k != "notes"} == {
        k: list(v) if isinstance(v, tuple) else v for k, v in training.to_dict().items()
    }
    one, other = (load_model(tmp_path / name) for name in "mn")
    assert (one.model.predict_proba(X) == other.model.predict_proba(X)).all()
    assert one.recipe == other.recipe
    assert one.images.tolist() == other.images.tolist()
    p = evaluation.predictions
    assert evaluation.figures["accuracy"] == accuracy_score(p.y_true, p.y_pred)
    assert len(p.paths) == 18
    page = evaluation_report(evaluation, title="T").save(tmp_path / "p.html")
    assert "<title>T</title>" in Path(page).read_text()


def test_held_out_predictions_come_from_models_without_the_image(store) -> None:
    """Would catch predictions by the model that was fitted on everything."""
    with featx.open_store(store) as opened:
        X, y = opened[:], opened.labels.astype(object)
    y[0] = "unlike any"
    model = get_preset("plain").classifier().fit(X, y.astype(str))
    scores = predict_held_out(model, X, y.astype(str))
    assert np.isnan(scores[0]).all()
    assert not np.isnan(scores[1:]).any()
    accuracy = (model.classes_[scores[1:].argmax(axis=1)] == y[1:]).mean()
    assert accuracy == pytest.approx(model.best_score_)
    twice = np.concatenate([X, X])
    doubled = model.fit(twice, np.tile(y.astype(str), 2))
    scores = predict_held_out(doubled, twice, np.tile(y.astype(str), 2))
    np.testing.assert_allclose(scores[:18], scores[18:], rtol=1e-5)  # copies go to one fold
    wrong = model.classes_[np.nan_to_num(scores[1:18]).argmax(axis=1)] != y[1:]
    assert wrong.sum() >= 2


@pytest.mark.parametrize("preset", ["plain", "svm", "sqrt", "whitened"])
def test_held_out_predictions_give_the_score_by_which_C_was_chosen(preset) -> None:
    """Would catch folds other than the probe's own."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:250].astype(np.float32), y[:250]
    model = get_preset(preset).classifier().fit(X, y)
    probe = final_estimator(model)
    predicted = probe.classes_[predict_held_out(model, X, y).argmax(axis=1)]
    # steps before the probe, and an SVM's calibration, are fitted anew in each fold
    atol = 1 / 250 if preset in ("plain", "sqrt") else 0.02
    assert np.mean(predicted == y) == pytest.approx(probe.best_score_, abs=atol)


def test_attributes_with_a_single_known_label_are_not_held_out() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 5))
    Y = np.stack([X[:, 0] > 0, np.full(12, np.nan)], axis=1).astype(float)
    Y[3, 1] = 1
    model = get_preset("plain").attribute_classifier(["a", "b"]).fit(X, Y)
    scores = predict_held_out(model, X, Y)
    assert np.isnan(scores[3]).all()
    assert not np.isnan(scores).all()


def test_a_model_that_classifies_nothing_is_refused(tmp_path) -> None:
    save_model(featx.PCAWhitening(2).fit(np.eye(4)), tmp_path / "m")
    with pytest.raises(FileFormatError, match="holds a PCAWhitening, expected a classifier"):
        Classifier.load(str(tmp_path / "m"))


def test_without_a_page_of_classes_of_one_image_the_model_stays(store, tmp_path, capsys) -> None:
    with featx.open_store(store) as opened:
        paths = opened.paths[[0, -1]].tolist()
    (tmp_path / "l.csv").write_text(f"path,label\n{paths[0]},a\n{paths[1]},b\n")
    words = ["train", store, "--labels", tmp_path / "l.csv", "--out", tmp_path / "m"]
    message = refused(capsys, *words, "--html", tmp_path / "m.html")
    assert "none can be held out" in message
    assert message.rstrip().endswith("the model is saved, without a page")
    assert sorted(load_model(tmp_path / "m").model.classes_) == ["a", "b"]
    assert not (tmp_path / "m.html").exists()


def test_labels_that_cannot_be_trained_on_are_refused_in_python(photos, store) -> None:
    with featx.open_store(store) as opened:
        with pytest.raises(ParameterError, match=r"task: got 'classifcation'.*'classification'"):
            train(opened, task="classifcation")
        with pytest.raises(ParameterError, match="preset: got 'bset'"):
            train(opened, preset="bset")
        elsewhere = featx.ImageManifest.from_paths(["/no/a.png", "/no/b.png"], labels=["a", "b"])
        with pytest.raises(ManifestError, match="has none of the 2 labelled images"):
            train(opened, images=elsewhere)
        alone = {"path": opened.paths[:3].tolist(), "label": ["a", "b", "c"]}
        with pytest.raises(ParameterError, match="none can be held out"):
            train(opened, alone).cross_validate(opened)


def test_of_very_many_images_a_share_chooses_c_and_a_note_says_so(store, monkeypatch) -> None:
    monkeypatch.setattr("featx.estimators._folds.MOST_DEALT", 9)
    with featx.open_store(store) as opened:
        training = train(opened)
        assert training.to_dict()["n_samples"] == 18
        (note,) = [note for note in training.notes if "all 18 images train the model" in note]
        measured = training.cross_validate(opened)
    assert "come from about 9 of them" in note
    assert measured.to_dict()["n_samples"] == 9


def test_views_of_an_image_stay_together_among_those_that_are_drawn(monkeypatch) -> None:
    monkeypatch.setattr("featx.estimators._folds.MOST_DEALT", 20)
    labels = np.repeat(["a", "b"], [40, 20])
    drawn = draw_rows((labels == "b").astype(int), 0)
    model = MultiViewClassifier(LinearProbeClassifier(), n_views=2)
    for fold in model._folds(labels, 3):
        rows = np.concatenate(fold)
        np.testing.assert_array_equal(np.unique(rows // 2), drawn)
        assert len(rows) == len(set(rows.tolist())) == 2 * len(drawn)
