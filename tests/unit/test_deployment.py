"""An exported file answers as featx does, and what cannot be exported is named."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from _browser import needs_browser, show_in, size, start_browser, until, violations
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from featx import Encoder
from featx.cli.main import main
from featx.deployment import _runtime, export_model
from featx.deployment._answer import Answer
from featx.deployment._compare import predict
from featx.deployment._onnx import Session, describe
from featx.deployment._openvino import write_pair
from featx.deployment._page import render_page
from featx.deployment._pixels import make_pixels
from featx.deployment._runtime import find_runtime
from featx.engines.conversion import to_onnx
from featx.engines.graphs import import_openvino
from featx.errors import BackboneError, MissingDependencyError, ParameterError, StoreWriteError
from featx.estimators import (
    AttributeClassifier,
    LinearProbeClassifier,
    PCAWhitening,
    PowerNormalizer,
    SavedModel,
    load_model,
    save_model,
)
from featx.estimators.certainty import learn_certainty
from featx.extraction import RunOptions
from featx.images import ImagePreprocessor, sample_data_dir
from featx.recipe import Preprocessing

pytest.importorskip("onnxruntime", reason="needs pip install 'featx[onnx]'")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32)[:200], y[:200], X.astype(np.float32)[400:500]


MODELS = {
    "logistic": LinearProbeClassifier(Cs=10.0),
    "svm": LinearProbeClassifier("svm", Cs=1.0, tol=1e-2),
    "pca": make_pipeline(PCAWhitening(20), LinearProbeClassifier(Cs=10.0)),
    "power": make_pipeline(PowerNormalizer(0.5), Normalizer(), LinearProbeClassifier(Cs=1.0)),
    "scaled": make_pipeline(StandardScaler(), "passthrough", LinearProbeClassifier(Cs=1.0)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_classes", [2, 10])
def test_a_classifier_answers_as_before(digits, name, n_classes) -> None:
    X, y, new = digits
    seen = y < n_classes
    model = MODELS[name].fit(X[seen], y[seen])
    saved = SavedModel(model, certainty=learn_certainty(model, X[seen], y[seen]))
    _require_same(saved, np.concatenate([new, 1000 * new[:5], np.zeros((1, 64), np.float32)]))


def test_without_certainty_there_is_nothing_unknown(digits) -> None:
    X, y, new = digits
    saved = SavedModel(LinearProbeClassifier(Cs=1.0).fit(X, y))
    assert Answer(saved).outputs == ("label", "confidence", "scores")
    _require_same(saved, new)


def test_attributes_answer_as_before(digits) -> None:
    X, y, new = digits
    Y = np.stack([y % 2, y > 4, y == 0], axis=1).astype(float)
    model = AttributeClassifier(Cs=1.0, attribute_names=["odd", "large", "zero"]).fit(X, Y)
    _require_same(SavedModel(model, certainty=learn_certainty(model, X, Y)), new)


def _require_same(saved: SavedModel, X: np.ndarray) -> None:
    answer = Answer(saved)
    found = dict(zip(answer.outputs, answer(torch.from_numpy(X)), strict=True))
    for name, expected in predict(saved, X).items():
        # one rank of the training images may change where two novelties agree to float32
        step = 1.5 / len(saved.certainty.novelty.training) if name == "unknown" else 0
        off = np.abs(found[name].numpy().astype(float) - expected)
        assert np.quantile(off, 0.99) <= 1e-5, name
        assert off.max() <= max(1e-5, step) or name == "is_unknown"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(90, 61), (61, 90), (40, 40), (20, 33), (200, 37)])
@pytest.mark.parametrize(
    ("resize", "squash"), [(40, False), (41, False), (41, True), (None, False)]
)
def test_pixels_are_pillows_to_a_few_grey_values(interpolation, size, resize, squash) -> None:
    p = Preprocessing(resize_px=resize, crop_px=32, interpolation=interpolation, squash=squash)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = ImagePreprocessor(p)(Image.fromarray(noise))[0]
    found = Session(make_pixels(p).SerializeToString()).run(np.stack([noise, noise]))["view"]
    assert found.shape == (2, 32, 32, 3)
    off = np.abs(found[1].astype(int) - expected)
    assert off.mean() < 0.3
    # Noise is the hardest case; of bicubic see docs/decisions/deployment.md.
    assert off.max() <= (1 if interpolation == "bilinear" else 8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"crop_px": None}, "crop_px: got None.*--crop"), ({"interpolation": "box"}, "got 'box'")],
)
def test_preparations_without_a_counterpart_are_refused(changed, message) -> None:
    with pytest.raises(ParameterError, match=message):
        make_pixels(Preprocessing(**changed))


def test_views_without_a_counterpart_are_refused(tmp_path) -> None:
    encoder = Encoder("featx_small", augment="ten-crop")
    with pytest.raises(ParameterError, match="got 'ten-crop', expected 'none' or 'hflip'"):
        export_model(encoder, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_registers_are_no_patches_in_a_file_either() -> None:
    """A pooling made anew from its name would take four of five tokens for patches."""
    pytest.importorskip("timm", reason="timm is an extra")
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)
    encoder = Encoder("timm/test_vit3", weights=None, layers="last2", poolings="patch",
                      resize_px=96, crop_px=96, precision="float32")  # fmt: skip
    loaded = encoder.load(RunOptions("cpu", "torch"))
    spec = loaded.specs[0]
    found = loaded.backbone.as_module(spec.layer, spec.pooling)(torch.from_numpy(images))
    np.testing.assert_allclose(found.numpy(), encoder.encode(images), atol=1e-5)


def test_a_step_without_a_counterpart_is_named() -> None:
    model = make_pipeline(Normalizer("max"), LinearProbeClassifier())
    with pytest.raises(ParameterError, match=r"Normalizer\(norm='max'\) cannot be exported"):
        Answer(SavedModel(model))


def test_an_operator_without_a_counterpart_is_named() -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.i0e(x)

    with pytest.raises(BackboneError, match=r"'mine': .*'aten::special_i0e' has no counterpart"):
        to_onnx(Odd(), torch.zeros(2, 3), ("x", ["y"]), thing="backbone 'mine'")


def test_a_missing_package_names_its_install_command(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnx.parser", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[onnx\]'"):
        make_pixels(Preprocessing())


def test_an_output_replaces_its_own_kind_only(tmp_path, digits) -> None:
    X, y, _ = digits
    model = tmp_path / "m.featx"
    save_model(LinearProbeClassifier(Cs=1.0).fit(X, y), model)
    with pytest.raises(StoreWriteError, match="an output never replaces an input"):
        export_model(model, model)
    stranger = tmp_path / "their.onnx"
    stranger.write_bytes(b"\x08\x08\x12\x07pytorch")
    with pytest.raises(StoreWriteError, match="another kind of file"):
        export_model(model, stranger)
    ours = make_pixels(Preprocessing())
    (tmp_path / "ours.onnx").write_bytes(describe(ours, {}))
    with pytest.raises(BackboneError, match="no network is known"):  # so the name was accepted
        export_model(model, tmp_path / "ours.onnx")


RUNTIME = os.environ.get("FEATX_ONNXRUNTIME_WEB")  # its folder; default: fetched once


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model of the sample scenes, its file, what the command says, and its page or why none."""
    folder = tmp_path_factory.mktemp("exported")
    source, model = sample_data_dir() / "scenes", folder / "m"
    assert main(["train", str(source), "--out", str(model), "--precision", "float32"]) == 0
    words = ["export", str(model), str(folder / "scenes.onnx"), "--check", str(source), "--json"]
    try:
        find_runtime(RUNTIME)
        page: Path | str = folder / "scenes.html"
        words += ["--html", str(page), *(["--onnxruntime-web", RUNTIME] if RUNTIME else [])]
    except MissingDependencyError as err:
        page = str(err)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(words) == 0
    return folder / "scenes.onnx", json.loads(said.getvalue()), page


@pytest.mark.slow
def test_a_file_labels_pictures_without_featx(exported, capsys) -> None:
    path, result, _ = exported
    assert result["max_difference"] < 1e-4
    assert result["n_same_labels"] == result["n_samples"] > 50
    pictures = sorted((sample_data_dir() / "scenes").rglob("*.jpg"))[::10]
    text = (DOCS / "deploy.md").read_text("utf-8")
    example = re.search(r"```python\n(import json.*?)```", text, re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line]) <= 10
    script = path.parent / "label.py"
    script.write_text("import sys\nsys.modules['featx'] = sys.modules['torch'] = None\n" + example)
    told = [
        subprocess.run(
            [sys.executable, script, path, picture], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        for picture in pictures[:2]
    ]
    assert main(["predict", str(path.parent / "m"), *map(str, pictures[:2]), "--json"]) == 0
    predictions = json.loads(capsys.readouterr().out)["predictions"]
    assert told == [p["label"] for p in predictions]


@pytest.mark.slow
def test_openvino_answers_alike(exported, monkeypatch, capsys) -> None:
    import_openvino()  # without its telemetry
    monkeypatch.chdir(exported[0].parent)
    pictures = sorted((sample_data_dir() / "scenes").rglob("*.jpg"))[::10]
    check = ["--check", *map(str, pictures)]
    assert main(["export", "m", "pets.xml", *check, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["max_difference"] < 1e-4
    assert result["n_same_labels"] == result["n_samples"] == len(pictures)
    assert result["bytes"] == sum(Path(f"pets.{end}").stat().st_size for end in ("xml", "bin"))
    text = (DOCS / "deploy.md").read_text("utf-8")
    example = re.search(
        r"```python\n(import json, sys\nimport numpy as np, openvino.*?)```", text, re.DOTALL
    )[1]
    by_onnxruntime = Session(exported[0].read_bytes())
    recipe = load_model(exported[0].with_name("m")).recipe
    size = (recipe.preprocessing.resize_px,) * 2  # which is resized no more
    for path in pictures[::2]:
        monkeypatch.setattr(sys, "argv", ["label.py", "pets.xml", str(path)])
        found: dict = {}
        exec(example, found)
        picture = Image.open(path)
        resized, whole = picture.resize(size), picture.resize((400, 300))
        for image, tolerance in ((resized, 1e-4), (whole, 0.05)):
            pixels = np.asarray(image)[None]
            expected, answers = by_onnxruntime.run(pixels), found["session"](pixels)
            for name, values in expected.items():
                off = np.abs(np.asarray(answers[name], float) - values)
                assert off.max() <= tolerance * (values.max() if name == "features" else 1), name
        assert capsys.readouterr().out.split()[0] in result["classes"]
    notes = found["notes"]
    assert json.loads(notes["classes"]) == result["classes"]
    assert len(json.loads(notes["self_test"])) == 3


@pytest.fixture(scope="module")
def identity() -> bytes:
    """A model of ONNX that hands a picture on."""
    return describe(make_pixels(Preprocessing(resize_px=None, crop_px=32)), {"kind": "a test"})


def test_a_pair_is_replaced_as_a_whole_and_nothing_else(tmp_path, identity, monkeypatch) -> None:
    pytest.importorskip("openvino", reason="needs pip install 'featx[openvino]'")
    graph, numbers = tmp_path / "a.xml", tmp_path / "a.bin"
    for _ in range(2):
        assert write_pair(identity, graph) == graph.stat().st_size + numbers.stat().st_size
    assert sorted(tmp_path.iterdir()) == [numbers, graph]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(StoreWriteError, match=r"a\.xml': cannot be written \(killed\)"):
            write_pair(identity, graph)
    assert sorted(tmp_path.iterdir()) == [numbers]  # no graph that other numbers are read for
    for is_there in (True, False):
        numbers.write_bytes(b"somebody's")
        with pytest.raises(StoreWriteError, match=r"would replace '.*a\.bin', which featx"):
            write_pair(identity, graph)
        assert numbers.read_bytes() == b"somebody's"
        if is_there:
            numbers.unlink()
            write_pair(identity, graph)
    graph.write_text('<?xml version="1.0"?>\n<net name="theirs"/>')
    with pytest.raises(StoreWriteError, match="is a page or graph that featx did not make"):
        export_model(Encoder("featx_small"), graph)
    assert "theirs" in graph.read_text()


def test_a_page_beside_a_graph_of_openvinos_is_refused(tmp_path) -> None:
    with pytest.raises(ParameterError, match=r"'p\.html' beside '.*a\.xml', which no"):
        export_model("m", tmp_path / "a.xml", html="p.html")


# -- the page -----------------------------------------------------------------------------------


def test_a_page_of_a_network_alone_is_refused(tmp_path) -> None:
    with pytest.raises(ParameterError, match=r"'p\.html' for a network alone"):
        export_model(Encoder("featx_small"), tmp_path / "a.onnx", html="p.html")
    assert not list(tmp_path.iterdir())


def test_the_runtime_is_that_which_was_published(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    (tmp_path / "dist").mkdir()
    files = {"a.mjs": b"var x=1;export{x as default};", "a.wasm": b"\0asm"}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(_runtime, "DIGESTS", digests)
    monkeypatch.setattr(_runtime, "SCRIPT", "a.mjs")
    monkeypatch.setattr(_runtime, "WASM", "a.wasm")
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for name, data in files.items():
            (tmp_path / "dist" / name).write_bytes(data)
            package.add(tmp_path / "dist" / name, f"package/dist/{name}")
    assert find_runtime(tmp_path) == find_runtime(tmp_path / "dist") == (*files.values(),)
    monkeypatch.setattr(_runtime, "URL", archive.as_uri())
    assert find_runtime() == (*files.values(),)
    archive.unlink()
    assert find_runtime() == (*files.values(),)  # kept, and the archive is not
    (kept,) = (tmp_path / "hub" / "hub").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == sorted(files)
    (kept / "a.wasm").write_bytes(b"\0asm!")
    with pytest.raises(MissingDependencyError, match=r"cannot be fetched .*--onnxruntime-web"):
        find_runtime()
    (tmp_path / "dist" / "a.mjs").write_bytes(b"other")
    with pytest.raises(ParameterError, match=r"expected the folder of the npm package .*1\.27\.0"):
        find_runtime(tmp_path)


def test_a_page_holds_names_as_text() -> None:
    notes = {
        "kind": "classifier",
        "classes": ["</script><b>", "b"],
        "min_px": None,
        "self_test": [],
    }
    runtime = (
        b"var q=1,r=2;export{q as InferenceSession,r as env};\n//# sourceMappingURL=x",
        b"wasm",
    )
    page = render_page("<i>", b"model", notes, runtime)
    assert "</script><b>" not in page
    assert "<i>" not in page
    assert "globalThis.featxRuntime={InferenceSession:q,env:r};\n</script>" in page
    packed = re.search(r'id="model" type="text/plain">([^<]+)<', page)[1]
    assert gzip.decompress(base64.b64decode(packed)) == b"model"


@pytest.mark.slow
@needs_browser
def test_a_page_labels_dropped_and_chosen_pictures(exported, capsys) -> None:
    page = exported[2]
    if isinstance(page, str):
        pytest.skip(page)
    pictures = sorted((sample_data_dir() / "scenes").rglob("*.jpg"))[::12]
    assert main(["predict", str(page.with_name("m")), *map(str, pictures), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)["predictions"]
    driver = start_browser()
    try:
        size(driver, 390, 800)
        driver.get(page.as_uri())
        until(driver, "return document.body.dataset.ready")
        state = "return document.getElementById('state').textContent"
        assert driver.execute_script(state) == (
            "Ready. In a test on 3 pictures this browser gave the answers of featx."
        )
        data = base64.b64encode(pictures[0].read_bytes()).decode()
        driver.execute_script(DROP, data)
        until(driver, "return document.querySelectorAll('#answers li').length === 1")
        focused = "document.getElementById('files').focus();return document.activeElement.id"
        assert driver.execute_script(focused) == "files"  # by the keyboard alone
        driver.find_element("id", "files").send_keys("\n".join(map(str, pictures[1:])))
        until(
            driver, f"return document.querySelectorAll('#answers li').length === {len(pictures)}"
        )
        rows = driver.execute_script(ROWS)[::-1]  # the last answer is the first
        assert [label for label, _ in rows] == [p["label"] for p in expected]
        for (_, sure), prediction in zip(rows, expected, strict=True):
            assert float(sure.split(" %")[0]) / 100 == pytest.approx(
                prediction["confidence"], abs=0.1
            )
        assert driver.execute_script("return document.documentElement.scrollWidth") == 390
        assert not [e for e in driver.get_log("browser") if e["level"] == "SEVERE"]
        for scheme in ("light", "dark"):
            show_in(driver, scheme)
            assert violations(driver) == []
    finally:
        driver.quit()


DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
const dropped = new DataTransfer();
dropped.items.add(new File([bytes], "dropped.jpg", {type: "image/jpeg"}));
document.getElementById("drop").dispatchEvent(
  new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
"""
ROWS = """
return [...document.querySelectorAll("#answers li")].map((row) =>
  [row.querySelector("h2").textContent, row.querySelector(".sure").textContent]);
"""
