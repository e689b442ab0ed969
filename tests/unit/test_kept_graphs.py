"""A few images need no torch, once a network's graph is kept, and the answer is torch's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from featx._optional import is_installed
from featx.cli.main import main
from featx.engines import kept, sessions
from featx.engines.conversion import to_onnx, to_openvino
from featx.engines.graphs import import_openvino
from featx.engines.kept import Made, graphs_dir, is_wanted, keep_graph, load_graph
from featx.engines.placement import has_bfloat16
from featx.errors import BackboneError
from featx.extraction import Encoder, RunOptions
from featx.extraction import kept as networks
from featx.extraction.embed import embed_images
from featx.extraction.kept import KeptNetwork, keep_network, load_soon
from featx.images import sample_data_dir

CPU = RunOptions(device="cpu", progress=False)
needs_openvino = pytest.mark.skipif(
    not is_installed("openvino"), reason="needs pip install 'featx[openvino]'"
)
HAS_BFLOAT16 = has_bfloat16(torch.device("cpu"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEATX_GRAPHS", str(tmp_path / "graphs"))
    return tmp_path / "graphs"


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3, stride=2)

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        return self.conv(view.permute(0, 3, 1, 2).float() / 255).mean((2, 3))


@pytest.fixture(params=["openvino", "onnxruntime"])
def runtime(request, monkeypatch: pytest.MonkeyPatch) -> str:
    """What of the two runs graphs, whichever a plain install has on this machine."""
    pytest.importorskip(request.param)
    if request.param == "onnxruntime":
        pytest.importorskip("onnx")
        monkeypatch.setattr(sessions, "is_installed", lambda name: name != "openvino")
    return request.param


def make(runtime: str) -> Made:
    net = Tiny()
    views = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    x = torch.from_numpy(views)
    if runtime == "openvino":
        graph = to_openvino(net, x[:2], thing="tiny")
    else:
        graph = to_onnx(net, x[:2], ("view", ["features"]), thing="tiny")
    with torch.no_grad():
        vectors = net(x).numpy()
    return Made(graph, views, vectors, vectors)


def refuse(*_: object) -> Made:
    raise AssertionError("made again")


def test_a_kept_graph_gives_torchs_vectors(folder, runtime) -> None:
    assert load_graph("a", "float32") is None
    keep_graph("a", "float32", make)
    keep_graph("a", "float32", refuse)
    graph, made = load_graph("a", "float32"), make(runtime)
    assert graph.runtime == runtime
    assert np.abs(graph.begin(made.views)() - made.exact).max() < 1e-6
    assert sorted(path.name for path in folder.iterdir()) == ["a"]  # nothing half written beside


@needs_openvino
@pytest.mark.skipif(not HAS_BFLOAT16, reason="needs a CPU with bfloat16")
def test_bfloat16_is_openvinos(folder) -> None:
    keep_graph("b", "bfloat16", make)
    graph, made = load_graph("b", "bfloat16"), make("openvino")
    assert np.abs(graph.begin(made.views)() - made.exact).max() < 0.01


@pytest.mark.parametrize("name", ["the network", "trial.npz", "note.json"])
def test_a_damaged_graph_is_said_and_made_anew(folder, runtime, caplog, name) -> None:
    keep_graph("a", "float32", make)
    largest = {"openvino": "graph.bin", "onnxruntime": "graph.onnx"}[runtime]
    path = folder / "a" / (largest if name == "the network" else name)
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    assert load_graph("a", "float32") is None
    assert f"{folder / 'a'}: cannot be read" in caplog.text
    keep_graph("a", "float32", make)
    assert load_graph("a", "float32") is not None


@needs_openvino
@pytest.mark.parametrize("other", [{"featx": "99"}, {"openvino": "1.0"}, {"file": "graph.onnx"}])
def test_a_graph_of_another_version_or_format_is_made_anew(folder, caplog, other) -> None:
    keep_graph("a", "float32", make)
    path = folder / "a" / "note.json"
    note = json.loads(path.read_text())
    path.write_text(json.dumps({**note, "made": {**note["made"], **other}}))
    with caplog.at_level("INFO"):
        assert load_graph("a", "float32") is None
    assert f"{folder / 'a'}: made for" in caplog.text
    keep_graph("a", "float32", make)
    assert load_graph("a", "float32") is not None


def test_a_graph_that_answers_otherwise_is_never_used(folder, runtime) -> None:
    made = make(runtime)
    other = Made(made.graph, made.views, made.exact * 1.001, made.by_torch)
    keep_graph("a", "float32", lambda _: other)
    assert (
        "from torch's in float32" in json.loads((folder / "a" / "note.json").read_text())["reason"]
    )
    assert load_graph("a", "float32") is None


@needs_openvino
def test_what_cannot_be_converted_is_tried_once(folder) -> None:
    def fail(_: str) -> Made:
        raise BackboneError("no such operator")

    keep_graph("a", "float32", fail)
    keep_graph("a", "float32", refuse)
    assert load_graph("a", "float32") is None


@needs_openvino
@pytest.mark.parametrize(
    ("what", "error"), [("numpy.savez", OSError), ("openvino.save_model", RuntimeError)]
)
def test_a_full_or_closed_disk_costs_the_graph_alone(
    folder, monkeypatch, caplog, what, error
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("No space left on device")

    import_openvino()
    monkeypatch.setattr(what, fail)
    keep_graph("a", "float32", make)
    assert "No space left" in caplog.text
    assert not list(folder.iterdir())

    def refuse_folder(*_: object, **__: object) -> None:
        raise OSError("closed")

    monkeypatch.setattr(kept.Path, "mkdir", refuse_folder)
    keep_graph("a", "float32", refuse)  # nothing is converted that cannot be kept


@needs_openvino
def test_graphs_that_were_opened_longest_ago_make_room(folder, monkeypatch) -> None:
    for age, name in enumerate("abc"):
        keep_graph(name, "float32", make)
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    n_bytes = sum(path.stat().st_size for path in (folder / "a").iterdir())
    monkeypatch.setattr(kept, "MAX_BYTES", 3 * n_bytes + 99)
    assert load_graph("c", "float32") is not None  # the oldest, now the one used last
    keep_graph("d", "float32", make)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "c", "d"]
    monkeypatch.setattr(kept, "MAX_BYTES", 1)
    keep_graph("e", "float32", make)
    assert [path.name for path in folder.iterdir()] == ["e"]


@needs_openvino
def test_it_can_be_switched_off_and_lies_beside_torchs_weights(monkeypatch) -> None:
    monkeypatch.setenv("FEATX_GRAPHS", "off")
    assert not is_wanted("float32")
    monkeypatch.delenv("FEATX_GRAPHS")
    assert is_wanted("float32")
    assert not is_wanted("float16")
    for name, value in (("TORCH_HOME", "/a/b"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/d")):
        monkeypatch.setenv(name, value)
        with_torch = graphs_dir()
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "torch")
            assert graphs_dir() == with_torch == Path(torch.hub.get_dir()) / "featx-graphs"
        monkeypatch.delenv(name)


# -- networks -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs() -> list[str]:
    return sorted(map(str, (sample_data_dir() / "scenes").rglob("*.jpg")))[::12]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "precision", "runtime"),
    [
        ({}, "float32", "onnxruntime"),
        ({"augment": "hflip:keep"}, "float32", "openvino"),
        (
            {"layers": "blocks.3", "poolings": "gem(3)", "augment": "ten-crop"},
            "float32",
            "openvino",
        ),
        ({}, "bfloat16", "openvino"),
    ],
    ids=["plain", "mirrored", "another-layer", "bfloat16"],
    indirect=["runtime"],
)
def test_features_are_torchs(folder, photographs, options, precision, runtime) -> None:
    if precision == "bfloat16" and not HAS_BFLOAT16:
        pytest.skip("needs a CPU with bfloat16")
    loaded = Encoder("featx_small", precision=precision, **options).load(
        RunOptions(device="cpu", engine="torch", progress=False)
    )
    expected = embed_images(loaded, photographs).features
    recipe = loaded.recipes[0]
    asked = {"thing": "a test", "n_images": len(photographs)}
    load_soon(recipe, {}, CPU, **asked)  # keeps it
    soon = load_soon(recipe, {}, CPU, **asked)
    assert isinstance(soon.backbone, KeptNetwork)
    found = embed_images(soon, photographs).features
    assert soon.backbone.n_images == len(photographs)
    if precision == "float32":
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
        views = [soon.preprocessor()(Image.open(path)) for path in photographs[:2]]
        np.testing.assert_allclose(soon.embed_views(views), found[:2], rtol=1e-4, atol=1e-4)
    else:
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        assert ((found * expected).sum(1) / lengths).min() > 0.9995


@pytest.mark.parametrize(
    ("recipe_options", "run", "n_images"),
    [
        ({"precision": "float16"}, CPU, 1),
        ({"crop_px": None}, CPU, 1),
        ({"augment": "multi-scale"}, CPU, 1),
        ({}, RunOptions(device="cpu", engine="torch"), 1),
        ({}, RunOptions(device="auto"), 128),
        ({"augment": "hflip"}, RunOptions(device="auto"), 64),
    ],
)
def test_other_requests_are_torchs(folder, monkeypatch, recipe_options, run, n_images) -> None:
    monkeypatch.setattr(networks, "_may_have_gpu", lambda: True)  # which many images are worth
    recipe = tiny_recipe(**recipe_options)
    monkeypatch.setattr(networks, "load_by_recipe", lambda *_, **__: "torch")
    monkeypatch.setattr(networks, "keep_network", refuse)
    assert load_soon(recipe, {}, run, thing="a test", n_images=n_images) == "torch"
    assert load_soon(tiny_recipe(), {}, run, weights="w.pth", thing="x", n_images=1) == "torch"


def tiny_recipe(crop_px: int | None = 160, **options: str):
    from featx.recipe import Preprocessing, Recipe

    fields = {"augment": "none", "precision": "float32", **options}
    return Recipe(
        "featx_small", "0" * 64, "penultimate", "none",
        preprocessing=Preprocessing(resize_px=182, crop_px=crop_px), n_features=1280, **fields,
    )  # fmt: skip


def test_weights_that_are_gone_leave_things_as_they_were(folder) -> None:
    keep_network(tiny_recipe(), {})  # whose digest is no network's
    assert load_graph(tiny_recipe().fingerprint, "float32") is None


SCRIPT = """
import json, sys
from featx.cli.main import main
code = main(sys.argv[1:])
heavy = [name for name in ("torch", "pandas", "scipy.stats") if name in sys.modules]
print(json.dumps(heavy), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.slow
@needs_openvino
def test_once_a_graph_is_kept_no_command_imports_torch(folder, tmp_path, capsys) -> None:
    scenes = sample_data_dir() / "scenes"
    image = min((sample_data_dir() / "objects").rglob("*.jpg"))
    store, index, model, new = (str(tmp_path / name) for name in ("s.h5", "index", "model", "new"))
    options = ["--precision", "float32", "--workers", "0", "--device", "cpu"]
    assert main(["extract", str(scenes), "--store", store, *options]) == 0
    run_command(folder, ["index", store, "--out", index])
    run_command(folder, ["train", store, "--out", model])
    again = json.loads(run_command(folder, ["extract", str(image), "--store", new, *options]))
    assert again["engine"] == "openvino"
    assert [p.name for p in folder.iterdir() if p.is_dir()] == [again["fingerprint"]]
    for command in (["query", index, str(image), "-k", "5"], ["predict", model, str(image)]):
        capsys.readouterr()
        os.environ["FEATX_GRAPHS"] = "off"
        assert main([*command, "--json"]) == 0
        expected = json.loads(capsys.readouterr().out)
        require_alike(json.loads(run_command(folder, command)), expected)


def run_command(folder: Path, words: list[str]) -> str:
    """Run a command in a process of its own, and require that it imports nothing heavy."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words, "--json"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "FEATX_GRAPHS": str(folder)},
    )  # fmt: skip
    assert json.loads(done.stderr.splitlines()[-1]) == []
    return done.stdout


def require_alike(found: object, expected: object) -> None:
    """Require the same, numbers to 1e-4."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            require_alike(a, b)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4)
    else:
        assert found == expected
