"""`run_classification` against loops written out with scikit-learn, scipy and NumPy."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.svm import SVC, LinearSVC

from featx import LinearProbeClassifier, extract, open_store
from featx.demo import sample_data_dir
from featx.errors import ManifestError, ParameterError
from featx.estimators import PRESETS
from featx.estimators.presets import get_preset
from featx.extraction import Encoder, RunOptions
from featx.tasks.classifier import Predictions
from pipelines.datasets import ImageDataset, read_dataset
from pipelines.protocols import (
    TaskResult,
    prepare_features,
    run_classification,
)
from pipelines.protocols.pairs import find_preset

SMALL = {"resize_px": 64, "crop_px": 48, "device": "cpu", "precision": "float32", "workers": 0}
NET = Encoder(resize_px=64, crop_px=48, precision="float32")
RUN = RunOptions("cpu", workers=0)
BAD = b"\xff\xd8\xff\xe0 no picture"


@pytest.fixture(scope="module")
def objects() -> ImageDataset:
    """Seven pictures each of four things; a third has the label of another, so it is not easy."""
    found = read_dataset("image_folder", sample_data_dir() / "objects")
    names = np.unique(found.labels)[:4]
    rows = np.concatenate([np.flatnonzero(found.labels == name)[:7] for name in names])
    labels = found.labels[rows]
    wrong = np.arange(0, len(rows), 3)
    labels[wrong] = np.roll(labels[wrong], 4)
    return with_labels(tuple(found.paths[i] for i in rows), labels)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tasks") / "features.h5"


@pytest.fixture(scope="module")
def X(objects, tmp_path_factory) -> np.ndarray:
    """What `featx.extract` gives for the pictures, in their order."""
    return by_hand(objects.paths, tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def drawn(objects, store) -> TaskResult:
    return run_classification(objects, store, encoder=NET, run=RUN, n_per_class=3, n_repeats=4)


def with_labels(paths, labels, split=()) -> ImageDataset:
    return ImageDataset("things", "classification", tuple(paths), labels=labels, split=split)


def by_hand(paths, folder: Path, **options) -> np.ndarray:
    with extract(list(paths), folder / "x.h5", **SMALL, **options) as table:
        rows = {path: i for i, path in enumerate(table.paths.tolist())}
        return table[[rows[path] for path in paths]]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt((rows**2).sum(axis=-1, keepdims=True))


def copied(dataset: ImageDataset, folder: Path) -> list[str]:
    """Copy the pictures to a folder where they can be damaged."""
    places = [folder / f"{i:02}.jpg" for i in range(len(dataset))]
    for path, place in zip(dataset.paths, places, strict=True):
        shutil.copy(path, place)
    return [str(place) for place in places]


def half(n: int) -> np.ndarray:
    return np.where(np.arange(n) % 2, "test", "train")


def test_draws_are_disjoint_and_hold_as_many_labels_of_each_class_as_asked(objects, drawn) -> None:
    names = np.unique(objects.labels)
    assert len(drawn.splits) == 4
    for split in drawn.splits:
        assert not set(split["train"]) & set(split["test"])
        assert sorted(split["train"] + split["test"]) == list(range(28))
        found, counts = np.unique(objects.labels[split["train"]], return_counts=True)
        assert found.tolist() == names.tolist()
        assert counts.tolist() == [3, 3, 3, 3]
    assert len({tuple(split["train"]) for split in drawn.splits}) > 1
    assert drawn.counts | {"leaks": 0} == {
        "classes": 4, "train": 12, "test": 16, "failed": 0, "leaks": 0,
    }  # fmt: skip


def test_figures_and_their_t_intervals_equal_a_loop_by_hand(objects, X, drawn) -> None:
    y, runs = objects.labels, []
    for split in drawn.splits:
        train, test = split["train"], split["test"]
        probe = LinearProbeClassifier().fit(X[train], y[train])
        predicted, scores = probe.predict(X[test]), probe.predict_proba(X[test])
        each = [
            average_precision_score(y[test] == name, scores[:, k])
            for k, name in enumerate(probe.classes_)
        ]
        runs.append(
            [
                np.mean(predicted == y[test]),
                balanced_accuracy_score(y[test], predicted),
                np.mean(each),
            ]
        )
    assert np.ptp([run[0] for run in runs]) > 0
    assert list(drawn.figures) == ["accuracy", "balanced_accuracy", "map"]
    for figure, values in zip(drawn.figures.values(), np.transpose(runs), strict=True):
        assert figure.value == pytest.approx(values.mean(), abs=1e-12)
        expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
        assert (figure.low, figure.high) == pytest.approx(expected, abs=1e-12)
    assert drawn.headline is drawn.figures["accuracy"]
    assert drawn.protocol == (
        "3 labels per class, 4 draws, tested on all other images; "
        "95 % t interval of the mean over draws"
    )


def test_details_are_of_the_first_split_and_paths_keep_their_labels(objects, X, drawn) -> None:
    found, (train, test) = drawn.details, (drawn.splits[0]["train"], drawn.splits[0]["test"])
    assert isinstance(found, Predictions)
    label_of = dict(zip(objects.paths, objects.labels.tolist(), strict=True))
    assert [label_of[path] for path in found.paths] == found.y_true.tolist()
    assert found.paths == tuple(objects.paths[i] for i in test)
    probe = LinearProbeClassifier().fit(X[train], objects.labels[train])
    assert found.y_pred.tolist() == probe.predict(X[test]).tolist()
    np.testing.assert_allclose(found.scores, probe.predict_proba(X[test]), atol=1e-9)
    assert found.classes == tuple(np.unique(objects.labels))


def test_a_split_of_its_own_is_used_and_validation_images_train(objects, X, store) -> None:
    split = np.array(["train", "test", "val", ""])[np.arange(28) % 4]
    own = with_labels(objects.paths, objects.labels, split)
    result = run_classification(own, store, encoder=NET, run=RUN)
    train = np.flatnonzero((split == "train") | (split == "val"))
    test = np.flatnonzero(split == "test")
    assert result.splits == ({"train": train.tolist(), "test": test.tolist()},)
    probe = LinearProbeClassifier().fit(X[train], own.labels[train])
    is_right = probe.predict(X[test]) == own.labels[test]
    accuracy = result.figures["accuracy"]
    assert accuracy.value == pytest.approx(is_right.mean())
    # Percentiles of the mean of n draws with replacement: a binomial share.
    low, high = stats.binom.ppf([0.025, 0.975], len(test), is_right.mean()) / len(test)
    assert accuracy.low == pytest.approx(low, abs=1 / len(test))
    assert accuracy.high == pytest.approx(high, abs=1 / len(test))
    assert result.protocol == "the set's own split; 95 % bootstrap interval over test images"


def test_few_labels_of_a_set_with_a_split_are_drawn_from_its_training_images(
    objects, store
) -> None:
    own = with_labels(objects.paths, objects.labels, half(28))
    result = run_classification(own, store, encoder=NET, run=RUN, n_per_class=2, n_repeats=3)
    for split in result.splits:
        assert split["test"] == list(range(1, 28, 2))
        assert set(split["train"]) <= set(range(0, 28, 2))
        assert np.unique(own.labels[split["train"]], return_counts=True)[1].tolist() == [2] * 4
    assert "2 labels per class, 3 draws, tested on its own test images" in result.protocol


def test_a_single_draw_says_that_its_interval_is_over_test_images(objects, store) -> None:
    result = run_classification(objects, store, encoder=NET, run=RUN, n_per_class=3, n_repeats=1)
    assert result.protocol.endswith("1 draw, tested on all other images; 95 % bootstrap interval "
                                    "over test images")  # fmt: skip
    accuracy = result.figures["accuracy"]
    assert accuracy.low < accuracy.value < accuracy.high


def test_another_random_state_draws_other_rows_and_the_same_one_the_same(
    objects, drawn, store
) -> None:
    again = run_classification(objects, store, encoder=NET, run=RUN, n_per_class=3, n_repeats=4)
    assert again.splits == drawn.splits
    assert again.figures == drawn.figures
    other = run_classification(
        objects, store, encoder=NET, run=RUN, n_per_class=3, n_repeats=4, random_state=1
    )
    assert other.splits != drawn.splits


def test_images_that_cannot_be_read_are_left_out_and_shift_nothing(objects, X, tmp_path) -> None:
    paths = copied(objects, tmp_path)
    bad = [0, 9, 10, 27]
    for i in bad[:3]:
        Path(paths[i]).write_bytes(BAD)
    Path(paths[27]).unlink()
    good = np.setdiff1d(np.arange(28), bad)
    kept = with_labels(paths, objects.labels, half(28))
    result = run_classification(kept, tmp_path / "f.h5", encoder=NET, run=RUN)
    train, test = good[good % 2 == 0], good[good % 2 == 1]
    assert result.splits == ({"train": train.tolist(), "test": test.tolist()},)
    counts = {name: result.counts[name] for name in ("failed", "train", "test")}
    assert counts == {"failed": 4, "train": len(train), "test": len(test)}
    assert result.details.paths == tuple(paths[i] for i in test)
    assert result.details.y_true.tolist() == objects.labels[test].tolist()
    probe = LinearProbeClassifier().fit(X[train], objects.labels[train])
    np.testing.assert_allclose(result.details.scores, probe.predict_proba(X[test]), atol=1e-6)

    drawn = run_classification(
        with_labels(paths, objects.labels), tmp_path / "f.h5",
        encoder=NET, run=RUN, n_per_class=2, n_repeats=3,
    )  # fmt: skip
    values = []
    for split in drawn.splits:
        assert sorted(split["train"] + split["test"]) == good.tolist()
        y = objects.labels
        assert np.unique(y[split["train"]], return_counts=True)[1].tolist() == [2, 2, 2, 2]
        probe = LinearProbeClassifier().fit(X[split["train"]], y[split["train"]])
        values.append(np.mean(probe.predict(X[split["test"]]) == y[split["test"]]))
    assert drawn.figures["accuracy"].value == pytest.approx(np.mean(values))


def test_failures_name_path_and_reason(objects, tmp_path) -> None:
    (tmp_path / "bad.jpg").write_bytes(BAD)
    paths = [str(tmp_path / "bad.jpg"), *objects.paths[:3]]
    found = prepare_features(paths, tmp_path / "f.h5", get_preset("plain"), NET, RUN)
    ((path, reason),) = found.failures
    assert path == paths[0]
    assert "damaged JPEG" in reason
    assert found.good.tolist() == [1, 2, 3]
    assert found.rows([3, 0, 1]).tolist() == [2, 0]


def test_the_second_run_extracts_nothing_and_says_so(objects, tmp_path) -> None:
    args = {"encoder": NET, "run": RUN, "n_per_class": 3, "n_repeats": 2}
    first = run_classification(objects, tmp_path / "f.h5", **args)
    second = run_classification(objects, tmp_path / "f.h5", **args)
    assert first.costs["images_per_second"] > 0
    assert second.costs["images_per_second"] is None
    assert first.figures == second.figures
    assert "images/s" in str(first)
    assert "images/s" not in str(second)
    with open_store(tmp_path / "f.h5") as table:
        assert first.fingerprints == (table.fingerprint,)


def test_a_result_is_json_and_holds_its_splits(drawn) -> None:
    found = json.loads(json.dumps(drawn.to_dict(), allow_nan=False))
    assert found["splits"] == list(drawn.splits)
    assert found["figures"]["accuracy"] == vars(drawn.figures["accuracy"])
    assert found["counts"]["train"] == 12
    assert (found["task"], found["dataset"], found["preset"], found["backbone"]) == (
        "classification", "things", "plain", "featx_base",
    )  # fmt: skip


def test_layers_are_scaled_to_unit_length_and_put_side_by_side(objects, X, tmp_path) -> None:
    layer = "blocks.5"
    net = dataclasses.replace(NET, layers=("penultimate", layer))
    found = prepare_features(objects.paths, tmp_path / "f.h5", get_preset("plain"), net, RUN)
    other = by_hand(objects.paths, tmp_path, layers=layer)
    np.testing.assert_allclose(found.X, np.hstack([unit(X), unit(other)]), atol=1e-6)
    assert [recipe.layer for recipe in found.recipes] == ["penultimate", layer]
    result = run_classification(
        objects, tmp_path / "f.h5", encoder=net, run=RUN, n_per_class=3, n_repeats=2
    )
    train, test = result.splits[0]["train"], result.splits[0]["test"]
    probe = LinearProbeClassifier().fit(found.X[train], objects.labels[train])
    assert result.details.y_pred.tolist() == probe.predict(found.X[test]).tolist()
    assert len(result.fingerprints) == 2


def test_layers_stay_in_step_where_one_was_extracted_earlier_in_another_order(
    objects, X, tmp_path
) -> None:
    store, plain = tmp_path / "f.h5", get_preset("plain")
    prepare_features(objects.paths[20:10:-1], store, plain, NET, RUN)
    net = dataclasses.replace(NET, layers=("penultimate", "blocks.5"))
    found = prepare_features(objects.paths, store, plain, net, RUN)
    other = by_hand(objects.paths, tmp_path, layers="blocks.5")
    np.testing.assert_allclose(found.X, np.hstack([unit(X), unit(other)]), atol=1e-6)


def test_places_are_the_mean_of_mirror_pairs_side_by_side(objects, tmp_path) -> None:
    preset = get_preset("places")
    found = prepare_features(objects.paths[:6], tmp_path / "f.h5", preset, NET, RUN)
    ten = by_hand(objects.paths[:6], tmp_path, augment="ten-crop:keep").reshape(6, 10, -1)
    # The mirrored picture's left corner is the mirror image of the right one: 0 and 6, 1 and 5.
    pairs = ((0, 6), (1, 5), (2, 8), (3, 7), (4, 9))
    expected = np.concatenate([(ten[:, a] + ten[:, b]) / 2 for a, b in pairs], axis=1)
    np.testing.assert_allclose(found.X, expected, atol=1e-6)
    assert found.n_views == 1


def test_places_of_a_mirrored_picture_are_the_same_with_left_and_right_exchanged(
    objects, tmp_path
) -> None:
    with Image.open(objects.paths[0]) as picture:
        whole = picture.convert("RGB").resize((64, 64))
    whole.save(tmp_path / "a.png")
    ImageOps.mirror(whole).save(tmp_path / "b.png")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    found = prepare_features(paths, tmp_path / "f.h5", get_preset("places"), NET, RUN)
    a, b = found.X.reshape(2, 5, -1)
    np.testing.assert_allclose(b, a[[1, 0, 3, 2, 4]], rtol=1e-3, atol=1e-3)
    assert np.abs(a - b).max() > 0.05


def test_the_preset_of_the_paper_trains_on_sixteen_views_and_adds_up_responses(
    objects, tmp_path
) -> None:
    preset = get_preset("paper")
    found = prepare_features(objects.paths, tmp_path / "f.h5", preset, NET, RUN)
    assert (found.n_views, found.X.shape) == (16, (28, 16 * 1280))
    result = run_classification(
        objects,
        tmp_path / "f.h5",
        encoder=NET,
        run=RUN,
        preset="paper",
        n_per_class=4,
        n_repeats=2,
    )
    train, test = result.splits[0]["train"], result.splits[0]["test"]
    views = by_hand(objects.paths, tmp_path, augment="sixteen-view:keep").reshape(28, 16, -1)
    y = np.repeat(objects.labels[train], 16)
    fitted = preset.classifier(found.n_views).fit(found.X[train], objects.labels[train])
    for learn, check in fitted.estimator_.cv:  # a picture's views lie on one side
        assert not set(np.asarray(learn) // 16) & set(np.asarray(check) // 16)
    probe = LinearProbeClassifier("svm", cv=fitted.estimator_.cv)
    probe.fit(views[train].reshape(len(y), -1), y)
    responses = probe.decision_function(views[test].reshape(len(test) * 16, -1))
    summed = responses.reshape(len(test), 16, -1).sum(axis=1)
    assert result.details.y_pred.tolist() == probe.classes_[summed.argmax(axis=1)].tolist()


def test_views_of_several_layers_are_put_side_by_side_view_by_view(objects, tmp_path) -> None:
    net = dataclasses.replace(NET, layers=("penultimate", "blocks.5"))
    found = prepare_features(objects.paths[:4], tmp_path / "f.h5", get_preset("paper"), net, RUN)
    parts = [
        unit(
            by_hand(
                objects.paths[:4], tmp_path, layers=layer, augment="sixteen-view:keep"
            ).reshape(4, 16, -1)
        )
        for layer in net.layers
    ]
    expected = np.concatenate(parts, axis=2).reshape(4, -1)
    np.testing.assert_allclose(found.X, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("preset", "method", "change"),
    [
        ("svm", "svm", lambda X: X),
        ("sqrt", "logistic", lambda X: unit(np.sign(X) * np.sqrt(np.abs(X)))),
    ],
)
def test_presets_of_one_view_equal_the_same_by_hand(
    objects, X, store, preset, method, change
) -> None:
    result = run_classification(
        objects, store, encoder=NET, run=RUN, preset=preset, n_per_class=4, n_repeats=2
    )
    train, test = result.splits[0]["train"], result.splits[0]["test"]
    rows = change(X)
    probe = LinearProbeClassifier(method).fit(rows[train], objects.labels[train])
    assert result.details.y_pred.tolist() == probe.predict(rows[test]).tolist()
    np.testing.assert_allclose(result.details.scores, probe.predict_proba(rows[test]), atol=1e-3)
    assert result.preset == preset


def test_the_best_preset_averages_ten_crops_before_the_root(objects, tmp_path) -> None:
    found = prepare_features(objects.paths[:5], tmp_path / "f.h5", PRESETS["best"], NET, RUN)
    ten = by_hand(objects.paths[:5], tmp_path, augment="ten-crop:keep").reshape(5, 10, -1)
    np.testing.assert_allclose(found.X, ten.mean(axis=1), atol=1e-5)


def test_copies_of_training_images_in_test_are_counted(objects, X, tmp_path) -> None:
    names = copied(objects, tmp_path)
    split = half(28)
    shutil.copy(names[4], names[11])  # train -> test
    shutil.copy(names[4], names[13])
    shutil.copy(names[8], names[20])  # train -> train
    source = np.arange(28)
    source[[11, 13, 20]] = [4, 4, 8]
    result = run_classification(
        with_labels(names, objects.labels, split), tmp_path / "f.h5", encoder=NET, run=RUN
    )
    rows = unit(X[source].astype(np.float64))
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    near = rows[train] @ rows[test].T >= 0.95
    same = source[train][:, None] == source[test][None, :]
    assert same.sum() == 2
    assert result.counts["leaks"] == (near | same).sum()


def test_without_a_split_the_number_of_labels_is_needed(objects, store) -> None:
    with pytest.raises(ParameterError, match="'things': has no split of its own, expected n_per"):
        run_classification(objects, store, encoder=NET, run=RUN)


def test_a_set_of_attributes_is_sent_to_the_other_task(objects, store) -> None:
    only = ImageDataset(
        "faces", "attributes", objects.paths, attributes=np.zeros((28, 1)), attribute_names=("a",)
    )
    with pytest.raises(ParameterError, match=r"'faces': has attributes but no labels.*run_attrib"):
        run_classification(only, store, encoder=NET, run=RUN, n_per_class=1)


def test_a_class_with_too_few_images_is_named(objects, store) -> None:
    few = with_labels(objects.paths, [*objects.labels[:-1], "rare"])
    with pytest.raises(ParameterError, match="class 'rare' has 1 rows, expected at least 2"):
        run_classification(few, store, encoder=NET, run=RUN, n_per_class=2)


def test_labels_that_leave_nothing_to_test_on_are_refused(objects, store) -> None:
    even = with_labels(objects.paths, np.repeat(["a", "b", "c", "d"], 7))
    with pytest.raises(ParameterError, match="got 7, which takes all 28 images of dataset 'thing"):
        run_classification(even, store, encoder=NET, run=RUN, n_per_class=7)


@pytest.mark.parametrize(("part", "word"), [("test", "test"), ("train", "training")])
def test_a_split_of_which_nothing_can_be_read_is_refused(objects, tmp_path, part, word) -> None:
    (tmp_path / "bad.jpg").write_bytes(BAD)
    split = [{"test": "train", "train": "test"}[part]] * 28 + [part]
    own = with_labels([*objects.paths, str(tmp_path / "bad.jpg")], [*objects.labels, "x"], split)
    with pytest.raises(ParameterError, match=f"no {word} image that can be read.*damaged JPEG"):
        run_classification(own, tmp_path / "f.h5", encoder=NET, run=RUN)


def test_a_set_of_which_nothing_can_be_read_is_refused(tmp_path) -> None:
    (tmp_path / "bad.jpg").write_bytes(BAD)
    none = with_labels([str(tmp_path / "bad.jpg")], ["x"])
    with pytest.raises(ManifestError, match=r"none of 1 images could be read \(the first: damage"):
        run_classification(none, tmp_path / "f.h5", encoder=NET, run=RUN, n_per_class=1)


def test_an_unknown_preset_is_answered_with_the_nearest(objects, store) -> None:
    with pytest.raises(ParameterError, match=r"preset: got 'papper'.*Did you mean 'paper'"):
        run_classification(objects, store, encoder=NET, run=RUN, preset="papper", n_per_class=1)


def test_a_preset_of_ones_own_is_taken_as_it_is(objects, store) -> None:
    own = PRESETS["svm"]
    assert get_preset(own) is own
    result = run_classification(
        objects, store, encoder=NET, run=RUN, preset=own, n_per_class=2, n_repeats=2
    )
    assert result.preset == "svm"


def test_places_of_rows_with_all_views_are_those_that_the_pipelines_prepare(objects) -> None:
    rows = np.random.default_rng(0).normal(size=(28, 10 * 4)).astype(np.float32)
    preset, y = get_preset("places"), objects.labels
    whole = preset.classifier(n_views=10).fit(rows, y)
    parts = preset.classifier().fit(whole[0].transform(rows), y)
    assert (
        whole.predict_proba(rows).tolist()
        == parts.predict_proba(whole[0].transform(rows)).tolist()
    )
    with pytest.raises(ParameterError, match="got rows of 39 features, expected those of ten"):
        preset.classifier(n_views=10).fit(rows[:, 1:], y)


def test_presets_are_listed_without_scikit_learn() -> None:
    code = "import sys; from featx.estimators import PRESETS; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("n_views", [1, 2])
def test_pairs_predict_what_machines_of_two_classes_vote_for(n_views) -> None:
    """Each pair by a machine of its own on the rows of length 1, votes counted by hand."""
    X, y = load_digits(n_class=4, return_X_y=True)
    X, y = X[:200], np.array(list("abcd"))[y[:200]]
    train, test = np.arange(100), np.arange(100, 200)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    classes = np.unique(y)
    votes = np.zeros((100, 4))
    for a, b in combinations(range(4), 2):
        rows = train[np.isin(y[train], classes[[a, b]])]
        machine = SVC(kernel="linear", C=2) if n_views == 1 else LinearSVC(C=2, dual=False)
        rows = np.repeat(rows, n_views)  # each view trains
        machine.fit(unit[rows], y[rows] == classes[b])
        wins = machine.predict(unit[test])
        votes[wins, b] += 1
        votes[~wins, a] += 1
    name = "svm-pairs" if n_views == 1 else "paper-pairs"
    views = np.tile(X, n_views)
    model = find_preset(name).classifier(n_views).fit(views[train], y[train])
    is_clear = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    assert is_clear.sum() > 90
    expected = classes[votes.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(views[test])[is_clear], expected[is_clear])
    assert (expected == y[test]).mean() > 0.9


def test_a_task_runs_with_pairs_and_scores_are_shares_of_pairs(objects, store) -> None:
    found = run_classification(
        objects, store, encoder=NET, run=RUN, preset="svm-pairs", n_per_class=3, n_repeats=1
    )
    assert found.preset == "svm-pairs"
    details = found.details
    # a share is whole pairs and a confidence below a third of one; of ties the first class wins
    won = np.round(details.scores * (len(details.classes) - 1))
    predicted = [details.classes.index(name) for name in details.y_pred.tolist()]
    assert (won[np.arange(len(won)), predicted] == won.max(axis=1)).all()
