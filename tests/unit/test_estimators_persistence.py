"""Model files: what goes in comes out, and no bad file does anything but raise."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from featx.errors import FeatxError, FileFormatError, ParameterError, StoreWriteError
from featx.estimators import (
    AttributeClassifier,
    LinearProbeClassifier,
    PCAWhitening,
    PowerNormalizer,
    load_model,
    save_model,
)
from featx.files.archive import pack
from featx.recipe import Preprocessing, Recipe

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "model-v1.featx"

RECIPE = Recipe(
    backbone="mobilenet_v2",
    weights="ab" * 32,
    layer="penultimate",
    pooling="none",
    preprocessing=Preprocessing(),
    augment="none",
    precision="float32",
    n_features=6,
)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
Y = np.where(X[:, :3] > 0, 1.0, 0.0)
LABELS = np.array(["cat", "dog", "œuf"])[np.arange(40) % 3]


def fitted() -> dict[str, Any]:
    missing = Y.copy()
    missing[::9, 1], missing[:, 2] = np.nan, 1
    return {
        "logistic": LinearProbeClassifier().fit(X, LABELS),
        "svm, two classes": LinearProbeClassifier("svm", Cs=[1, 10]).fit(X, X[:, 0] > 0),
        "one image per class": LinearProbeClassifier().fit(X[:3], LABELS[:3]),
        "weights by class": LinearProbeClassifier(class_weight={"cat": 2.0}).fit(X, LABELS),
        "object labels": LinearProbeClassifier(Cs=1.0).fit(X, LABELS.astype(object)),
        "attributes": AttributeClassifier(attribute_names=["a", "b", "c"]).fit(X, missing),
        "whitening": PCAWhitening(4).fit(X.astype(np.float32)),
        "power": PowerNormalizer(0.3).fit(X),
        "pipeline": make_pipeline(
            Normalizer(), StandardScaler(), PCAWhitening(3), "passthrough", LinearProbeClassifier()
        ).fit(X, LABELS),
        "pipelines within": Pipeline(
            [("a", make_pipeline(PowerNormalizer(), StandardScaler(with_std=False)))]
        ).fit(X),
    }


MODELS = fitted()


def outputs(model: Any) -> list[Any]:
    names = ("predict", "predict_proba", "decision_function", "transform")
    return [getattr(model, name)(X) for name in names if hasattr(model, name)]


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    save_model(model, tmp_path / "m.featx", recipe=RECIPE, metadata={"note": ["é", 1, None]})
    saved = load_model(tmp_path / "m.featx")
    assert saved.recipe == RECIPE
    assert saved.metadata == {"note": ["é", 1, None]}
    assert outputs(model)
    for before, after in zip(outputs(model), outputs(saved.model), strict=True):
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype or before.dtype.kind == "O"
    assert repr(saved.model) == repr(model)


@pytest.mark.parametrize("name", ["logistic", "attributes", "whitening"])
def test_every_learned_attribute_is_kept(name: str, tmp_path: Path) -> None:
    save_model(MODELS[name], tmp_path / "m.featx")
    loaded = load_model(tmp_path / "m.featx").model
    learned = {k: v for k, v in vars(MODELS[name]).items() if k.endswith("_")}
    assert {k for k in vars(loaded) if k.endswith("_")} == set(learned)
    for key, value in learned.items():
        np.testing.assert_equal(getattr(loaded, key), value)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_model(MODELS["pipeline"], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_of_version_1_reads_without_featx() -> None:
    """The documented layout, read with zipfile, json and numpy alone; protects the format."""
    data = GOLDEN.read_bytes()
    assert hashlib.sha256(data[:-64]).hexdigest().encode() == data[-64:]
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        header = json.loads(file.read("model.json"))
    arrays = np.load(GOLDEN, allow_pickle=False)
    assert (header["format"], header["version"]) == ("featx-model", 1)
    assert header["recipe"]["backbone"] == "mobilenet_v2"
    assert header["metadata"] == {"accuracy": 0.5}
    (_, whitening), (_, probe) = header["model"]["steps"]
    assert (whitening["class"], probe["class"]) == ("PCAWhitening", "LinearProbeClassifier")

    def array(step: dict[str, Any], key: str) -> Any:
        return arrays[step["state"][key]["array"]]

    rows = np.random.default_rng(5).normal(size=(20, 6))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = (unit - array(whitening, "mean_")) @ array(whitening, "components_").T
    white = centred / np.sqrt(array(whitening, "explained_variance_"))
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    scores = white @ array(probe, "coef_").T + array(probe, "intercept_")
    by_hand = array(probe, "classes_")[scores.argmax(axis=1)]

    saved = load_model(GOLDEN)
    assert saved.model.predict(rows).tolist() == by_hand.tolist()
    np.testing.assert_allclose(saved.model.decision_function(rows), scores, atol=1e-10)
    assert set(by_hand) == {"cat", "dog", "œuf"}
    assert saved.recipe == RECIPE


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.featx"
    save_model(MODELS["power"], path, recipe=RECIPE)
    good = path.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(FileFormatError, match=r"m\.featx"):
            load_model(path)


def test_any_truncation_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.featx"
    save_model(MODELS["power"], path)
    good = path.read_bytes()
    for length in range(0, len(good), 7):
        path.write_bytes(good[:length])
        with pytest.raises(FileFormatError, match=r"m\.featx"):
            load_model(path)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_foreign_bytes_raise_and_nothing_else(tmp_path: Path, data: bytes) -> None:
    for content in (data, b"PK" + data, sealed(b"PK\x03\x04" + data)):
        (tmp_path / "f").write_bytes(content)
        with pytest.raises(FileFormatError, match=r"/f"):
            load_model(tmp_path / "f")


def sealed(body: bytes) -> bytes:
    """What somebody writes who knows the format and means harm: the seal fits."""
    return body + hashlib.sha256(body).hexdigest().encode()


def members(model: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    path = io.BytesIO()
    header: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    from featx.estimators._codec import encode

    header = {
        "format": "featx-model",
        "version": 1,
        "creator": "featx",
        "recipe": None,
        "metadata": {},
        "model": encode(model, arrays),
    }
    path.write(pack(header, arrays))
    with zipfile.ZipFile(path) as file:
        return header, {n: file.read(n) for n in file.namelist() if n.endswith(".npy")}


def forge(header: Any, arrays: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        text = header if isinstance(header, str) else json.dumps(header)
        file.writestr("model.json", text)
        for name, content in arrays.items():
            file.writestr(name, content)
        file.comment = b"0" * 64
    return sealed(buffer.getvalue()[:-64])


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("this must never be printed",))


def huge() -> bytes:
    """An array whose header claims 144 GB."""
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3000000000, 6), }\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 24


FORGERIES: dict[str, tuple[Callable[[dict[str, Any], dict[str, bytes]], Any], str]] = {
    "another version": (lambda h, a: ({**h, "version": 2}, a), r"version 2, expected 1"),
    "another format": (lambda h, a: ({**h, "format": "x"}, a), r"'format' is 'x'"),
    "no JSON": (lambda h, a: ("{", a), r"not valid JSON"),
    "deep JSON": (lambda h, a: ("[" * 100_000, a), r"not valid JSON"),
    "a list": (lambda h, a: ("[]", a), r"got list"),
    "no model": (lambda h, a: ({**h, "model": None}, a), r"got None in place"),
    "unknown class": (
        lambda h, a: ({**h, "model": {**h["model"], "class": "os.system"}}, a),
        r"class 'os.system'",
    ),
    "missing state": (lambda h, a: (without(h, "state", "coef_"), a), r"missing \['coef_'\]"),
    "foreign state": (
        lambda h, a: (changed(h, "state", "predict", 1), a),
        r"unknown \['predict'\]",
    ),
    "foreign parameter": (lambda h, a: (changed(h, "params", "shell", "rm"), a), r"'shell'"),
    "no value": (lambda h, a: (changed(h, "state", "C_", {"eval": "1"}), a), r"\{'eval'"),
    "wrong shape": (
        lambda h, a: (h, {**a, "intercept_.npy": npy(np.zeros(9))}),
        r"intercept_ has shape \(9,\)",
    ),
    "classes that do not fit": (
        lambda h, a: (h, {**a, "classes_.npy": npy(np.array(list("abcd")))}),
        r"3 rows of coef_ for 4 classes",
    ),
    "text for numbers": (
        lambda h, a: (h, {**a, "coef_.npy": npy(np.full((3, 6), "x"))}),
        r"coef_ holds text",
    ),
    "an array missing": (
        lambda h, a: (h, {k: v for k, v in a.items() if k != "coef_.npy"}),
        r"'coef_'",
    ),
    "a pickle for an array": (
        lambda h, a: (h, {**a, "coef_.npy": npy(np.array([Bomb()], dtype=object))}),
        r"dtype '\|O'",
    ),
    "a bare pickle": (
        lambda h, a: (h, {**a, "coef_.npy": pickle.dumps(Bomb())}),
        r"not an .npy array",
    ),
    "a size that is not there": (
        lambda h, a: (h, {**a, "coef_.npy": npy(np.zeros((3, 6)))[:-8]}),
        r"136 bytes for shape \(3, 6\)",
    ),
    "a huge size": (
        lambda h, a: (h, {**a, "coef_.npy": huge()}),
        r"24 bytes for shape \(3000000000",
    ),
    "a member that is no array": (lambda h, a: (h, {**a, "run.py": b"1"}), r"'run.py'"),
    "a recipe that is none": (lambda h, a: ({**h, "recipe": {"x": 1}}, a), r"recipe: got format"),
    "metadata that are none": (lambda h, a: ({**h, "metadata": 3}, a), r"not objects"),
    "no steps": (lambda h, a: ({**h, "model": {"class": "Pipeline"}}, a), r"no list of"),
}


def changed(header: dict[str, Any], part: str, key: str, value: Any) -> dict[str, Any]:
    model = header["model"]
    return {**header, "model": {**model, part: {**model[part], key: value}}}


def without(header: dict[str, Any], part: str, key: str) -> dict[str, Any]:
    model = header["model"]
    kept = {k: v for k, v in model[part].items() if k != key}
    return {**header, "model": {**model, part: kept}}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_files_raise_and_run_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, match = FORGERIES[name]
    header, arrays = members(MODELS["logistic"])
    path = tmp_path / "forged.featx"
    path.write_bytes(forge(header, arrays))
    assert load_model(path).model.predict(X).tolist() == MODELS["logistic"].predict(X).tolist()
    path.write_bytes(forge(*change(header, arrays)))
    with pytest.raises(FileFormatError, match=rf"forged\.featx': .*{match}"):
        load_model(path)
    assert capsys.readouterr().out == ""


def test_a_compressed_member_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    header, arrays = members(MODELS["logistic"])
    arrays["bomb.npy"] = b"\0" * 10_000_000
    (tmp_path / "z").write_bytes(forge(header, arrays, method=zipfile.ZIP_DEFLATED))
    with pytest.raises(FileFormatError, match=r"'model.json' is compressed"):
        load_model(tmp_path / "z")


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """One long member that a thousand entries name would be read a thousand times."""
    header, arrays = members(MODELS["logistic"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("model.json", json.dumps(header))
        file.writestr("a.npy", arrays["coef_.npy"])
        first = file.infolist()[1]
        for i in range(50):
            twin = copy.copy(first)
            twin.filename = twin.orig_filename = f"b{i}.npy"
            file.filelist.append(twin)
            file.NameToInfo[twin.filename] = twin
        file.comment = b"0" * 64
    body = buffer.getvalue()[:-64]
    (tmp_path / "z").write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    with pytest.raises(FileFormatError, match=r"larger than the file|[Oo]verlap|differ"):
        load_model(tmp_path / "z")


NOTES = ("C_", "constant_", "best_score_", "explained_variance_ratio_")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", MODELS)
def test_learned_numbers_that_are_not_finite_are_refused_by_name(name, value, tmp_path) -> None:
    """Each would give the first class for every image, and no error."""
    header, arrays = members(MODELS[name])
    for member, data in arrays.items():
        array = np.load(io.BytesIO(data))
        key = member.removesuffix(".npy").split(".")[-1]
        if array.dtype.kind != "f" or "cv_results_" in member or "params" in member:
            continue
        array.reshape(-1)[0] = value
        (tmp_path / "m").write_bytes(forge(header, {**arrays, member: npy(array)}))
        if key in NOTES or not key.endswith("_"):
            continue
        with pytest.raises(FileFormatError, match=rf"m': \w+: {key} has 1 of \d+ numbers"):
            load_model(tmp_path / "m")


def test_an_attribute_that_was_never_trained_keeps_its_nan(tmp_path: Path) -> None:
    model = MODELS["attributes"]
    assert np.isnan(model.constant_).any()
    assert np.isnan(model.C_).any()
    save_model(model, tmp_path / "m")
    np.testing.assert_array_equal(load_model(tmp_path / "m").model.C_, model.C_)


def test_a_model_that_overflowed_is_not_saved(tmp_path: Path) -> None:
    model = LinearProbeClassifier().fit(X, LABELS)
    model.slope_ = float("nan")
    with pytest.raises(ParameterError, match=r"slope_ has 1 of 1 numbers that are NaN"):
        save_model(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(20)
def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        load_model(tmp_path / "pipe")


def test_pipelines_nested_without_end_are_refused(tmp_path: Path) -> None:
    header, arrays = members(MODELS["power"])
    for _ in range(20):
        header["model"] = {"class": "Pipeline", "steps": [["a", header["model"]]]}
    (tmp_path / "p").write_bytes(forge(header, arrays))
    with pytest.raises(FileFormatError, match=r"in place of an estimator"):
        load_model(tmp_path / "p")


def test_other_estimators_are_refused_with_the_way_out(tmp_path: Path) -> None:
    model = LogisticRegression().fit(X, LABELS)
    with pytest.raises(ParameterError, match=r"LogisticRegression.*joblib.*run code"):
        save_model(model, tmp_path / "m")
    with pytest.raises(ParameterError, match=r"sklearn.decomposition._pca.PCA"):
        save_model(make_pipeline(PCA(2), LinearProbeClassifier()).fit(X, LABELS), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_parameter_that_only_pickle_keeps_is_named(tmp_path: Path) -> None:
    model = LinearProbeClassifier(cv=KFold(3)).fit(X, LABELS)
    with pytest.raises(ParameterError, match=r"cv=KFold"):
        save_model(model, tmp_path / "m")


def test_metadata_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"metadata: .*set"):
        save_model(MODELS["power"], tmp_path / "m", metadata={"a": {1}})


def test_a_model_that_is_not_fitted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match=r"LinearProbeClassifier"):
        save_model(LinearProbeClassifier(), tmp_path / "m")
    with pytest.raises(NotFittedError, match=r"Normalizer"):
        save_model(Normalizer(), tmp_path / "m")


def test_joblib_only_on_request_and_on_trust(tmp_path: Path) -> None:
    model = LogisticRegression().fit(X, LABELS)
    path = tmp_path / "m.joblib"
    save_model(model, path, recipe=RECIPE, format="joblib")
    with pytest.raises(FileFormatError, match=r"m\.joblib': .*trust_pickle=True"):
        load_model(path)
    saved = load_model(path, trust_pickle=True)
    assert saved.recipe == RECIPE
    assert (saved.model.predict(X) == model.predict(X)).all()


def test_trusted_files_of_both_formats_open(tmp_path: Path) -> None:
    save_model(MODELS["power"], tmp_path / "m")
    assert load_model(tmp_path / "m", trust_pickle=True).model.power == 0.3
    (tmp_path / "b").write_bytes(pickle.dumps([1]))
    with pytest.raises(FileFormatError, match=r"pickled list"):
        load_model(tmp_path / "b", trust_pickle=True)
    (tmp_path / "c").write_bytes(b"nothing of the kind")
    with pytest.raises(FileFormatError, match=r"not readable by joblib"):
        load_model(tmp_path / "c", trust_pickle=True)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    save_model(MODELS["power"], path)
    old = path.read_bytes()

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StoreWriteError, match=r"No space left"):
        save_model(MODELS["whitening"], path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_and_files_are_plain_errors(tmp_path: Path) -> None:
    with pytest.raises(StoreWriteError, match=r"nowhere"):
        save_model(MODELS["power"], tmp_path / "nowhere" / "m")
    with pytest.raises(FileNotFoundError, match=r"nothing"):
        load_model(tmp_path / "nothing")


def test_feature_names_survive(tmp_path: Path) -> None:
    model = PowerNormalizer().fit(X)
    model.feature_names_in_ = np.array(list("uvwxyz"), dtype=object)
    save_model(model, tmp_path / "m")
    assert load_model(tmp_path / "m").model.get_feature_names_out().tolist() == list("uvwxyz")


def test_every_error_is_one_line(tmp_path: Path) -> None:
    for content in (b"", b"PK\nx", b"\x80\x04."):
        (tmp_path / "f").write_bytes(content)
        with pytest.raises(FeatxError, match=r"^[^\n]*$"):
            load_model(tmp_path / "f")


def test_a_recipe_of_other_features_can_be_told_apart(tmp_path: Path) -> None:
    save_model(MODELS["logistic"], tmp_path / "m", recipe=RECIPE)
    saved = load_model(tmp_path / "m")
    other = dataclasses.replace(RECIPE, layer="features.18")
    assert saved.recipe is not None
    assert saved.recipe.differences(other) == {"layer": ("penultimate", "features.18")}
