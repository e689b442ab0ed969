"""`featx audit` against things that were planted, and numbers worked out another way."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import featx
from featx.auditing._classes import find_confused_pairs
from featx.auditing._held_out import hold_out
from featx.auditing._labels import LEAST_WRONG
from featx.auditing._neighbours import copy_groups, find_neighbours, outlier_scores
from featx.auditing._noise import NoiseModel, _joint
from featx.auditing.result import KINDS, Audit, Finding
from featx.cli.main import main
from featx.errors import FeatxError, FingerprintMismatchError, ManifestError, ParameterError
from featx.estimators import AttributeClassifier, LinearProbeClassifier
from featx.estimators._folds import deal, deal_attributes, split
from featx.estimators.path_scores import score_path
from featx.images import ImageManifest
from featx.images.quality import PictureMeasurer, blur_of
from featx.store import write_features

N_CLASSES, N_EACH, N_FEATURES = 5, 40, 32


def make_set(seed: int = 0, spread: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Classes that overlap a little, in a random orientation."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(N_CLASSES), N_EACH)
    centres = np.linalg.qr(rng.normal(size=(N_FEATURES, N_CLASSES)))[0].T
    return (centres[y] + rng.normal(0, spread, (len(y), N_FEATURES))).astype(np.float32), y


def flip(y: np.ndarray, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(y), n, replace=False)
    z = y.copy()
    z[rows] = (y[rows] + rng.integers(1, N_CLASSES, n)) % N_CLASSES
    return z, rows


def make_store(path: Path, X: np.ndarray, labels=None, **columns) -> featx.FeatureStore:
    paths = [f"/none/{i:04}.jpg" for i in range(len(X))]
    return write_features(path / "f.h5", X, paths=paths, labels=labels, **columns)


def names(y: np.ndarray) -> list[str]:
    return [f"class {code}" for code in y]


def quick(store, labels=None, **options) -> Audit:
    return featx.audit(
        store, labels, copy_threshold=0.9999, pictures=False, progress=False, **options
    )


def of_kind(found: Audit, kind: str) -> list[Finding]:
    return [finding for finding in found.findings if finding.kind == kind]


# -- the mixture model --


def test_the_joint_probabilities_are_those_of_a_plain_sum() -> None:
    rng = np.random.default_rng(0)
    scores, codes = rng.normal(0, 2, (30, 4)), rng.integers(0, 4, 30)
    theta = np.array([0.4, -1.0, -0.5])
    right, wrong, _ = _joint(scores, codes, theta)
    share = 1 / (1 + np.exp(1.0))
    for i, (s, y) in enumerate(zip(scores, codes, strict=True)):
        p = softmax(np.exp(0.4) * s)
        total = 0.0
        for k in range(4):
            if k != y:
                weights = np.exp(np.exp(-0.5) * s)
                weights[k] = 0
                total += p[k] * weights[y] / weights.sum()
        assert right[i] == pytest.approx((1 - share) * p[y], rel=1e-6)
        assert wrong[i] == pytest.approx(share * total, rel=1e-6)


@pytest.mark.parametrize("spread", [0.0, 2.0], ids=["to any class", "to the likeliest"])
@pytest.mark.parametrize("share", [0.03, 0.2])
def test_the_model_recovers_the_share_that_labels_were_drawn_with(share, spread) -> None:
    rng = np.random.default_rng(1)
    n, k = 4000, 6
    scores = rng.normal(0, 4, (n, k))
    true = np.array([rng.choice(k, p=p) for p in softmax(scores, axis=1)])
    is_wrong = rng.random(n) < share
    codes = true.copy()
    for i in np.flatnonzero(is_wrong):
        p = np.exp(spread * (scores[i] - scores[i].max()))
        p[true[i]] = 0
        codes[i] = rng.choice(k, p=p / p.sum())
    model = NoiseModel.fit(scores, codes)
    expected, low, high = model.interval(scores, codes)
    assert low <= is_wrong.sum() <= high
    assert low <= expected <= high
    assert high - low < 0.12 * n
    p = model.wrong(scores, codes)
    assert 0 <= p.min() <= p.max() <= 1
    oracle = NoiseModel(np.array([0.0, np.log(share / (1 - share)), np.log(spread + 1e-3)]), 0.0)
    best = roc_auc_score(is_wrong, oracle.wrong(scores, codes))
    assert roc_auc_score(is_wrong, p) > best - 0.01


def test_labels_that_scores_explain_are_not_called_wrong() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(0, 2, (2000, 5))
    codes = np.array([rng.choice(5, p=p) for p in softmax(scores, axis=1)])
    model = NoiseModel.fit(scores, codes)
    _, low, high = model.interval(scores, codes)
    assert low < 1
    assert high < 0.1 * 2000
    assert (model.wrong(scores, codes) >= LEAST_WRONG).mean() < 0.01


# -- folds --


@pytest.mark.parametrize("runs", [False, True], ids=["shuffled", "runs"])
def test_no_copy_of_what_is_held_out_is_trained_on(runs) -> None:
    rng = np.random.default_rng(0)
    codes, groups = rng.integers(0, 7, 500), rng.integers(0, 300, 500)
    splits = split(deal(codes, groups, 5, 0, runs=runs), codes, groups)
    held_out = np.stack([test for _, test in splits])
    assert (held_out.sum(axis=0) == 1).all()
    assert held_out.sum(axis=1).min() > 60
    for train, test in splits:
        assert not np.isin(groups[train], groups[test]).any()
        assert np.isin(codes[test], codes[train]).all()
        assert np.isin(groups[~train], groups[test]).all()


def test_a_label_without_another_example_is_not_held_out() -> None:
    """Of class 1, the one image is a copy of what is held out, and the other is held out too."""
    codes, groups = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 3])
    folds = np.array([0, 1, 0, 1, 0])
    (train, test), (_, other) = split(folds, codes, groups)
    assert train.tolist() == [False, True, False, False, False]
    assert test.tolist() == [True, False, True, False, False]
    assert other.tolist() == [False, True, False, True, False]


def test_runs_hold_out_images_that_follow_one_another() -> None:
    folds = deal(np.zeros(10, np.intp), np.arange(10), 5, 0, runs=True)
    assert folds.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    codes = np.repeat(np.arange(100), 2)
    folds = deal(codes, np.arange(200), 5, 0, runs=True)
    assert (folds[::2] != folds[1::2]).all()


def test_held_out_scores_are_those_of_scikit_learn_fitted_on_each_fold() -> None:
    X, y = make_set()
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    groups = np.arange(len(y))
    path = score_path(LinearProbeClassifier(Cs=(1.0, 10.0), tol=1e-6), X, y, groups, runs=True)
    expected = np.zeros((2, len(y), N_CLASSES))
    for folds in (deal(y, groups, 5, 0), deal(y, groups, 5, 0, runs=True)):
        for (i, C), fold in itertools.product(enumerate((1.0, 10.0)), range(5)):
            model = LogisticRegression(C=C, max_iter=1000, tol=1e-8)
            model.fit(X[folds != fold], y[folds != fold])
            expected[i, folds == fold] += model.decision_function(X[folds == fold]) / 2
    np.testing.assert_allclose(path, expected, atol=0.01)


def test_held_out_scores_of_attributes_are_those_of_scikit_learn() -> None:
    X, y = make_set()
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    Y = np.stack([y < 2, y == 4, y < 9, y == 0], axis=1).astype(float)
    Y[::7, 0] = np.nan
    Y[1:, 3] = 0  # a single yes
    groups = np.arange(len(y))
    (path,) = score_path(AttributeClassifier(Cs=10.0, tol=1e-6), X, Y, groups)
    assert np.isnan(path[:, 2:]).all()
    folds = deal_attributes(Y, groups, 5, 0)
    for k in (0, 1):
        known = ~np.isnan(Y[:, k])
        assert (np.isnan(path[:, k]) == ~known).all()
        for fold in range(5):
            train, test = known & (folds[:, k] != fold), folds[:, k] == fold
            model = LogisticRegression(C=10, max_iter=1000, tol=1e-8).fit(X[train], Y[train, k])
            np.testing.assert_allclose(path[test, k], model.decision_function(X[test]), atol=0.01)


def test_an_image_is_not_judged_by_a_probe_that_saw_its_copy(tmp_path) -> None:
    """Both copies carry the same wrong label: a probe that saw one would believe the other."""
    X, y = make_set()
    z = y.copy()
    X[1] = X[0]
    z[:2] = 3
    found = quick(make_store(tmp_path, X, names(z)))
    wrong = {finding.path for finding in of_kind(found, "label")}
    assert {"/none/0000.jpg", "/none/0001.jpg"} <= wrong


@pytest.mark.parametrize("n_classes", [2, 5])
def test_parts_of_a_large_collection_are_judged_as_the_whole(monkeypatch, n_classes) -> None:
    X, y = make_set()
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = y % n_classes
    y[-2:] = n_classes  # of so few there is none in some parts
    groups = np.arange(len(y))
    whole = hold_out(X, y, groups, show=False)
    monkeypatch.setattr("featx.auditing._held_out.MOST_CHOSEN_FROM", 100)
    monkeypatch.setattr("featx.auditing._held_out.MOST_FITTED", 70)
    parts = hold_out(X, y, groups, show=False)
    assert parts.shape == whole.shape == (200, n_classes + 1)
    judged = ~np.isnan(parts[:, 0])
    assert judged[:-2].all()
    agree = parts[judged].argmax(axis=1) == whole[judged].argmax(axis=1)
    assert agree.mean() > 0.9


# -- labels --


@pytest.mark.parametrize("n", [4, 10, 20, 40])
def test_planted_flips_are_found_and_counted(tmp_path, n) -> None:
    X, y = make_set()
    z, rows = flip(y, n)
    found = quick(make_store(tmp_path, X, names(z)))
    is_flipped = np.isin(np.arange(len(y)), rows)
    assert roc_auc_score(is_flipped, found.wrong) > 0.97
    assert found.interval is not None
    assert found.interval[0] <= n <= found.interval[1]
    hits = [f for f in of_kind(found, "label") if is_flipped[int(f.path[6:10])]]
    assert len(hits) >= 0.75 * n
    right = [f.suggested == f"class {y[int(f.path[6:10])]}" for f in hits]
    assert np.mean(right) > 0.8
    assert all(f.given == f"class {z[int(f.path[6:10])]}" for f in hits)
    scores = [f.score for f in of_kind(found, "label")]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= LEAST_WRONG


def test_clean_labels_raise_hardly_an_alarm(tmp_path) -> None:
    X, y = make_set(spread=0.3)
    found = quick(make_store(tmp_path, X, names(y)))
    assert len(of_kind(found, "label")) <= 0.02 * len(y)
    assert found.interval is not None
    assert found.interval[0] == 0


def test_two_classes_and_labels_in_every_form_give_the_same(tmp_path) -> None:
    X, y = make_set()
    z = y % 2
    z[3] = 1 - z[3]
    labels = names(z)
    store = make_store(tmp_path, X)
    paths = store.paths.tolist()
    (tmp_path / "l.csv").write_text(
        "path,label\n" + "".join(f"{p},{v}\n" for p, v in zip(paths, labels, strict=True))
    )
    forms = [labels, {"path": paths, "label": labels}, tmp_path / "l.csv"]
    results = [quick(store, form).to_dict() for form in forms]
    assert results[0] == results[1] == results[2]
    assert "/none/0003.jpg" in [f["path"] for f in results[0]["findings"] if f["kind"] == "label"]


def test_flipped_attributes_are_found(tmp_path) -> None:
    X, y = make_set()
    Y = np.stack([y < 2, y % 2 == 0, y == 4], axis=1).astype(float)
    Y[5, 0], Y[100, 2], Y[7, 1] = 1 - Y[5, 0], 1 - Y[100, 2], np.nan
    store = make_store(tmp_path, X)
    columns = dict(zip(("furry", "striped", "wet"), Y.T.tolist(), strict=True))
    found = quick(store, {"path": store.paths.tolist(), **columns})
    labels = {(f.path, f.given, f.suggested) for f in of_kind(found, "label")}
    assert ("/none/0005.jpg", f"furry={Y[5, 0]:.0f}", f"furry={1 - Y[5, 0]:.0f}") in labels
    assert ("/none/0100.jpg", f"wet={Y[100, 2]:.0f}", f"wet={1 - Y[100, 2]:.0f}") in labels
    assert len(labels) <= 8
    assert found.interval is not None
    assert found.interval[0] <= 2 <= found.interval[1]
    assert found.wrong[5] > 0.5


def test_one_class_under_two_names_is_found(tmp_path) -> None:
    X, y = make_set()
    labels = np.array(names(y), dtype=object)
    rng = np.random.default_rng(0)
    twins = np.flatnonzero(y == 2)
    labels[rng.permutation(twins)[: len(twins) // 2]] = "class 2 again"
    (pair,) = of_kind(quick(make_store(tmp_path, X, labels.tolist())), "classes")
    assert {pair.given, pair.suggested} == {"class 2", "class 2 again"}
    assert pair.score > 0.6


def test_pairs_of_classes_agree_with_scikit_learns_roc_area() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 60)
    scores = rng.normal(size=(180, 3))
    scores[np.arange(180), codes] += np.where(codes == 2, 6, 0.2)
    (pair,) = find_confused_pairs(scores, codes)
    rows = codes < 2
    area = roc_auc_score(codes[rows] == 0, scores[rows, 0] - scores[rows, 1])
    assert (pair.first, pair.second) == (0, 1)
    assert pair.score == pytest.approx(min(2 * (1 - area), 1))


# -- neighbours --


def test_neighbours_agree_with_a_plain_matrix_and_leave_the_image_out() -> None:
    X = make_set()[0]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X[9] = X[8]
    near = find_neighbours(X, k=4, show=False)
    cosine = X @ X.T
    np.fill_diagonal(cosine, -2)
    np.testing.assert_allclose(near.cosines, -np.sort(-cosine, axis=1)[:, :4], atol=1e-5)
    assert not (near.rows == np.arange(len(X))[:, None]).any()
    assert near.rows[8, 0] == 9
    assert near.recall is None


def test_neighbours_of_very_many_are_found_approximately_and_said(tmp_path, monkeypatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr("featx.retrieval._kinds.EXACT_BYTES", 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 16))[rng.integers(50, size=3000)] + rng.normal(0, 0.5, (3000, 16))
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    X[2000:2100] = X[:100]
    near = find_neighbours(X, show=False)
    cosine = X @ X.T
    np.fill_diagonal(cosine, -2)
    right = -np.partition(-cosine, 9, axis=1)[:, 9:10] - 1e-5
    assert near.recall == pytest.approx((near.cosines >= right).mean(), abs=0.02)
    assert 0.93 < near.recall < 1
    assert not (near.rows == np.arange(3000)[:, None]).any()
    found = quick(make_store(tmp_path, X))
    assert {f.path for f in of_kind(found, "near copy")} == {
        f"/none/{i}.jpg" for i in range(2000, 2100)
    }
    assert any(
        note.startswith("an approximate index found") and "% of the ten" in note
        for note in found.notes
    )
    (tmp_path / "other").mkdir()
    against = quick(make_store(tmp_path / "other", X[2000:]), against=tmp_path / "f.h5")
    assert {f.path for f in of_kind(against, "leak")} == {f"/none/{i:04}.jpg" for i in range(1000)}
    assert any("so some leaks may be missing" in note for note in against.notes)


def test_more_equal_images_than_neighbours_are_one_group() -> None:
    X = np.tile(np.eye(2, dtype=np.float32), (30, 1))
    near = find_neighbours(X, k=10, show=False)
    assert not (near.rows == np.arange(60)[:, None]).any()
    groups = copy_groups(near, np.full(60, ""), 0.95)
    assert len(np.unique(groups[::2])) == len(np.unique(groups[1::2])) == 1
    assert groups[0] != groups[1]


def test_an_image_from_elsewhere_is_an_outlier(tmp_path) -> None:
    X, y = make_set(spread=0.1)
    X[17] = np.random.default_rng(5).normal(size=N_FEATURES)
    found = quick(make_store(tmp_path, X, names(y)))
    assert "/none/0017.jpg" in [f.path for f in of_kind(found, "outlier")]
    assert len(of_kind(found, "outlier")) <= 4
    assert of_kind(found, "outlier")[0].given


def test_false_alarms_of_outliers_are_those_of_a_normal_tail() -> None:
    rates = []
    for seed in range(5):
        X = np.random.default_rng(seed).normal(size=(1000, 20)).astype(np.float32)
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        rates.append(outlier_scores(find_neighbours(X, show=False))[1].mean())
    assert np.mean(rates) < 0.01


def test_copies_within_and_across_are_found(tmp_path) -> None:
    X, y = make_set()
    X[4] = X[3] * 2  # the same direction
    paths = [f"/none/{i}.jpg" for i in range(len(X))]
    (tmp_path / "b").mkdir()
    store = write_features(tmp_path / "a.h5", X, paths=paths, labels=names(y))
    write_features(
        tmp_path / "b" / "b.h5",
        np.concatenate([X[10:11], -X[20:30]]),
        paths=[f"/other/{i}.jpg" for i in range(11)],
    )
    found = quick(store, against=tmp_path / "b" / "b.h5")
    (copy,) = of_kind(found, "near copy")
    assert (copy.path, copy.suggested) == ("/none/4.jpg", "/none/3.jpg")
    assert copy.score == pytest.approx(1)
    (leak,) = of_kind(found, "leak")
    assert (leak.path, leak.suggested) == ("/none/10.jpg", "/other/0.jpg")
    assert leak.score < 1  # equal features, but nobody knows whether the files are equal
    apart = write_features(tmp_path / "c.h5", -X[20:30], paths=[f"/c/{i}.jpg" for i in range(10)])
    note = f"none of the {len(X)} images is also in {tmp_path / 'c.h5'} (10 images)"
    assert quick(store, against=apart).notes[-1] == note


def test_another_recipe_cannot_be_compared_with(tmp_path, photos) -> None:
    one = featx.extract(photos, tmp_path / "one.h5")
    featx.extract(photos, tmp_path / "two.h5", augment="hflip")
    with pytest.raises(FingerprintMismatchError, match="hflip"):
        featx.audit(one, against=tmp_path / "two.h5")


# -- pictures --


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Forty pictures of shapes, and one of each kind of poor picture."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(40):
        draw(rng).save(folder / f"{i:02}.png")
    good = draw(rng)
    good.point(lambda v: int(v * 0.15)).save(folder / "dark.png")
    good.filter(ImageFilter.GaussianBlur(5)).save(folder / "blurred.png")
    Image.new("RGB", (320, 240), (250, 250, 250)).save(folder / "blank.png")
    draw(rng, (40, 30)).save(folder / "tiny.png")
    draw(rng, (1200, 120)).save(folder / "shape.png")
    (folder / "copy.png").write_bytes((folder / "00.png").read_bytes())
    return folder


def draw(rng: np.random.Generator, size: tuple[int, int] = (320, 240)) -> Image.Image:
    image = Image.new("RGB", size, tuple(rng.integers(90, 255, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        w, h = rng.integers(2, max(size[0] // 4, 4)), rng.integers(2, max(size[1] // 4, 4))
        colour = tuple(rng.integers(0, 255, 3).tolist())
        pen.rectangle([x, y, x + w, y + h], fill=colour)
    return image


@pytest.fixture(scope="module")
def photo_store(photos, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "f.h5"
    featx.extract(photos, path)
    return path


def test_each_kind_of_poor_picture_is_found_and_no_other(photo_store) -> None:
    found = featx.audit(photo_store, progress=False)
    kinds = ("blank", "dark", "blurred", "tiny", "shape", "copy")
    assert {k: [Path(f.path).name for f in of_kind(found, k)] for k in kinds} == {
        "blank": ["blank.png"], "dark": ["dark.png"], "blurred": ["blurred.png"],
        "tiny": ["tiny.png"], "shape": ["shape.png"], "copy": ["copy.png"],
    }  # fmt: skip
    assert of_kind(found, "copy")[0].suggested.endswith("00.png")
    assert not of_kind(found, "unreadable")


def test_measures_are_those_of_numpy() -> None:
    grey = np.arange(200 * 100, dtype=np.float64).reshape(200, 100) % 251
    image = Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    width, height, bright, contrast, _ = PictureMeasurer()(image)[0]
    assert (width, height) == (100, 200)
    assert bright == pytest.approx(np.percentile(grey, 99) / 255, abs=1e-4)
    assert contrast == pytest.approx(grey.std() / 255, abs=1e-4)


def test_blur_is_that_of_the_papers_equations() -> None:
    grey = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    shares = []
    for image in (grey, grey.T):
        padded = np.pad(image, ((0, 0), (6, 5)), mode="edge")
        means = np.stack([padded[:, i + 1 : i + 12].mean(axis=1)
                          for i in range(image.shape[1])], axis=1)  # fmt: skip
        before, after = np.abs(np.diff(image)), np.abs(np.diff(means))
        shares.append(1 - np.maximum(before - after, 0).sum() / before.sum())
    assert blur_of(grey) == pytest.approx(max(shares), abs=1e-4)


def test_more_blur_gives_more_blur() -> None:
    image = draw(np.random.default_rng(3))
    blurs = [
        float(PictureMeasurer()(image.filter(ImageFilter.GaussianBlur(r)))[0][4])
        for r in (0, 1, 2, 4)
    ]
    assert blurs == sorted(blurs)


def test_a_picture_that_broke_since_is_unreadable_and_one_that_went_is_counted(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for i in range(6):
        draw(rng).save(tmp_path / f"{i}.png")
    store = featx.extract(tmp_path, tmp_path / "f.h5")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:500])
    (tmp_path / "3.png").unlink()
    found = featx.audit(store, progress=False)
    (broken,) = of_kind(found, "unreadable")
    assert broken.path.endswith("2.png")
    assert broken.suggested
    assert any("1 of 6 images are not on this disk" in note for note in found.notes)


def test_failures_of_the_extraction_are_findings(tmp_path) -> None:
    draw(np.random.default_rng(0)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    found = featx.audit(featx.extract(tmp_path, tmp_path / "f.h5"), progress=False)
    assert [Path(f.path).name for f in of_kind(found, "unreadable")] == ["bad.png"]


# -- input that is not as expected --


def test_labels_that_fit_no_image_are_an_error(tmp_path) -> None:
    store = make_store(tmp_path, make_set()[0])
    with pytest.raises(ManifestError, match="elsewhere"):
        featx.audit(store, {"path": ["/elsewhere/x.jpg"], "label": ["cat"]})
    with pytest.raises(ParameterError, match="got 2 labels for 200 images"):
        featx.audit(store, ["cat", "dog"])


def test_a_store_without_images_is_an_error(tmp_path) -> None:
    store = make_store(tmp_path, np.empty((0, 4), np.float32))
    with pytest.raises(FeatxError, match="has no images"):
        featx.audit(store)


def test_classes_with_one_image_are_named_and_the_rest_is_judged(tmp_path) -> None:
    X, y = make_set()
    z, _ = flip(y, 10)
    labels = names(z)
    labels[0], labels[1] = "lonely", "lost"
    found = quick(make_store(tmp_path, X, labels))
    assert any("2 images of 2 classes were not judged" in note for note in found.notes)
    assert np.isnan(found.wrong[:2]).all()
    assert not np.isnan(found.wrong[2:]).any()


@pytest.mark.parametrize(
    ("labels", "word"),
    [(None, "there are none"), (["a"] * 200, "all are 'a'"),
     ([f"c{i}" for i in range(200)], "expected at least 10")],
    ids=["no labels", "one class", "every class alone"],
)  # fmt: skip
def test_labels_that_cannot_be_judged_are_said_and_the_rest_is_done(
    tmp_path, labels, word
) -> None:
    X = make_set()[0]
    X[50] = X[49]
    found = quick(make_store(tmp_path, X, labels))
    assert found.estimated_label_errors is None
    assert found.interval is None
    assert any(word in note for note in found.notes)
    assert len(of_kind(found, "near copy")) == 1


def test_five_hundred_classes_of_three_images_are_judged(tmp_path) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(500), 3)
    centres = rng.normal(size=(500, 64))
    X = (centres[y] + rng.normal(0, 0.3, (1500, 64))).astype(np.float32)
    z = y.copy()
    z[::100] = (z[::100] + 7) % 500
    found = quick(make_store(tmp_path, X, [f"c{code}" for code in z]))
    is_flipped = np.isin(np.arange(1500), np.arange(0, 1500, 100))
    assert roc_auc_score(is_flipped, found.wrong) > 0.95
    assert found.interval is not None
    assert found.interval[0] <= 15 <= found.interval[1]


def test_labels_that_features_do_not_predict_are_not_called_wrong(tmp_path) -> None:
    """Certain and wrong half of the time explains such labels as well as not knowing does."""
    X = np.random.default_rng(0).normal(size=(120, 16)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 2, (3, 120)).astype(float)
    labels[2] = X[:, 0] > 0
    store = make_store(tmp_path, X)
    found = quick(store, names(labels[0]))
    assert found.estimated_label_errors is None
    assert not of_kind(found, "label")
    assert any("predict them no better" in note for note in found.notes)
    columns = dict(zip(("one", "two", "real"), labels.tolist(), strict=True))
    found = quick(store, {"path": store.paths.tolist(), **columns})
    assert {f.given.split("=")[0] for f in of_kind(found, "label")} <= {"real"}
    assert any("2 attributes were not judged" in note for note in found.notes)


def test_attributes_of_too_few_labels_are_named(tmp_path) -> None:
    X, y = make_set()
    columns = {
        "furry": (y < 2).astype(float).tolist(), "always": [1.0] * len(y),
        "once": [1.0, *[0.0] * (len(y) - 1)], "known of three": [1.0, 0.0, 1.0] + [np.nan] * 197,
    }  # fmt: skip
    store = make_store(tmp_path, X)
    found = quick(store, {"path": store.paths.tolist(), **columns})
    (note,) = (note for note in found.notes if "not judged" in note)
    assert "3 attributes were not judged, since fewer than 10 of their labels" in note
    assert "always, once, known of three" in note


def test_labels_of_other_images_are_counted(tmp_path) -> None:
    X, y = make_set()
    store = make_store(tmp_path, X)
    table = {"path": [*store.paths.tolist(), "/none/else.jpg"], "label": [*names(y), "never seen"]}
    found = quick(store, table)
    assert any("fit none of the images: /none/else.jpg" in note for note in found.notes)
    assert found.n_labelled == 200


def test_features_that_are_no_numbers_are_named(tmp_path) -> None:
    X = make_set()[0]
    X[7, 3] = np.nan
    with pytest.raises(ParameterError, match=r"0007\.jpg.*got nan at position 3"):
        make_store(tmp_path, X)
    store = make_store(tmp_path, make_set()[0], names(make_set()[1]))
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["tables/outside/features"][7, 3] = np.nan
    with pytest.raises(FeatxError, match="row 7 does not fit its checksum"):
        featx.audit(store, pictures=False)


def test_kinds_within_a_class_that_follow_one_another_are_not_called_wrong(tmp_path) -> None:
    """Runs held out as a whole would leave no example of the kind."""
    X, y = make_set(spread=0.1)
    found = quick(make_store(tmp_path, X, names(y % 2)))
    assert len(of_kind(found, "label")) <= 2


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_images_is_looked_at(tmp_path, n) -> None:
    found = quick(
        make_store(tmp_path, np.eye(n, 8, dtype=np.float32), ["a", "b", "a", "b", "a"][:n])
    )
    assert found.n_samples == n
    assert found.findings == ()
    assert found.notes


def test_rows_of_zeros_and_labels_for_some_do_no_harm(tmp_path) -> None:
    X, y = make_set()
    X[7] = 0
    labels = names(y)
    labels[11] = ""
    found = quick(make_store(tmp_path, X, labels))
    assert np.isnan(found.wrong[11])
    assert any("without a label: 1 image:" in note for note in found.notes)


# -- the result --


def test_the_result_is_a_value_a_table_and_a_page(photo_store, tmp_path) -> None:
    found = featx.audit(photo_store, ["x", "y"] * 23, progress=False)
    assert json.loads(json.dumps(found.to_dict()))["counts"] == found.counts
    assert list(found.counts) == [kind for kind in KINDS if kind in found.counts]
    with pytest.raises(AttributeError):
        found.n_samples = 0  # type: ignore[misc]
    frame = found.to_pandas()
    assert frame.columns.tolist() == ["path", "kind", "score", "given", "suggested"]
    assert len(frame) == len(found.findings)
    page = found.to_html()
    for finding in found.findings:
        assert Path(finding.path).name in page
    assert "featx label FINDINGS.csv" in page
    assert page.count("<script") == 1  # its own


def test_the_table_has_each_image_once_and_is_a_source(photo_store, tmp_path) -> None:
    found = featx.audit(photo_store, ["x", "y"] * 23, progress=False)
    found.save_csv(tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "kind", "score", "given", "suggested", "also"]
    assert [row["path"] for row in rows] == list(dict.fromkeys(f.path for f in found.findings))
    n_also = sum(len(row["also"].split("; ")) for row in rows if row["also"])
    assert len(rows) + n_also == len(found.findings)
    assert len(ImageManifest.from_source(tmp_path / "f.csv").paths) == len(rows)


def test_hostile_names_are_text_on_the_page() -> None:
    bad = "<script>alert(1)</script>"
    page = Audit((Finding(f"/none/{bad}.jpg", "label", 0.9, bad, bad),), 1, 1, 1, (0, 1)).to_html()
    assert page.count("<script") == 1  # its own


@pytest.mark.parametrize("n", [0, 61])
def test_the_page_says_that_nothing_was_found_or_where_the_rest_is(n) -> None:
    found = tuple(Finding(f"/none/{i}.jpg", "dark", 0.9) for i in range(n))
    page = Audit(found, 100).to_html()
    assert ("Nothing was found." in page) == (n == 0)
    assert ("The 60 worst. FINDINGS.csv has all." in page) == (n == 61)
    assert page.count("<figure") == min(n, 60)


# -- the command --


def test_labels_of_folders_are_written_reviewed_and_audited_again(tmp_path, capsys) -> None:
    X, y = make_set()
    z = flip(y, 4)[0]
    store = make_store(tmp_path, X, names(z))
    labels, findings = tmp_path / "l.csv", tmp_path / "found.csv"
    assert main(["export", str(store.path), str(labels), "--labels-only"]) == 0
    assert labels.read_text().splitlines()[:2] == ["path,label", f"/none/0000.jpg,class {z[0]}"]
    words = [store.path, "--labels", labels, "--out", findings, "--copy-threshold", "0.9999"]
    capsys.readouterr()
    first = run(capsys, *words)[1]["findings"]
    reviewed = [f for f in first if f["kind"] == "label"]
    assert len(reviewed) >= 3
    assert {f["path"] for f in reviewed} <= set(ImageManifest.from_source(findings).paths)
    featx.LabelSession(store, labels).add({f["path"]: f["suggested"] for f in reviewed})
    second = run(capsys, *words)[1]
    again = {f["path"] for f in second["findings"] if f["kind"] == "label"}
    assert not again & {f["path"] for f in reviewed}
    assert second["n_labelled"] == len(y)
    assert main(["export", str(store.path), str(labels), "--labels-only"]) == 1
    assert "featx did not make" in capsys.readouterr().err
    assert main(["export", str(store.path), str(tmp_path / "l.npz"), "--labels-only"]) == 1
    assert "expected a name that ends in .csv" in capsys.readouterr().err


def run(capsys, *words: object) -> tuple[int, dict]:
    status = main(["audit", *map(str, words), "--json"])
    text = capsys.readouterr().out
    return status, json.loads(text) if text else {}


def test_the_command_gives_what_scripts_rely_on(photo_store, tmp_path, capsys) -> None:
    page, table = tmp_path / "a.html", tmp_path / "a.csv"
    status, result = run(capsys, photo_store, "--out", table, "--html", page)
    assert status == 0
    assert set(result["findings"][0]) == {"path", "kind", "score", "given", "suggested"}
    assert result["estimated_label_errors"] is None
    assert result["interval"] is None
    assert page.stat().st_size > 10_000
    assert run(capsys, photo_store, "--out", table, "--html", page, "--no-pictures")[0] == 0
    assert main(["audit", str(photo_store)]) == 0
    shown = capsys.readouterr().out
    assert "blurred.png" in shown
    assert "labels were not judged" in shown
    assert main(["audit", str(photo_store), "--html", str(page)]) == 0
    assert capsys.readouterr().out.count("page: ") == 1
    itself = ["--against", str(photo_store), "--no-pictures"]
    assert main(["audit", str(photo_store), *itself]) == 0
    shown = capsys.readouterr().out
    assert "  identical " in shown
    assert "nearly identical" not in shown


def test_the_command_replaces_no_other_table(photo_store, tmp_path, capsys) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("path,label\na.jpg,cat\n")
    assert main(["audit", str(photo_store), "--out", str(table)]) == 1
    assert "is a text file that featx did not make" in capsys.readouterr().err
    assert table.read_text() == "path,label\na.jpg,cat\n"
    other = tmp_path / "g.h5"
    assert main(["audit", str(photo_store), "--against", str(other), "--html", str(other)]) == 1


def test_labels_that_fit_nothing_are_one_line(photo_store, tmp_path, capsys) -> None:
    (tmp_path / "l.csv").write_text("path,label\nno/such.jpg,cat\n")
    assert main(["audit", str(photo_store), "--labels", str(tmp_path / "l.csv")]) == 1
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_a_recipe_is_not_needed(tmp_path) -> None:
    store = make_store(tmp_path, make_set()[0], names(make_set()[1]))
    assert store.recipe is None
    assert quick(store).n_labelled == 200
