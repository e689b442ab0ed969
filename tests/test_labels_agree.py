"""The command line and Python read the same labels out of the same table."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image

import featx
from featx.cli.main import main
from featx.errors import FeatxWarning, ParameterError
from featx.estimators import AttributeClassifier, LinearProbeClassifier
from featx.evaluation import evaluate_classes, relevance_from_labels
from featx.images import ImageManifest, attribute_labels, class_labels
from featx.retrieval import RetrievalIndex
from featx.store import open_store, write_features

pd = pytest.importorskip("pandas")

N = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store of two blobs, /p/0.png and so on; odd rows are class b."""
    root = tmp_path_factory.mktemp("agree")
    y = np.arange(N) % 2
    X = np.random.default_rng(0).normal(size=(N, 4)) + 8 * y[:, None]
    write_features(root / "f.h5", X, paths=[f"/p/{i}.png" for i in range(N)]).close()
    return root


def run(capsys, *words):
    """Return what a command prints as JSON, and its warnings."""
    assert main([*map(str, words), "--json"]) == 0
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


MISSING = ["", None, np.nan, pd.NA, pd.NaT, " ", "nan"]
LABELS = {
    "text": [[" a", "b "][i % 2] for i in range(N)],
    "numbers": [i % 2 for i in range(N)],
    "truth": [bool(i % 2) for i in range(N)],
    "numbers and missing": [float(i % 2) if i % 5 else np.nan for i in range(N)],
    "text and missing": [["a", "b"][i % 2] if i % 4 else MISSING[i // 4] for i in range(N)],
}


@pytest.mark.parametrize(
    ("labels", "written"),
    [
        *((labels, "commas") for labels in LABELS),
        *(("numbers and missing", way) for way in ("semicolons", "other names", "other images")),
    ],
)
def test_training_takes_the_same_labels_from_a_csv_and_a_frame(
    world, tmp_path, capsys, labels, written
):
    paths = [f"/p/{i}.png" for i in range(N)]
    frame = pd.DataFrame({"path": paths, "label": LABELS[labels]})
    if written == "other names":
        frame["path"] = [path.removeprefix("/") for path in frame["path"]]
        frame.columns = ["Path", "Label"]
    if written == "other images":
        frame["path"] = [*frame["path"][:-2], "/p/x.png", "/p/1.PNG"]
    csv = tmp_path / "l.csv"
    frame.to_csv(csv, sep=";" if written == "semicolons" else ",")
    found, _ = run(capsys, "train", world / "f.h5", "--labels", csv, "--out", tmp_path / "m")
    with open_store(world / "f.h5") as store:
        one, other = class_labels(store, frame), class_labels(store, csv)
    assert one.labels.tolist() == other.labels.tolist()
    assert one.rows.tolist() == other.rows.tolist()
    names = sorted(set(one.labels.tolist()))
    assert found["classes"] == names
    assert len(names) == 2
    assert found["n_samples"] == len(one.rows)
    for key, value in one.coverage.to_dict().items():
        assert found[key] == (f"CSV {str(csv)!r}" if key == "labels_from" else value)
    assert found["n_unused"] == (2 if written == "other images" else 0)
    if written != "other images":
        return
    measured, _ = run(capsys, "evaluate", tmp_path / "m", world / "f.h5", "--labels", csv)
    assert measured["n_samples"] == found["n_samples"]
    assert measured["n_unlabelled"] == found["n_unlabelled"] == N - len(one.rows)
    assert measured["unused"] == found["unused"]


@pytest.mark.parametrize("yes", [1, 1.0, True, "yes"])
def test_attributes_are_the_same_from_a_csv_and_a_frame(world, tmp_path, capsys, yes):
    no = {1: 0, "yes": "no"}[yes]
    values = [[no, yes][i % 2] if i % 5 else None for i in range(N)]
    frame = pd.DataFrame({"path": [f"/p/{i}.png" for i in range(N)], "odd": values})
    frame.to_csv(tmp_path / "a.csv", index=False)
    words = ["train", world / "f.h5", "--task", "attributes", "--out", tmp_path / "m"]
    found, _ = run(capsys, *words, "--labels", tmp_path / "a.csv")
    assert (found["classes"], found["n_samples"]) == (["odd"], N)
    with open_store(world / "f.h5") as store:
        known = attribute_labels(store, frame)
        other = attribute_labels(store, tmp_path / "a.csv")
        np.testing.assert_array_equal(known.values, other.values)
        expected = [i % 2 if i % 5 else np.nan for i in range(N)]
        np.testing.assert_array_equal(known.values[:, 0], expected)
        nullable = pd.DataFrame({"odd": pd.array(known.values[:, 0], dtype="Int64")})
        model = AttributeClassifier().fit(store[known.rows], nullable)
        plain = AttributeClassifier().fit(store[known.rows], known.values)
        np.testing.assert_array_equal(model.coef_, plain.coef_)


def test_text_says_which_rows_fit_nothing(world, tmp_path, capsys):
    csv = tmp_path / "l.csv"
    csv.write_text("path,label\n/p/0.png,a\n/p/1.png,b\n/p/2.png,a\n/p/3.png,b\n/p/4.PNG,a\n")
    assert main(["train", f"{world}/f.h5", "--labels", str(csv), "--out", f"{tmp_path}/m"]) == 0
    text = capsys.readouterr().out
    assert (
        f"1 row of CSV {str(csv)!r} fits none of the images: /p/4.PNG; nearest: /p/4.png" in text
    )
    assert "20 images have no label and were left out: /p/4.png, /p/5.png, /p/6.png, ..." in text


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two parts of a data set, of two classes each."""
    root = tmp_path_factory.mktemp("pictures")
    for part in ("train", "Test"):
        for name, colour in (("red", "#e01010"), ("blue", "#1010e0")):
            (root / part / name).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (32, 32 + i), colour).save(root / part / name / f"{i}.png")
    return root


def test_extraction_takes_the_same_from_a_csv_a_frame_and_folders(pictures, tmp_path, capsys):
    folder = pictures / "train"
    paths = sorted(map(str, folder.rglob("*.png")))
    labels = [path.split("/")[-2] for path in paths]
    frame = pd.DataFrame({"path": paths, "label": labels, "year": [2020, None, 2021, None]})
    frame.to_csv(tmp_path / "l.csv", index=False)
    stores = [
        featx.extract(source, tmp_path / f"{i}.h5", progress=False)
        for i, source in enumerate(
            (frame, tmp_path / "l.csv", folder, [folder / "blue", folder / "red"])
        )
    ]
    run(capsys, "extract", folder / "blue", folder / "red", "--store", tmp_path / "cli.h5")
    stores.append(open_store(tmp_path / "cli.h5"))
    for store in stores:
        assert store.paths.tolist() == paths
        assert store.labels.tolist() == labels
        np.testing.assert_array_equal(store[:], stores[0][:])
    for store in stores[:2]:
        assert store.metadata["year"].tolist() == ["2020", "", "2021", ""]
    vectors = featx.FeatureExtractor(progress=False).transform(frame)
    np.testing.assert_allclose(vectors, stores[0][:], atol=1e-5)
    index = RetrievalIndex().fit(stores[0])
    for query in (frame, frame["path"], frame[["path"]], paths):
        found = index.query(query, k=1)
        assert found.queries == tuple(paths)
        np.testing.assert_allclose(found.distances, 0, atol=1e-5)
    for store in stores:
        store.close()


def test_parts_of_a_data_set_taken_for_classes_are_told_by_both(pictures, tmp_path, capsys):
    says = "'Test/blue' and 'train/blue' are two classes, kept apart by Test/ and train/.*store of"
    with warnings.catch_warnings():  # which the command line prints
        warnings.simplefilter("always")
        _, told = run(capsys, "extract", pictures, "--store", tmp_path / "f.h5")
        assert re.search(rf"featx extract: warning: source: {says}", told)
        _, told = run(capsys, "train", tmp_path / "f.h5", "--out", tmp_path / "m")
        assert re.search(rf"featx train: warning: store .*{says}", told)
    with pytest.warns(FeatxWarning, match=says):
        featx.extract(pictures, tmp_path / "f.h5", progress=False).close()


@pytest.mark.parametrize(
    ("labels", "is_told"),
    [
        (["seg_train/sea", "seg_test/sea"], True),  # as a well-known set of landscapes has them
        (["cats-train", "dogs-train", "cats-test"], True),
        (["train 2017/a", "val 2017/a"], True),
        (["a_train/sea", "b_test/sea", "train"], False),
        (["test tube", "train station", "crash test"], False),
    ],
)
def test_names_of_parts_may_begin_with_the_sets_own(labels, is_told):
    paths = [f"/p/{label}/1.png" for label in labels]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        class_labels(ImageManifest.from_paths(paths, labels=labels))
    assert bool(told) is is_told


def test_labels_that_are_no_classes_of_the_model_are_named_with_its_classes():
    with pytest.raises(ParameterError, match=r"none of the classes \['a', 'b'\], but \['c'\]"):
        evaluate_classes(["c", "c"], ["a", "b"], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"])


HOLES = ["a", None, "b", np.nan]
KINDS = [
    HOLES,
    pd.Series(HOLES),
    pd.Series(HOLES, dtype="category"),
    pd.Series(["a", pd.NA, "b", pd.NaT]),
]


@pytest.mark.parametrize("labels", KINDS, ids=["list", "series", "category", "NA"])
def test_missing_labels_and_columns_stay_missing_in_stores_and_indices(tmp_path, labels):
    paths = pd.Series(["w", "x", "y", "z"])
    years = pd.Series([1, None, 2, 3])
    frame = pd.DataFrame({"who": labels, "year": years})
    store = write_features(
        tmp_path / "f.h5", pd.DataFrame(np.eye(4)), paths=paths, labels=labels, metadata=frame
    )
    assert store.labels.tolist() == ["a", "", "b", ""]
    assert store.metadata["year"].tolist() == ["1", "", "2", "3"]
    index = RetrievalIndex().fit(pd.DataFrame(np.eye(4)), ids=paths, labels=labels, metadata=frame)
    for one in (index, RetrievalIndex().fit(store)):
        assert one.labels_.tolist() == ["a", "", "b", ""]
        assert one.metadata_["who"].tolist() == ["a", "", "b", ""]
        assert one.metadata_["year"].tolist() == ["1", "", "2", "3"]
        for where in ({"label": ""}, {"label": None}, {"label": [np.nan, ""]}):
            assert one.query(np.ones(4), filter=where).ids.tolist() == ["x", "z"]
        assert one.query(np.ones(4), filter={"year": 2.0}).ids.tolist() == ["y"]
        one.add(
            2 * np.eye(4)[:1], ids=["v"], labels=[pd.NA], metadata={"who": [None], "year": [5]}
        )
        assert one.labels_.tolist()[-1] == ""
        one.save(tmp_path / "i")
        assert RetrievalIndex.load(tmp_path / "i").labels_.tolist() == one.labels_.tolist()
    store.close()


def test_numbers_stay_numbers_in_an_index():
    index = RetrievalIndex().fit(
        np.eye(3), labels=pd.Series([1, 2, 2]), metadata={"x": [0.5, 1, 2]}
    )
    assert index.labels_.tolist() == [1, 2, 2]
    assert index.query(np.ones(3), filter={"x": 0.5}).ids.tolist() == [0]


def test_names_that_are_missing_are_refused_by_row(tmp_path):
    with pytest.raises(ParameterError, match="ids: row 1 has none"):
        RetrievalIndex().fit(np.eye(2), ids=pd.Series(["a", None]))
    with pytest.raises(ParameterError, match="paths: row 1 has nan"):
        write_features(tmp_path / "f.h5", np.eye(2), paths=["a", np.nan])
    assert not (tmp_path / "f.h5").exists()


@pytest.mark.parametrize("y", [["a", None, "b", "b"], ["a", "", "b", "b"], [0, np.nan, 1, 1]])
def test_a_missing_label_is_no_class_anywhere(y):
    for call in (
        lambda: LinearProbeClassifier().fit(np.eye(4), y),
        lambda: LinearProbeClassifier().fit(np.eye(4), pd.Series(y, index=[9, 8, 7, 6])),
        lambda: evaluate_classes(y, y, np.eye(4)[:, :2], ["a", "b"]),
        lambda: relevance_from_labels(y),
    ):
        with pytest.raises(ParameterError, match="sample 1 has no label"):
            call()


@pytest.mark.parametrize(
    "y", [["b", "a", ""], ["b", "a", None], np.array(["b", np.nan, "a"], object)]
)
def test_a_missing_label_is_no_wrong_prediction(y):
    X = np.eye(3)
    model = LinearProbeClassifier(cv=2).fit(np.vstack([X, X]), ["b", "a", "a"] * 2)
    assert model.score(X, ["b", "a", "a"]) == 1
    assert model.score(X, ["b", "a", "b"], sample_weight=[1, 1, 0]) == 1
    with pytest.raises(ParameterError, match=r"y: sample . has no label"):
        model.score(X, y)


def test_what_a_mask_hides_is_missing():
    X = np.random.default_rng(0).normal(size=(8, 3))
    y = np.ma.array([0, 1] * 4, mask=[0, 0, 1, 0] * 2)
    for labels in (y, np.ma.array(y.astype(str), mask=y.mask)):
        with pytest.raises(ParameterError, match=r"y: sample 2 has no label .None; 2 of 8"):
            LinearProbeClassifier().fit(X, labels)
    known = np.ma.getdata(y).astype(float)
    known[y.mask] = np.nan
    expected = AttributeClassifier(cv=2).fit(X, known[:, None]).decision_function(X)
    found = AttributeClassifier(cv=2).fit(X, y[:, None]).decision_function(X)
    np.testing.assert_array_equal(found, expected)


def test_paths_are_never_the_names_of_columns_or_letters():
    for paths in (pd.DataFrame({"path": ["a.png"]}), "a.png", {"path": ["a.png"]}):
        with pytest.raises(ParameterError, match=r"paths: got .*one column of a data frame"):
            ImageManifest.from_paths(paths)


def test_a_frame_of_numbers_is_asked_as_its_array():
    X = np.random.default_rng(0).normal(size=(6, 3))
    frame = pd.DataFrame(X)
    index = RetrievalIndex().fit(frame)
    expected = index.query(X[:2], k=3)
    for asked in (frame[:2], frame[:2].convert_dtypes(), frame[:2].astype(object)):
        assert index.query(asked, k=3).ids.tolist() == expected.ids.tolist()
    assert index.query(frame.loc[0], k=3).ids.tolist() == expected.ids[0].tolist()
    with pytest.raises(ParameterError, match=r"data frame with the columns \['a', 'b'\].*'path'"):
        index.query(pd.DataFrame({"a": ["x"], "b": ["y"]}))


def test_columns_of_a_query_are_those_of_the_fit():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 3)), columns=["a", "b", "c"])
    index = RetrievalIndex().fit(frame)
    for asked in (frame[["c", "a", "b"]], frame.rename(columns={"c": "d"})):
        for ask in (index.query, index.kneighbors, lambda X: index.query_radius(X, 1.0)):
            with pytest.raises(ValueError, match="feature names should match"):
                ask(asked)
    assert index.query(frame.loc[2], k=1).ids.tolist() == [2]
    assert index.query(frame.to_numpy()[2], k=1).ids.tolist() == [2]


def test_filters_take_what_pandas_gives():
    years = pd.array([2013, 2014, None, 2013], dtype="Int64")
    index = RetrievalIndex().fit(np.eye(4), metadata={"year": years})
    for wanted in (
        2013,
        [2013],
        pd.Series([2013]),
        pd.Index([2013]),
        pd.array([2013]),
        years == 2013,
    ):
        where = wanted if len(np.atleast_1d(wanted)) == 4 else {"year": wanted}
        assert sorted(index.query(np.eye(4)[0], k=4, filter=where).ids.tolist()) == [0, 3]
    found = index.query(np.eye(4)[0], k=4, filter={"year": range(2013, 2015)})
    assert sorted(found.ids.tolist()) == [0, 1, 3]
    with pytest.raises(ParameterError, match="got int64 of shape"):
        index.query(np.eye(4)[0], filter=[0, 1])
