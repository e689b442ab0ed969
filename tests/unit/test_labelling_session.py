"""Sessions of labelling: every label is in the file, whoever else writes it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import featx
from featx._arrays import scale_to_unit
from featx.demo import sample_data_dir
from featx.errors import ManifestError, ParameterError, StoreWriteError
from featx.labelling import LabelSession
from featx.labelling._probes import Probes
from featx.labelling.label_file import LabelFile
from featx.labelling.measures import measure
from featx.store import write_features

N_EACH = 12


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), N_EACH)
    X = np.eye(3, 8)[y] + 0.2 * rng.normal(size=(len(y), 8))
    paths = [str(tmp_path / "photos" / f"{i}.jpg") for i in range(len(y))]
    return write_features(tmp_path / "f.h5", X, paths=paths)


@pytest.fixture
def session(store, tmp_path):
    return LabelSession(store, tmp_path / "labels.csv")


def read(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def given(path):
    return {row["path"]: row["label"] for row in read(path)}


def test_every_label_is_in_the_file_at_once(session, tmp_path):
    session.add({0: "cat"})
    session.add({1: "dog", session.paths[2]: "dog, old"})
    expected = {"photos/0.jpg": "cat", "photos/1.jpg": "dog", "photos/2.jpg": "dog, old"}
    assert given(tmp_path / "labels.csv") == expected
    assert session.classes == ["cat", "dog", "dog, old"]
    assert session.count() == {"cat": 1, "dog": 1, "dog, old": 1}


def test_a_session_goes_on_where_the_last_one_stopped(store, session, tmp_path):
    session.add({5: "b", 3: "a"})
    again = LabelSession(store, tmp_path / "labels.csv", classes=["z"])
    assert list(again.file.values.items()) == [(5, ("b",)), (3, ("a",))]
    assert again.classes == ["z", "b", "a"]


def test_undo_takes_back_what_the_last_stroke_did_and_no_more(session, tmp_path):
    session.add({0: "cat", 1: "cat"})
    session.add({0: "dog", 2: "dog"})
    assert session.undo() == [0, 2]
    assert given(tmp_path / "labels.csv") == {"photos/0.jpg": "cat", "photos/1.jpg": "cat"}
    assert session.undo() == [0, 1]
    assert read(tmp_path / "labels.csv") == []
    assert session.undo() == []
    assert not session.can_undo


def test_none_of_these_is_kept_and_not_suggested_again(store, session, tmp_path):
    session.add({0: "", 1: "cat", 20: "dog"})
    assert given(tmp_path / "labels.csv")["photos/0.jpg"] == ""
    for one in (session, LabelSession(store, tmp_path / "labels.csv")):
        assert {s.row for s in one.suggest(n=36)} == set(range(36)) - {0, 1, 20}


def test_skipped_images_come_again_in_another_session(store, session, tmp_path):
    session.skip([0, 1])
    assert {0, 1}.isdisjoint(s.row for s in session.suggest(n=36))
    assert len(LabelSession(store, tmp_path / "labels.csv").suggest(n=36)) == 36


def test_two_sessions_keep_each_others_labels(store, tmp_path):
    mine, yours = (LabelSession(store, tmp_path / "labels.csv") for _ in range(2))
    for row in range(0, 10, 2):
        mine.add({row: "cat"})
        yours.add({row + 1: "dog"})
    assert given(tmp_path / "labels.csv") == {
        f"photos/{row}.jpg": "dog" if row % 2 else "cat" for row in range(10)
    }
    mine.refresh()
    assert mine.file.values == yours.file.values


def test_what_an_editor_changes_wins_and_what_it_loses_comes_back(session, tmp_path):
    path = tmp_path / "labels.csv"
    session.add({0: "cat"})
    before = path.read_text()
    session.add({1: "dog"})
    session.add({2: "dog"})
    # An editor with an older copy saves it over ours, with one label changed.
    path.write_text(before.replace("cat", "lion"))
    messages = session.refresh()
    assert messages[0].startswith("1 of your labels were changed in the file")
    assert "to 'lion'" in messages[0]
    assert messages[1] == "2 of your labels were missing and are put back"
    assert given(path) == {"photos/0.jpg": "lion", "photos/1.jpg": "dog", "photos/2.jpg": "dog"}


def test_other_columns_rows_and_the_form_of_the_file_stay(store, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(
        "\ufeffid;Path;who;label\r\n7;photos/1.jpg;Ann;cat\r\n8;elsewhere/x.jpg;Bob;owl\r\n".encode()
    )
    session = LabelSession(store, path)
    session.add({0: "dog", 1: "lion"})
    assert (
        path.read_bytes()
        == (
            "\ufeffid;Path;who;label\r\n7;photos/1.jpg;Ann;lion\r\n8;elsewhere/x.jpg;Bob;owl\r\n"
            ";photos/0.jpg;;dog\r\n"
        ).encode()
    )
    assert "1 row of the file fits no image; the file keeps them" in session.file.messages


def test_an_image_that_comes_twice_gets_one_label_in_both_rows(store, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("path,label\nphotos/1.jpg,cat\n./photos/1.jpg,cat\n")
    LabelSession(store, path).add({1: "dog"})
    assert path.read_text() == "path,label\nphotos/1.jpg,dog\n./photos/1.jpg,dog\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", None),
        ("path,label\n", None),
        ("path,label\nphotos/1.jpg,cat\nphotos/1.jpg,dog\n", r"line 3.*'photos/1.jpg'"),
        ("label\ncat\n", r"label file .*path"),
        ("path,label\n/nowhere/a.jpg,cat\n", r"none of its 1 paths fits one of the 36 images"),
    ],
    ids=["empty", "header only", "two labels", "no paths", "other images"],
)
def test_a_file_that_is_there_is_read_or_refused(store, tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    if message is None:
        LabelSession(store, path).add({0: "cat"})
        assert given(path) == {"photos/0.jpg": "cat"}
        return
    with pytest.raises(ManifestError, match=message):
        LabelSession(store, path)
    assert path.read_text() == text


def test_a_stroke_that_cannot_be_written_changes_nothing(session, tmp_path, monkeypatch):
    session.add({0: "cat"})

    def refuse(table):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("featx.images.tables.Table.to_bytes", refuse)
    with pytest.raises(StoreWriteError, match=r"labels.csv.*No space left on device"):
        session.add({1: "dog"})
    monkeypatch.undo()
    assert given(tmp_path / "labels.csv") == {"photos/0.jpg": "cat"}
    assert session.file.values == {0: ("cat",)}
    assert session.undo() == [0]


def test_likely_images_are_those_of_the_class(session):
    session.add({0: "a", 1: "a", 12: "b", 13: "b", 24: "c"})
    found = session.find_likely("b", n=8)
    assert {s.row // N_EACH for s in found} == {1}
    assert not {12, 13} & {s.row for s in found}
    with pytest.raises(ParameterError, match=r"class 'd': has no labels.*\['a', 'b', 'c'\]"):
        session.find_likely("d")


def test_doubtful_labels_are_those_that_others_speak_against(session):
    session.add({row: "abc"[row // N_EACH] for row in range(36)} | {5: "c"})
    again = LabelSession(session.store, session.file.path)
    found = again.find_doubtful(n=36)
    assert found[0].row == 5
    assert (found[0].label, len(found)) == ("c", 36)
    assert found[0].confidence < 0.5 < found[1].confidence
    again.add({5: "a"})  # looked at
    assert 5 not in [s.row for s in again.find_doubtful(n=36)]
    again.undo()
    assert again.find_doubtful(n=1)[0].row == 5


def test_similar_images_are_the_nearest_by_cosine(session):
    X = np.asarray(session.store)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    expected = np.argsort(-(X @ X[7]), kind="stable")[:6]
    assert [s.row for s in session.find_similar(7, n=6)] == expected.tolist()


def test_attributes_have_a_column_each(store, tmp_path):
    session = LabelSession(store, tmp_path / "a.csv", attributes=["red", "round"])
    session.add({0: ["red"], 1: ["red", "round"], 12: [], 13: {"round": True}})
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "path,red,round", "photos/0.jpg,1,0", "photos/1.jpg,1,1", "photos/12.jpg,0,0",
        "photos/13.jpg,,1",
    ]  # fmt: skip
    assert session.count() == {"red": 2, "round": 2}
    assert {s.row // N_EACH for s in session.find_likely("red", n=5)} == {0}
    with pytest.raises(ParameterError, match=r"attribute: got 'rond'.*Did you mean 'round'"):
        session.add({2: ["rond"]})


def test_names_and_images_that_are_none_are_refused(session):
    with pytest.raises(ParameterError, match=r"label 'a\\nb': got a line break"):
        session.add({0: "a\nb"})
    with pytest.raises(ParameterError, match=r"row 36: expected one of the 36 images"):
        session.add({36: "a"})
    with pytest.raises(ParameterError, match=r"image 'x.jpg': is not in the store"):
        session.skip(["x.jpg"])


def test_measures_count_what_folds_get_right():
    # Two tight groups and one image on the wrong side, which no probe of the others gets right.
    X = np.repeat(np.eye(2, 4, dtype=np.float32), 10, axis=0)
    X += 0.01 * np.random.default_rng(0).normal(size=X.shape).astype(np.float32)
    labels = ["a"] * 10 + ["b"] * 9 + ["a"]
    found = measure(X, labels)
    assert found.accuracy == pytest.approx(19 / 20)
    assert found.low < 0.95 < found.high
    weights = np.ones(20)
    weights[-1] = 20  # an image that stands for as many as all others together
    assert measure(X, labels, weights).accuracy == pytest.approx(19 / 39)


def test_measures_that_go_on_say_what_measures_from_scratch_say():
    # A probe that had seen a held-out image would know its label and be right too often.
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=90)
    X = scale_to_unit((np.eye(3, 16)[y] + 0.5 * rng.normal(size=(90, 16))).astype(np.float32))
    labels, probes = [f"class {c}" for c in y], Probes()
    ids = np.arange(90)
    for n in (30, 31, 50, 51, 90):
        found = measure(X[:n], labels[:n], ids=ids[:n], probes=probes)
        assert found.accuracy == pytest.approx(measure(X[:n], labels[:n]).accuracy, abs=2 / n)
    changed = ["class 0", *labels[1:]]
    found = measure(X, changed, ids=ids, probes=probes)
    assert found.accuracy == pytest.approx(measure(X, changed).accuracy, abs=2 / 90)


def test_a_probe_that_has_seen_what_is_held_out_now_begins_anew():
    rng = np.random.default_rng(0)
    X = scale_to_unit(rng.normal(size=(20, 6)).astype(np.float32))
    labels, ids, probes = np.array(["a", "b"] * 10), np.arange(20), Probes()
    probes.fit("fold", X, labels, ids)
    found = probes.fit("fold", X[:15], labels[:15], ids[:15])
    scratch = Probes().fit("fold", X[:15], labels[:15], ids[:15])
    np.testing.assert_array_equal(found.coef_, scratch.coef_)


def test_measures_wait_for_two_images_of_two_classes():
    found = measure(np.eye(3, dtype=np.float32), ["a", "b", "b"])
    assert found.accuracy is None
    assert found.advice == "Label at least two images each of two classes."


def test_the_law_of_the_forecast_goes_through_a_known_curve():
    from featx.labelling.measures import SHARES, _forecast

    n = 200
    accuracies = [1 - 2.0 * (share * n) ** -0.5 for share in SHARES]
    found = {f.n_more: f.accuracy for f in _forecast(n, accuracies)}
    assert found[200] == pytest.approx(1 - 2.0 * 400**-0.5, abs=1e-6)


def test_a_file_of_many_images_takes_a_stroke_in_one_write(tmp_path, monkeypatch):
    images = [f"/p/{i}.jpg" for i in range(300)]
    file = LabelFile(tmp_path / "l.csv", images)
    file.put(dict.fromkeys(range(300), ("a",)))
    assert len(read(tmp_path / "l.csv")) == 300
    assert LabelFile(tmp_path / "l.csv", images).values == file.values


def test_words_find_images_without_a_label(tmp_path: Path) -> None:
    store = featx.extract(sample_data_dir() / "objects", tmp_path / "f.h5", precision="float32")
    session = LabelSession(store, tmp_path / "labels.csv")
    order = featx.RetrievalIndex().fit(store).query(text="cup", k=len(store)).indices.tolist()
    assert [s.row for s in session.find_by_words("cup", n=5)] == order[:5]
    session.add({order[0]: "cup"})
    session.skip([order[2]])
    left = [row for row in order if row not in (order[0], order[2])]
    assert [s.row for s in session.find_by_words("cup", n=5)] == left[:5]
    with pytest.raises(ParameterError, match="qwertyuiop"):
        session.find_by_words("qwertyuiop")


def test_classes_whose_names_are_words_are_guessed_before_any_label(tmp_path: Path) -> None:
    store = featx.extract(sample_data_dir() / "objects", tmp_path / "f.h5", precision="float32")
    index = featx.RetrievalIndex().fit(store)
    distances = {}
    for name in ("cup", "umbrella"):
        found = index.query(text=name, k=len(store))
        distances[name] = dict(zip(found.indices.tolist(), found.distances.tolist(), strict=True))
    session = LabelSession(store, tmp_path / "labels.csv", classes=["cup", "umbrella"])
    first = session.suggest(n=8)
    for s in first:
        assert s.label == min(distances, key=lambda name: distances[name][s.row])
        assert s.confidence is None
    likely = [s.row for s in session.find_likely("cup", n=4)]
    assert likely == sorted(distances["cup"], key=distances["cup"].__getitem__)[:4]
    session.add({likely[0]: "cup", likely[1]: "umbrella"})
    assert all(s.confidence is not None for s in session.suggest(n=4))  # labels say it now


def test_classes_of_other_names_are_not_guessed(tmp_path: Path) -> None:
    store = featx.extract(sample_data_dir() / "objects", tmp_path / "f.h5", precision="float32")
    session = LabelSession(store, tmp_path / "labels.csv", classes=["cup", "qwertyuiop"])
    assert [s.label for s in session.suggest(n=3)] == [None, None, None]
