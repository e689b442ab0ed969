"""Answers that know what they do not know: confidence, sets of labels, images unlike any class."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import roc_auc_score

import featx
from featx._progress import count_steps
from featx.cli import predict as predict_command
from featx.cli.main import main
from featx.errors import FileFormatError, ParameterError
from featx.estimators import (
    AttributeClassifier,
    LinearProbeClassifier,
    held_out,
    load_model,
    save_model,
)
from featx.estimators.certainty import FALSE_ALARMS, Certainty, answer, learn_certainty
from featx.estimators.held_out import predict_held_out
from featx.estimators.path_scores import count_fits
from featx.estimators.presets import get_preset
from featx.files.kinds import kind_of
from featx.recipe import Preprocessing, Recipe
from featx.serve._labeller import Labeller
from featx.tasks import predictions_report, train

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RECIPE = Recipe("net", "ab" * 32, "layer", "avg", Preprocessing(), "none", "float32", 8)
COLOURS = ("red", "green", "blue")
# Of model-v1-certainty.featx, when it was made.
GOLDEN_LABELS = ["class 0", "class 1", "class 0"]
GOLDEN_CONFIDENCE = [0.9977, 0.4278, 0.5259]
GOLDEN_UNKNOWN = [0.0492, 0.9672, 0.9672]
GOLDEN_SIZES = [1, 0, 0]


def draw(n: int, seed: int, *, n_classes: int = 4, n_features: int = 8, width: float = 0.8):
    """Return points around one centre per class, and the classes as text."""
    rng = np.random.default_rng(seed)
    centres = 2 * np.eye(n_features)[:n_classes] + 1
    codes = rng.integers(n_classes, size=n)
    points = centres[codes] + width * rng.normal(size=(n, n_features))
    return points.astype(np.float32), np.array([f"class {code}" for code in codes])


def fit(n: int = 200, seed: int = 0, **options):
    X, y = draw(n, seed, **options)
    probe = LinearProbeClassifier(Cs=10.0).fit(X, y)
    return probe, learn_certainty(probe, X, y), X, y


@pytest.fixture(scope="module")
def world():
    return fit()


def test_confidence_is_the_probability_at_the_slope_that_fits_held_out_scores(world) -> None:
    probe, certainty, X, y = world
    scores = predict_held_out(probe, X, y, "decision_function")
    codes, n = np.searchsorted(probe.classes_, y), len(y)
    right = (n + 1) / (n + 2)
    target = np.full((n, 4), (1 - right) / 3)
    target[np.arange(n), codes] = right
    best = minimize_scalar(
        lambda log_slope: -(target * log_softmax(np.exp(log_slope) * scores, axis=1)).sum(),
        bounds=(-5, 5), method="bounded",
    )  # fmt: skip
    assert certainty.slopes[0] == pytest.approx(np.exp(best.x), rel=1e-3)
    points, _ = draw(50, 1)
    answers = answer(probe, points, certainty)
    expected = softmax(certainty.slopes[0] * probe.decision_function(points), axis=1)
    np.testing.assert_allclose(answers.scores, expected, rtol=1e-6)
    np.testing.assert_allclose(answers.confidence, expected.max(axis=1), rtol=1e-6)
    assert answers.labels.tolist() == probe.predict(points).tolist()


def test_held_out_scores_are_of_models_with_the_same_c_without_the_image(
    world, monkeypatch
) -> None:
    probe, _, X, y = world
    p = predict_held_out(probe, X, y)
    scores = predict_held_out(probe, X, y, "decision_function")
    np.testing.assert_allclose(softmax(scores, axis=1), p, atol=0.01)
    monkeypatch.setattr(held_out, "LinearProbeClassifier", AttributeClassifier)
    generic = predict_held_out(probe, X, y, "decision_function")  # fits one fold after the other
    np.testing.assert_allclose(scores, generic, atol=0.01 * abs(scores).max())


def test_confidence_is_as_often_right_as_it_says(world) -> None:
    probe, certainty, _, _ = world
    points, y = draw(4000, 2)
    answers = answer(probe, points, certainty)
    is_right = answers.labels == y
    for low, high in ((0.3, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.0)):
        within = (answers.confidence > low) & (answers.confidence <= high)
        assert abs(answers.confidence[within].mean() - is_right[within].mean()) < 0.06, (low, high)


def extrapolate(held_out, fewer) -> np.ndarray:
    """Return what right labels get from a model of all images, of models of 3 and 4 folds of 5."""
    more, less = (np.log(np.sort(p) / (1 - np.sort(p))) for p in (held_out, fewer))
    return np.sort(expit(more + 3 / 5 * (more - less)))


def give_right(probe, certainty, X, y, n_apart: int) -> np.ndarray:
    scores = predict_held_out(probe, X, y, "decision_function", n_apart=n_apart)
    p = softmax(certainty.slopes[0] * scores, axis=1)
    return p[np.arange(len(y)), np.searchsorted(probe.classes_, y)]


def test_models_without_two_folds_are_those_that_saw_three(world) -> None:
    probe, _, X, y = world
    content = held_out.number_copies(probe._prepare(X))
    folds = held_out.deal(np.searchsorted(probe.classes_, y), content, 5, 0)
    scores = predict_held_out(probe, X, y, "decision_function", n_apart=2)
    for fold, other in ((0, 1), (4, 0)):
        seen = ~np.isin(folds, (fold, other))
        expected = LinearProbeClassifier(Cs=probe.C_).fit(X[seen], y[seen])
        np.testing.assert_allclose(
            scores[folds == fold], expected.decision_function(X[folds == fold]), atol=0.05
        )


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_a_set_holds_what_reaches_the_kth_smallest_probability_of_a_right_label(
    world, coverage
) -> None:
    probe, certainty, X, y = world
    right = extrapolate(*(give_right(probe, certainty, X, y, n) for n in (1, 2)))
    np.testing.assert_allclose(certainty.right[0], right, rtol=1e-6)
    points, _ = draw(50, 1)
    unit = points.astype(float) / np.linalg.norm(points.astype(float), axis=1, keepdims=True)
    chance = 32 * unit @ np.random.default_rng(0).normal(size=8) % 1
    k = np.floor((1 - coverage) * 201 + chance).astype(int)
    answers = answer(probe, points, certainty, coverage=coverage)
    assert (answers.sets == (answers.scores >= right[k - 1][:, None])).all()


@pytest.mark.parametrize(
    ("n", "n_classes", "coverage"), [(160, 4, 0.9), (30, 2, 0.8), (12, 2, 0.95)]
)
def test_sets_hold_the_right_label_as_often_as_promised_over_draws(n, n_classes, coverage) -> None:
    covered, sizes = [], []
    for seed in range(20 if n > 100 else 40):
        options = {"n_classes": n_classes, "width": 1.2}
        probe, certainty, _, _ = fit(n, 100 + seed, **options)
        points, y = draw(500, 200 + seed, **options)
        sets = answer(probe, points, certainty, coverage=coverage).sets
        covered.append(sets[np.arange(500), np.searchsorted(probe.classes_, y)].mean())
        sizes.append(sets.sum(axis=1).mean())
    assert abs(np.mean(covered) - coverage) < 0.02
    assert np.mean(sizes) < 0.9 * n_classes  # sets that hold everything would be covered, too


def test_chance_decides_where_no_limit_keeps_the_promise_and_always_alike() -> None:
    probe, certainty, _, _ = fit(12, n_classes=2)
    points, _ = draw(2000, 1, n_classes=2)
    sets = answer(probe, points, certainty, coverage=0.95).sets
    reach = answer(probe, points, certainty).scores >= certainty.right[0][0]
    # of 13 places the promise leaves out 0.65: one for 65 % of the images, none for the others
    is_full = sets.all(axis=1) & ~reach.all(axis=1)
    assert is_full.sum() / (~reach.all(axis=1)).sum() == pytest.approx(0.35, abs=0.05)
    assert ((sets == reach).all(axis=1) | is_full).all()
    for row, together in zip(points[:50], sets, strict=False):
        alone = answer(probe, row[None], certainty, coverage=0.95).sets[0]
        assert (alone == together).all()
    shaken = points * (1 + 1e-6 * np.random.default_rng(0).normal(size=points.shape))
    same = answer(probe, shaken.astype(np.float32), certainty, coverage=0.95).sets == sets
    assert same.all(axis=1).mean() > 0.995


def test_a_class_never_seen_is_flagged_and_the_seen_ones_are_not_more_than_promised() -> None:
    X, y = draw(800, 0, n_classes=6)
    is_seen = y < "class 4"
    probe = LinearProbeClassifier(Cs=10.0).fit(X[is_seen], y[is_seen])
    certainty = learn_certainty(probe, X[is_seen], y[is_seen])
    points, labels = draw(2000, 1, n_classes=6, width=0.5)
    same, _ = draw(1000, 2)
    is_new = labels >= "class 4"
    answers = answer(probe, points, certainty)
    assert roc_auc_score(is_new, answers.unknown) > 0.9
    assert answers.is_unknown[is_new].mean() > 0.5
    for rate in (0.05, 0.2):
        flagged = answer(probe, same, certainty, false_alarms=rate).is_unknown.mean()
        assert rate / 3 < flagged < rate + 0.02
    assert ((answers.unknown >= 0) & (answers.unknown < 1)).all()


def test_unknown_is_the_share_of_training_images_less_novel_re_derived_by_hand() -> None:
    probe, certainty, X, y = fit(40, n_classes=3)
    codes = np.searchsorted(probe.classes_, y)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    unit16 = unit.astype(np.float16).astype(np.float32)

    def mean_of_nearest(row, k, but=None):
        of_class = [j for j in range(40) if codes[j] == k and j != but]
        return np.mean(sorted(row @ unit16[j] for j in of_class)[-3:])

    own = np.array([mean_of_nearest(unit[i], codes[i], but=i) for i in range(40)])
    among = [(own[codes == k].sum() + 3 * own.mean()) / ((codes == k).sum() + 3) for k in range(3)]

    def liken(row, but=None):
        return max(mean_of_nearest(row, k, but) - among[k] / 2 for k in range(3))

    alike = np.array([liken(unit[i], but=i) for i in range(40)])
    highest = predict_held_out(probe, X, y, "decision_function").max(axis=1)
    weights = [1 / np.diff(np.quantile(v, [1 / 6, 5 / 6]))[0] for v in (alike, highest)]
    training = -(weights[0] * alike + weights[1] * highest)
    np.testing.assert_allclose(certainty.novelty.training, np.sort(training), rtol=1e-4)
    points, _ = draw(30, 5, n_classes=3)
    rows = points / np.linalg.norm(points, axis=1, keepdims=True)
    scores = probe.decision_function(points).max(axis=1)
    novelty = -(weights[0] * np.array([liken(row) for row in rows]) + weights[1] * scores)
    expected = np.array([(training < value).sum() / 41 for value in novelty])
    found = np.floor(answer(probe, points, certainty).unknown * 41) / 41
    np.testing.assert_allclose(found, expected, atol=1.01 / 41)  # a tie may fall on either side
    assert np.mean(found == expected) > 0.9


def test_images_beyond_the_most_novel_training_image_are_told_apart() -> None:
    probe, certainty, X, _ = fit(12, n_classes=2)
    centre = X.mean(axis=0)
    points = np.stack([centre, -X[0] + X[1], -centre]).astype(np.float32)
    answers = answer(probe, points, certainty)
    assert 12 / 13 <= answers.unknown[1] < answers.unknown[2] < 1
    assert not answers.is_unknown.any()  # of 12 images no promise of 5 % can be kept
    assert answer(probe, points, certainty, false_alarms=0.1).is_unknown.tolist() == [
        False, True, True
    ]  # fmt: skip


def test_copies_are_not_compared_with_themselves() -> None:
    """Would catch training images that seem as alike as they are to their own copies."""
    X, y = draw(60, 0)
    twice, labels = np.concatenate([X, X]), np.concatenate([y, y])
    probe = LinearProbeClassifier(Cs=10.0).fit(twice, labels)
    certainty = learn_certainty(probe, twice, labels)
    points, _ = draw(400, 1)
    assert answer(probe, points, certainty).is_unknown.mean() < 0.15


def test_references_are_bounded_and_every_class_has_some() -> None:
    X, y = draw(5000, 0, n_features=40)
    y[:4] = "rare"
    certainty = learn_certainty(LinearProbeClassifier(Cs=1.0, tol=1e-2).fit(X, y), X, y)
    novelty = certainty.novelty
    assert novelty.references.shape == (2048, 40)
    assert novelty.references.dtype == np.float16
    assert novelty.counts.tolist()[-1] >= 3
    assert len(novelty.training) <= 4096
    assert len(certainty.right[0]) == 4096


@pytest.mark.parametrize("method", ["logistic", "svm"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_methods_and_two_classes_are_answered_alike(method, n_classes) -> None:
    X, y = draw(120, 0, n_classes=n_classes)
    probe = LinearProbeClassifier(method).fit(X, y)
    certainty = learn_certainty(probe, X, y)
    points, labels = draw(400, 1, n_classes=n_classes)
    answers = answer(probe, points, certainty, coverage=0.9)
    np.testing.assert_allclose(answers.scores.sum(axis=1), 1)
    assert abs(answers.confidence.mean() - (answers.labels == labels).mean()) < 0.06
    holds_right = answers.sets[np.arange(400), np.searchsorted(probe.classes_, labels)]
    assert 0.84 < holds_right.mean() < 0.97


@pytest.mark.parametrize("name", ["plain", "sqrt", "whitened"])
def test_pipelines_of_presets_are_answered(name, tmp_path) -> None:
    X, y = draw(80, 0)
    X = abs(X)
    model = get_preset(name).classifier().fit(X, y)
    save_model(model, tmp_path / "m", certainty=learn_certainty(model, X, y))
    answers = load_model(tmp_path / "m").predict(X, coverage=0.9)
    assert (answers.labels == model.predict(X)).all()
    assert answers.sets.shape == (80, 4)


@pytest.mark.parametrize("name", ["plain", "svm", "whitened", "hflip"])
def test_the_fits_of_a_training_are_known_beforehand(name) -> None:
    X, y = draw(80, 2)
    model, ends = get_preset(name).classifier(1), []
    with count_steps(lambda: ends.append(1)):
        learn_certainty(model.fit(X, y), X, y)
    assert len(ends) == count_fits(model) == 61
    model.fit(X, y)
    assert len(ends) == 61  # nobody asked any more


def test_of_very_many_images_some_say_how_certain_a_model_is(monkeypatch) -> None:
    probe, certainty, X, y = fit(600)
    monkeypatch.setattr("featx.estimators._folds.MOST_DEALT", 300)
    some = learn_certainty(probe, X, y)
    assert some.slopes == pytest.approx(certainty.slopes, rel=0.3)
    assert len(some.right[0]) == pytest.approx(300, abs=4)
    X_new, y_new = draw(1000, 1)
    confidence = answer(probe, X_new, some).confidence
    assert confidence.mean() == pytest.approx((probe.predict(X_new) == y_new).mean(), abs=0.04)


def test_classes_far_apart_in_float32_give_a_model_that_can_be_read(tmp_path) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 20)
    X = (np.eye(16)[y] + 0.01 * rng.normal(size=(60, 16))).astype(np.float32)
    probe = LinearProbeClassifier(Cs=1e4).fit(X, y)
    certainty = learn_certainty(probe, X, y)
    assert np.isfinite(certainty.right[0]).all()
    save_model(probe, tmp_path / "m", certainty=certainty)
    assert load_model(tmp_path / "m").predict(X).confidence.min() > 0.95


def test_a_class_of_one_image_and_classes_of_one_each_are_answered() -> None:
    X, y = draw(40, 0)
    y[0] = "alone"
    probe = LinearProbeClassifier().fit(X, y)
    answers = answer(probe, X, learn_certainty(probe, X, y), coverage=0.5)
    assert np.isfinite(answers.confidence).all()
    three, labels = np.eye(3, dtype=np.float32), np.array(["a", "b", "c"])
    probe = LinearProbeClassifier().fit(three, labels)
    answers = answer(probe, three, learn_certainty(probe, three, labels), coverage=0.5)
    np.testing.assert_allclose(answers.scores, probe.predict_proba(three))
    assert answers.sets.all()  # nothing was held out
    assert not answers.is_unknown.any()


def test_of_attributes_each_is_listed_for_the_promised_share_of_those_that_have_it() -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=(8, 5))

    def draw_attributes(n: int):
        X = rng.normal(size=(n, 8)).astype(np.float32)
        return X, (X @ W + 1.5 * rng.normal(size=(n, 5)) > 0).astype(float)

    X, Y = draw_attributes(400)
    Y[::7, 1] = np.nan
    model = AttributeClassifier(normalize=False).fit(X, Y)
    certainty = learn_certainty(model, X, Y)
    points, truth = draw_attributes(3000)
    answers = answer(model, points, certainty, coverage=0.9)
    np.testing.assert_allclose(answers.scores, model.predict_proba(points))
    assert (answers.labels == model.predict(points)).all()
    for column in range(5):
        assert answers.sets[truth[:, column] == 1, column].mean() == pytest.approx(0.9, abs=0.05)
    share_right = (answers.labels == truth).mean()
    assert answers.confidence.mean() == pytest.approx(share_right, abs=0.03)
    assert answers.is_unknown.mean() < 0.08
    has_it = Y[:, 2] == 1
    right = [
        expit(predict_held_out(model, X, Y, "decision_function", n_apart=n)[has_it, 2])
        for n in (1, 2)
    ]
    np.testing.assert_allclose(certainty.right[2], extrapolate(*right), rtol=1e-6)


def test_models_saved_before_give_their_own_probability_and_no_unknown(tmp_path) -> None:
    saved = load_model(GOLDEN / "model-v1.featx")
    X = np.random.default_rng(0).normal(size=(5, saved.model.n_features_in_))
    answers = saved.predict(X)
    assert saved.certainty is None
    assert answers.unknown is None
    assert not answers.is_unknown.any()
    np.testing.assert_array_equal(answers.scores, saved.model.predict_proba(X))
    with pytest.raises(ParameterError, match=r"coverage: got a model that was saved without"):
        saved.predict(X, coverage=0.9)


def test_the_golden_model_answers_as_when_it_was_saved() -> None:
    saved = load_model(GOLDEN / "model-v1-certainty.featx")
    X = np.array([[3, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 9]], np.float32)
    answers = saved.predict(X, coverage=0.8)
    assert answers.labels.tolist() == GOLDEN_LABELS
    np.testing.assert_allclose(answers.confidence, GOLDEN_CONFIDENCE, atol=1e-4)
    np.testing.assert_allclose(answers.unknown, GOLDEN_UNKNOWN, atol=1e-4)
    assert answers.sets.sum(axis=1).tolist() == GOLDEN_SIZES


@pytest.mark.parametrize("format", ["featx", "joblib"])
def test_what_was_learned_goes_with_the_model(world, tmp_path, format) -> None:
    probe, certainty, X, _ = world
    save_model(probe, tmp_path / "m", certainty=certainty, format=format)
    saved = load_model(tmp_path / "m", trust_pickle=format == "joblib")
    one, other = answer(probe, X, certainty, coverage=0.9), saved.predict(X, coverage=0.9)
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("slopes", lambda a: np.append(a, 1.0), r"slopes: got shape \(2,\)"),
        ("slopes", lambda a: a * np.nan, "slopes: has numbers that are NaN"),
        ("right_counts", lambda a: a + 1, "right_counts: got a sum of 201, expected 200"),
        ("counts", lambda a: -a, "counts: got a sum of -200"),
        ("counts", lambda a: a[:2], r"counts: got shape \(2,\), expected \(4,\)"),
        ("references", lambda a: a[:, :3], r"references: got shape \(200, 3\)"),
        ("likeness", lambda a: a.astype(np.int64), "likeness: missing, or no array"),
        ("weights", lambda _: None, "weights: missing"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(world, name, change, message) -> None:
    probe, certainty, _, _ = world
    arrays = certainty.to_arrays()
    arrays[name] = change(arrays[name])
    if arrays[name] is None:
        del arrays[name]
    with pytest.raises(FileFormatError, match=message):
        Certainty.from_arrays(arrays, probe)


def test_a_file_without_references_is_refused(world) -> None:
    probe, certainty, _, _ = world
    arrays = certainty.to_arrays()
    arrays |= {"references": arrays["references"][:0], "counts": 0 * arrays["counts"]}
    with pytest.raises(FileFormatError, match="references: got none"):
        Certainty.from_arrays(arrays, probe)


def test_shares_out_of_range_are_refused(world) -> None:
    probe, certainty, X, _ = world
    for coverage in (0, 1, 1.5, "0.9"):
        with pytest.raises(ParameterError, match="coverage: got"):
            answer(probe, X, certainty, coverage=coverage)
    with pytest.raises(ParameterError, match="false_alarms: got -1"):
        answer(probe, X, certainty, false_alarms=-1)


# The command line and the server.


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Pictures of three colours to train on, and some of noise, beside each other."""
    root = tmp_path_factory.mktemp("answers")
    rng = np.random.default_rng(0)
    for i in range(60):
        pixels = rng.integers(0, 60 + i % 7, (32, 32, 3), np.uint8)
        pixels[..., i % 3] += 120
        place = root / "train" / COLOURS[i % 3] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    (root / "new").mkdir()
    Image.open(root / "train" / "red" / "0.png").save(root / "new" / "red.png")
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::4], stripes[:, ::5] = 255, (255, 255, 0)
    Image.fromarray(stripes).save(root / "new" / "stripes.png")
    return root


@pytest.fixture(scope="module")
def model(photos) -> str:
    path = str(photos / "m")
    store = str(photos / "f.h5")
    with featx.extract(photos / "train", store, device="cpu", workers=0) as opened:
        train(opened).save(path, opened)
    return path


def result(capsys, *words) -> dict:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


RUN = ("--device", "cpu", "--workers", "0")


def test_predict_says_what_is_unknown_and_gives_sets(photos, model, tmp_path, capsys) -> None:
    words = ["predict", model, photos / "new", *RUN, "--sets", "0.9"]
    found = result(capsys, *words, "--out", tmp_path / "p.csv")
    red, stripes = found["predictions"]
    assert set(red) == {
        "path", "label", "labels", "confidence", "unknown", "is_unknown", "scores"
    }  # fmt: skip
    assert (red["label"], red["labels"], red["is_unknown"]) == ("red", ["red"], False)
    assert red["confidence"] == red["scores"]["red"]
    assert stripes["is_unknown"]
    assert stripes["unknown"] >= 0.95
    assert stripes["label"] in COLOURS  # the guess stays
    assert (found["n_unknown"], found["is_calibrated"]) == (1, True)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "confidence", "unknown", "is_unknown", "labels"]
    assert [row["is_unknown"] for row in rows] == ["0", "1"]
    assert json.loads(rows[0]["labels"]) == ["red"]
    assert kind_of(tmp_path / "p.csv")[0] == "predictions"
    assert main(list(map(str, words))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t")[1::2] == ["red", "possible: red"]
    assert lines[1].endswith("\tunknown")
    assert lines[2].startswith("1 of 2 images is unlike anything the model was trained on")


def test_fewer_false_alarms_flag_fewer_images(photos, model, capsys) -> None:
    words = ["predict", model, photos / "f.h5"]
    counts = [
        result(capsys, *words, "--false-alarms", rate)["n_unknown"] for rate in (0, 0.05, 0.4)
    ]
    assert counts[0] == 0
    assert counts[0] <= counts[1] < counts[2]
    assert predict_command.FALSE_ALARMS == FALSE_ALARMS


def test_the_page_shows_the_unknown_and_then_the_least_sure(
    photos, model, tmp_path, capsys
) -> None:
    found = result(
        capsys, "predict", model, photos / "f.h5", photos / "f.h5", "--html", tmp_path / "p.html",
        "--sets", "0.9", "--false-alarms", "0.2",
    )  # fmt: skip
    assert found["report"] == str(tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    numbers = json.loads(re.findall(r'<template id="numbers">(.*?)</template>', page)[0])
    cards = {s["title"]: s["cards"] for s in numbers["sections"] if s["kind"] == "pictures"}
    rest = [p for p in found["predictions"] if not p["is_unknown"]]
    flagged = found["n_unknown"]
    assert len(cards.get("Unlike all training images", [])) == flagged
    shown = [card["path"] for card in cards["Least confident first"]]
    ordered = sorted(rest, key=lambda p: p["confidence"])
    assert shown == ["/".join(Path(p["path"]).parts[-2:]) for p in ordered[:200]]
    assert page.count("data:image/jpeg") >= 60


def test_the_page_counts_what_could_not_be_read_and_gives_the_unknown_a_guess() -> None:
    sure = {"path": "/a.jpg", "label": "red", "confidence": 0.9, "unknown": 0.1}
    strange = {"path": "/b.jpg", "label": "blue", "confidence": 0.99, "unknown": 0.98}
    predictions = [{**sure, "is_unknown": False, "labels": []}, {**strange, "is_unknown": True}]
    report = predictions_report(predictions, model="m", n_unreadable=3)
    scores = next(s for s in report.to_dict()["sections"] if s["kind"] == "scores")["scores"]
    assert {row["name"]: row["value"] for row in scores}["unreadable images"] == 3
    lines = [line for s in report.to_dict()["sections"] if s["kind"] == "pictures"
             for card in s["cards"] for line in card["lines"]]  # fmt: skip
    assert lines == [
        "guess: blue", "stranger than 98\u00a0% of the training images",
        "red, 90\u00a0% sure", "possible: none",
    ]  # fmt: skip


def test_an_older_model_predicts_and_says_once_what_it_lacks(
    photos, model, tmp_path, capsys
) -> None:
    saved = load_model(model)
    save_model(saved.model, tmp_path / "old", recipe=saved.recipe, metadata=saved.metadata)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "old"), str(photos / "f.h5"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert {p["unknown"] for p in found} == {None}
    assert found[0]["confidence"] == found[0]["scores"][found[0]["label"]]
    assert main(["predict", str(tmp_path / "old"), str(photos / "f.h5")]) == 0
    assert capsys.readouterr().err.count("saved without what calibrates it") == 1
    assert main(["predict", str(tmp_path / "old"), str(photos / "f.h5"), "--sets", "0.9"]) == 1
    assert "--sets: got a model that was saved without" in capsys.readouterr().err


def test_a_table_of_attributes_is_known_by_its_columns(tmp_path) -> None:
    for names, kind in (
        (["path", "a", "score.a"], "predictions"),
        (["path", "a", "score.a", "confidence", "unknown", "is_unknown"], "predictions"),
        (["path", "a", "b", "score.a", "score.b", "confidence", "unknown"], "predictions"),
        (["path", "label", "confidence", "unknown", "is_unknown"], "predictions"),
        (["path", "a", "score.a", "confidence", "mine"], ""),
        (["path", "label", "confidence", "labels"], ""),
    ):
        (tmp_path / "t.csv").write_text(",".join(names) + "\n")
        assert kind_of(tmp_path / "t.csv")[0] == kind, names


def test_the_server_says_what_is_unknown(world, tmp_path) -> None:
    probe, certainty, X, _ = world
    save_model(probe, tmp_path / "m", recipe=RECIPE, certainty=certainty)
    save_model(probe, tmp_path / "old", recipe=RECIPE)
    strange = -X[:1]
    known, unknown = Labeller(str(tmp_path / "m"), RECIPE)(np.concatenate([X[:1], strange]))
    assert (known.is_unknown, unknown.is_unknown) == (False, True)
    assert unknown.unknown > 0.95
    assert known.confidence == known.scores[0].probability
    (old,) = Labeller(str(tmp_path / "old"), RECIPE)(strange)
    assert (old.unknown, old.is_unknown) == (None, False)
