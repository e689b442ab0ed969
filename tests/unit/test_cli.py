"""The command line: keys, exit codes, one-line errors, and the library underneath."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image

from featx.cli._messages import keep_known_options
from featx.cli.main import COMMANDS, build_parser, main
from featx.cli.options import ENCODER, RUN, read_options, read_preset
from featx.estimators import PRESETS
from featx.extraction import Encoder, RunOptions
from featx.store import open_store, store_info

ROOT = Path(__file__).resolve().parents[2]
FEATX = [sys.executable, "-c", "from featx.cli.main import main; raise SystemExit(main())"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with weights, 24 training and 6 test pictures of three colours, and a bad one."""
    root = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), root / "w.pth")
    rng = np.random.default_rng(0)
    for i in range(30):
        colour = ("red", "green", "blue")[i % 3]
        pixels = rng.integers(0, 90, (48, 48, 3), np.uint8)
        pixels[..., i % 3] += 140
        place = root / ("train" if i < 24 else "test") / colour / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    (root / "train" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    for name in ("train", "test"):
        assert run(*extract(root, name)) == 0
    assert run("train", root / "train.h5", "--out", root / "model") == 0
    assert run("index", root / "train.h5", "--out", root / "index") == 0
    return root


def extract(root: Path, name: str) -> list:
    net = ["--backbone", "squeezenet1_1", "--weights", root / "w.pth", "--precision", "float32"]
    return ["extract", root / name, "--store", root / f"{name}.h5", "--workers", "0", *net]


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


def test_extract_reports_what_it_did_and_what_it_found_again(world, capsys) -> None:
    found = result(capsys, *extract(world, "train"))
    assert (found["images"], found["extracted"], found["reused"], found["failed"]) == (
        25,
        0,
        24,
        1,
    )
    assert found["fingerprint"] == open_store(world / "train.h5").fingerprint
    assert run(*extract(world, "train")) == 0
    text = capsys.readouterr().out
    assert "25 images: 0 extracted, 24 reused, 1 failed" in text
    assert "featx info" in text


def test_info_without_a_store_describes_the_machine(capsys) -> None:
    assert run("info", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert torch.__version__.startswith(found["packages"]["torch"])
    assert found["packages"]["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert run("info") == 0
    assert f"\nnumpy            {np.__version__}\n" in capsys.readouterr().out


def test_info_verify_and_export(world, capsys, tmp_path) -> None:
    found = result(capsys, "info", world / "train.h5")
    assert (found["n_samples"], found["n_features"]) == (24, 512)
    assert [Path(f["path"]).name for f in found["failures"]] == ["broken.jpg"]
    assert found["tables"][0]["recipe"]["backbone"] == "squeezenet1_1"
    assert result(capsys, "verify", world / "train.h5") == {
        "ok": True, "problems": [], "n_rows_checked": 24,
    }  # fmt: skip
    result(capsys, "export", world / "train.h5", tmp_path / "o.npz")
    with np.load(tmp_path / "o.npz", allow_pickle=False) as arrays:
        assert arrays["features"].shape == (24, 512)
        assert sorted(set(arrays["labels"])) == ["blue", "green", "red"]
    for command in ("info", "verify"):
        assert run(command, world / "train.h5") == 0
    text = capsys.readouterr().out
    assert "broken.jpg: damaged JPEG file" in text
    assert ": 24 images, each 512 numbers of float32\n  backbone: squeezenet1_1\n" in text
    assert re.search(r"\n  images made into: a crop of \d+ px from \d+ px, bilinear\n", text)
    assert "ok: 24 rows fit their checksums" in text


def test_verify_exits_with_1_where_bytes_were_changed(world, capsys, tmp_path) -> None:
    data = bytearray((world / "train.h5").read_bytes())
    with open_store(world / "train.h5") as store:
        at = data.find(store[5].tobytes())
    assert at > 0
    data[at] ^= 1
    (tmp_path / "f.h5").write_bytes(data)
    assert run("verify", tmp_path / "f.h5", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert "rows 0..23" in found["problems"][0]
    assert run("verify", tmp_path / "f.h5") == 1
    out, err = capsys.readouterr()
    assert "rows 0..23 cannot be read" in out
    assert "1 problem, expected none; a damaged store cannot be mended: extract" in err
    assert "featx verify says" not in out + err


def test_train_predict_evaluate(world, capsys) -> None:
    found = result(capsys, "train", world / "train.h5", "--out", world / "model")
    assert found["classes"] == ["blue", "green", "red"]
    assert found["cv_score"] == 1.0
    assert found["C"] > 0
    (one,) = result(capsys, "predict", world / "model", world / "test" / "red" / "24.png")[
        "predictions"
    ]
    assert one["label"] == "red"
    assert list(one["scores"]) == ["blue", "green", "red"]
    assert sum(one["scores"].values()) == pytest.approx(1)
    found = result(capsys, "evaluate", world / "model", world / "test.h5")
    assert found["accuracy"] == found["balanced_accuracy"] == found["map"] == 1.0
    low, high = found["intervals"]["accuracy"]
    assert low == pytest.approx(1 / (1 + 1.959964**2 / found["n_samples"]))  # Wilson's, all right
    assert high == 1.0
    assert found["intervals"]["map"] is None


def test_predict_goes_on_past_a_bad_image(world, capsys) -> None:
    found = result(capsys, "predict", world / "model", world / "train")
    assert len(found["predictions"]) == 24
    assert [Path(f["path"]).name for f in found["failures"]] == ["broken.jpg"]
    assert run("predict", world / "model", world / "train" / "red") == 0
    told = capsys.readouterr()
    assert "broken.jpg: could not be read: damaged JPEG file" in told.err
    assert "broken" not in told.out


@pytest.fixture(scope="module")
def detector(world) -> Path:
    """A model of two attributes."""
    lines = [
        f"{p},{int(p.parent.name == 'red')},{int(p.parent.name == 'blue')}"
        for p in sorted((world / "train").rglob("*.png"))
    ]
    (world / "a.csv").write_text("\n".join(["path,is_red,is_blue", *lines]) + "\n")
    words = ["train", world / "train.h5", "--task", "attributes", "--labels", world / "a.csv"]
    assert run(*words, "--out", world / "detector") == 0
    return world / "detector"


def test_predictions_of_a_store_are_those_of_its_images(world, capsys, tmp_path) -> None:
    """Would catch a store that is taken for an image because of its name."""
    store = shutil.copy(world / "test.h5", tmp_path / "features.png")
    of_store = result(capsys, "predict", world / "model", store)["predictions"]
    of_images = result(capsys, "predict", world / "model", world / "test")["predictions"]
    assert [(p["path"], p["label"]) for p in of_store] == [
        (p["path"], p["label"]) for p in of_images
    ]
    for a, b in zip(of_store, of_images, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-4)
        assert a["confidence"] == a["scores"][a["label"]] == max(a["scores"].values())
    error = refused(capsys, "predict", world / "model", store, world / "test")
    assert "expected stores alone or none" in error
    assert "--table: got 'x' without a store" in refused(
        capsys, "predict", world / "model", world / "test", "--table", "x"
    )


def test_the_table_with_the_models_recipe_is_taken(world, capsys, tmp_path) -> None:
    """Would catch predictions refused because the store has another table too."""
    words = extract(world, "test")
    words[words.index("--store") + 1] = tmp_path / "s.h5"
    assert run(*words, "--pooling", "max") == 0
    assert "pooling: got 'max', expected 'avg'" in refused(
        capsys, "predict", world / "model", tmp_path / "s.h5"
    )
    assert run(*words) == 0
    for command in ("predict", "evaluate"):
        assert run(command, world / "model", tmp_path / "s.h5") == 0


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predictions_are_written_as_a_table(world, detector, capsys, tmp_path, suffix) -> None:
    out = tmp_path / f"p{suffix}"
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    for _ in range(2):  # an older table is replaced
        found = result(capsys, "predict", world / "model", world / "train", "--out", out)
        table = read(out)
        assert list(table) == ["path", "label", "confidence", "unknown", "is_unknown"]
        for name in table:
            assert table[name].tolist() == [p[name] for p in found["predictions"]]
    found = result(capsys, "predict", detector, world / "test.h5", "--out", out)
    table = read(out)
    scores = ["score.is_red", "score.is_blue"]
    certainty = ["confidence", "unknown", "is_unknown"]
    assert list(table) == ["path", "is_red", "is_blue", *scores, *certainty]
    assert table["is_red"].tolist() == [int("is_red" in p["label"]) for p in found["predictions"]]
    assert table["score.is_blue"].tolist() == [
        p["scores"]["is_blue"] for p in found["predictions"]
    ]


def test_labels_made_by_hand_are_not_replaced_by_predictions(world, detector, capsys) -> None:
    (world / "l.csv").write_text("path,label\na.png,red\n")
    for model, name in ((world / "model", "l.csv"), (detector, "a.csv")):
        before = (world / name).read_bytes()
        error = refused(capsys, "predict", model, world / "test.h5", "--out", world / name)
        assert "is a text file that featx did not make" in error
        assert (world / name).read_bytes() == before


def test_an_evaluation_counts_the_images_that_the_model_was_trained_on(
    world, detector, capsys, tmp_path
) -> None:
    """By content: would catch images known by path alone, or a model that keeps nothing."""
    found = result(capsys, "evaluate", world / "model", world / "train.h5")
    assert found["n_seen_in_training"] == found["n_samples"] == 24
    assert (
        result(capsys, "evaluate", world / "model", world / "test.h5")["n_seen_in_training"] == 0
    )
    words = ["evaluate", detector, world / "train.h5", "--labels", world / "a.csv"]
    assert result(capsys, *words)["n_seen_in_training"] == 24
    shutil.copytree(world / "test", tmp_path / "new")
    shutil.copy(world / "train" / "red" / "0.png", tmp_path / "new" / "red" / "copy.png")
    words = extract(world, "test")
    words[1:4] = [tmp_path / "new", "--store", tmp_path / "new.h5"]
    assert run(*words) == 0
    assert result(capsys, "evaluate", world / "model", tmp_path / "new.h5")[
        "n_seen_in_training"
    ] == 1  # fmt: skip
    page = tmp_path / "page.html"
    assert run("evaluate", world / "model", tmp_path / "new.h5", "--html", page) == 0
    assert "the model was trained on 1 of these images" in capsys.readouterr().out
    head = page.read_text(encoding="utf-8").partition("</header>")[0]
    assert "The model was trained on 1 of these images" in head


def test_a_model_that_does_not_know_its_images_says_so(world, capsys, tmp_path) -> None:
    from featx.estimators import LinearProbeClassifier, save_model

    with open_store(world / "train.h5") as store:
        model = LinearProbeClassifier().fit(store[:], store.labels)
        save_model(model, tmp_path / "m", recipe=store.recipe)
    words = ["evaluate", tmp_path / "m", world / "train.h5"]
    assert result(capsys, *words)["n_seen_in_training"] is None
    assert run(*words) == 0
    assert "is not known" in capsys.readouterr().out


def test_models_of_numbers_are_evaluated_against_labels_as_text(world, capsys, tmp_path) -> None:
    """Would catch the accuracy 0 of comparing 3 with '3'."""
    from featx.estimators import LinearProbeClassifier, save_model
    from featx.store import write_features

    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    X = np.eye(3)[y] + rng.normal(0, 0.1, (30, 3))
    store = write_features(
        tmp_path / "f.h5", X, paths=[str(i) for i in range(30)], labels=[str(i) for i in y]
    )
    for numbers in (y.astype(float), y):  # pandas makes floats of numbers beside missing ones
        save_model(LinearProbeClassifier().fit(store[:], numbers), tmp_path / "m")
        found = result(capsys, "evaluate", tmp_path / "m", tmp_path / "f.h5")
        assert (found["accuracy"], found["n_unknown"]) == (1.0, 0)
    assert result(capsys, "predict", tmp_path / "m", tmp_path / "f.h5")["predictions"][1][
        "label"
    ] == "1"  # fmt: skip
    error = refused(capsys, "predict", tmp_path / "m", world / "test.h5")
    assert "got vectors of 512 numbers, expected 3" in error


def test_a_figure_that_was_not_measured_is_no_nan(world, capsys, tmp_path) -> None:
    lines = [
        f"{world}/train/{name}/{i}.png,{name}" for i, name in enumerate(["red", "green", "blue"])
    ]
    (tmp_path / "l.csv").write_text("\n".join(["path,label", *lines]))
    words = ["train", world / "train.h5", "--labels", tmp_path / "l.csv", "--out", tmp_path / "m"]
    assert run(*words) == 0
    text = capsys.readouterr().out
    assert "accuracy not measured, in " in text
    assert "every class has a single image" in text
    assert "nan" not in text.lower()


def test_labels_come_from_a_csv_joined_by_path(world, capsys, tmp_path) -> None:
    lines = [
        f"{p.relative_to(world)},{'warm' if p.parent.name == 'red' else 'cold'}"
        for p in sorted((world / "train").rglob("*.png"))[:20]
    ]
    (tmp_path / "l.csv").write_text("\n".join(["path,label", *lines]))
    found = result(
        capsys,
        "train",
        world / "train.h5",
        "--labels",
        tmp_path / "l.csv",
        "--out",
        tmp_path / "m",
    )
    assert found["classes"] == ["cold", "warm"]
    assert found["n_samples"] == 20


def test_attributes_with_missing_labels(world, capsys, tmp_path) -> None:
    lines = []
    for i, p in enumerate(sorted((world / "train").rglob("*.png"))):
        red = "" if i == 3 else int(p.parent.name == "red")
        lines.append(f"{p},{red},{int(p.parent.name == 'blue')},note {i}")
    (tmp_path / "a.csv").write_text("\n".join(["path,is_red,is_blue,note", *lines]))
    words = ["train", world / "train.h5", "--task", "attributes", "--labels", tmp_path / "a.csv"]
    error = refused(capsys, *words, "--out", tmp_path / "m")
    assert "column 'note' has 'note 0', expected 0, 1 or nothing" in error
    words += ["--attributes", "is_red", "is_blue", "--out", tmp_path / "m"]
    found = result(capsys, *words)
    assert found["classes"] == ["is_red", "is_blue"]
    assert set(found["C"]) == {"is_red", "is_blue"}
    found = result(
        capsys, "evaluate", tmp_path / "m", world / "train.h5", "--labels", tmp_path / "a.csv"
    )
    assert found["map"] > 0.95
    found = result(capsys, "predict", tmp_path / "m", world / "test" / "blue")
    assert found["predictions"][0]["label"] == ["is_blue"]


def test_index_and_query_by_image(world, capsys, tmp_path) -> None:
    assert result(capsys, "index", world / "train.h5", "--out", world / "index")["n_samples"] == 24
    image = world / "train" / "green" / "1.png"
    words = ["query", world / "index", image, world / "test" / "red", "-k", "3"]
    found = result(capsys, *words, "--html", tmp_path / "q.html")
    first = found["results"][0]
    assert first["query"] == first["matches"][0]["path"] == str(image)
    assert first["matches"][0]["distance"] < 1e-5
    assert [len(r["matches"]) for r in found["results"]] == [3, 3, 3]
    assert found["report"] == str(tmp_path / "q.html")
    page = (tmp_path / "q.html").read_text()
    assert page.count("data:image/jpeg") == 3 + 9
    assert run(*words) == 0
    assert str(image) in capsys.readouterr().out


def test_backbones_by_pattern(capsys) -> None:
    found = result(capsys, "backbones", "mobilenet*")
    assert found["backbones"][0]["name"] == "mobilenet_v2"
    assert found["backbones"][0]["weights"] == ["IMAGENET1K_V2", "IMAGENET1K_V1"]
    assert len(result(capsys, "backbones", "bilenet")["backbones"]) == len(found["backbones"])
    assert "nothing fits 'resnot18'" in refused(capsys, "backbones", "resnot18")
    assert run("backbones", "featx") == 0
    (_, base, small) = capsys.readouterr().out.splitlines()
    assert "3.3 M   192  Apache-2.0  in the package" in base
    assert "2.2 M   160  Apache-2.0  in the package" in small


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["extract", "nowhere", "--store", "x.h5"], ["'nowhere': not found"]),
        (["extract", "ROOT/test", "--store", "x.h5", "--backbone", "mobilnet_v2"],
         ["got 'mobilnet_v2'", "Did you mean 'mobilenet_v2'"]),
        (["extract", "ROOT/test", "--store", "x.h5", "--backbone", "resnet18", "--weights",
          "ROOT/w.pth"], ["missing", "unexpected"]),
        (["info", "ROOT/w.pth"], ["w.pth", "expected an HDF5 file"]),
        (["info", "ROOT/trian.h5"], ["there is no such file", "Did you mean 'train.h5'"]),
        (["predict", "ROOT/w.pth", "ROOT/test"], ["w.pth"]),
        (["predict", "ROOT/none", "ROOT/test"], ["none"]),
        (["query", "ROOT/train.h5", "ROOT/test"], ["of another kind (store); give a file"]),
        (["train", "ROOT/train.h5", "--out", "ROOT/no/such/m"], ["no/such"]),
        (["export", "ROOT/train.h5", "ROOT/x.txt"], ["x.txt", ".npz"]),
        (["train", "ROOT/train.h5", "--labels", "ROOT/none.csv", "--out", "m"], ["none.csv"]),
        (["audit", "ROOT/nix.h5"], ["nix.h5", "Its folder has "]),
        (["info", "ROOT/no/nix.h5"], ["cannot be read either"]),
    ],
    ids=lambda v: "-".join(v[:2]) if isinstance(v, list) else "",
)  # fmt: skip
def test_errors_are_one_line_that_names_the_thing(world, capsys, words, says) -> None:
    error = refused(capsys, *(w.replace("ROOT", str(world)) for w in words))
    assert error.startswith(f"featx {words[0]}: ")
    for part in says:
        assert part in error


def test_another_recipe_is_refused_with_what_differs(world, capsys, tmp_path) -> None:
    words = extract(world, "test")
    words[words.index("--store") + 1] = tmp_path / "s.h5"
    assert run(*words, "--pooling", "max") == 0
    error = refused(capsys, "evaluate", world / "model", tmp_path / "s.h5")
    assert "pooling: got 'max', expected 'avg'" in error


def test_a_source_without_one_good_image_exits_with_1(world, capsys, tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no")
    words = extract(world, "test")
    words[1:4] = [tmp_path / "a.jpg", "--store", tmp_path / "f.h5"]
    assert run(*words) == 1
    assert run("predict", world / "model", tmp_path / "a.jpg") == 1


def test_rows_of_other_sources_and_images_without_label_are_counted(
    world, capsys, tmp_path
) -> None:
    words = extract(world, "test")
    words[3] = tmp_path / "f.h5"
    assert result(capsys, *words)["elsewhere"] == 0
    words[1] = world / "test" / "red" / "24.png"
    assert result(capsys, *words)["elsewhere"] == 5
    (tmp_path / "l.csv").write_text(
        "path,label\n"
        + "".join(f"{p},{p.parent.name}\n" for p in sorted((world / "test").rglob("*.png"))[:4])
    )
    found = result(
        capsys, "train", tmp_path / "f.h5", "--labels", tmp_path / "l.csv", "--out", tmp_path / "m"
    )
    assert found["n_unlabelled"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("query ROOT/index ROOT/test -k 0", "-k: got 0"),
        ("query ROOT/index ROOT/test --batch-size 0", "--batch-size: got 0"),
        ("extract ROOT/test --store ROOT/new.h5 --resize 0", "--resize: got 0"),
        ("extract ROOT/test --store ROOT/new.h5 --crop -3", "--crop: got -3"),
        ("extract ROOT/test --store ROOT/new.h5 --pooling men", "--pooling: got 'men'"),
        ("index ROOT/train.h5 --out ROOT/j --target-recall nan", "--target-recall: got nan"),
        ("duplicates ROOT/train.h5 --threshold 7", "--threshold: got 7"),
        ("compare ROOT/test --store ROOT/c.h5 --folds 1", "--folds: got 1"),
        ("finetune ROOT/one --out ROOT/t.safetensors", "labels: got one class (red)"),
        (
            "train ROOT/train.h5 --labels ROOT/one.csv --out ROOT/n",
            "labels: got one class (red)",
        ),
        ("bench ROOT/test --images 0", "--images: got 0"),
        ("query ROOT/index --text dog --rerank spatial", "--rerank: got 'spatial' with words"),
    ],
    ids=lambda v: v.split()[0] + v.split()[-2] if " ROOT" in v else "",
)
def test_messages_name_the_option_and_not_the_parameter(world, capsys, words, says) -> None:
    if not (world / "one").exists():
        shutil.copytree(world / "test" / "red", world / "one" / "red")
        (world / "one.csv").write_text(
            "path,label\n" + "".join(f"train/red/{i}.png,red\n" for i in (0, 3))
        )
    error = refused(capsys, *(w.replace("ROOT", str(world)) for w in words.split()))
    assert error.startswith(f"featx {words.split()[0]}: {says}")
    assert not re.search(r"\b[a-z]+_[a-z_]+\b", re.sub(r"'[^']*'|/\S+", "", error)), error


def test_wrong_usage_exits_with_2(capsys) -> None:
    for words, says in ((["extract"], "SOURCE"), (["extrct", "x"], "Did you mean 'extract'")):
        with pytest.raises(SystemExit, match="2"):
            run(*words)
        assert says in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run("compare", "x", "--store", "f.h5", "--weigths", "X", "--precison", "int8")
    error = capsys.readouterr().err
    assert error.startswith("usage: featx compare [-h] --store F.h5 [--backbone NAME[=FILE]]")
    assert "featx compare: unrecognized arguments: --weigths X --precison int8" in error
    with pytest.raises(SystemExit, match="2"):
        run("info", "--josn")
    assert "unrecognized arguments: --josn. Did you mean '--json'?" in capsys.readouterr().err


def test_each_command_has_one_line_of_help_at_80_columns(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = build_parser("").format_help().splitlines()
    for name, text in COMMANDS.items():
        assert any(line.split() == [name, *text.split()] for line in lines), name


def test_warnings_have_the_time_and_quiet_hides_progress(capsys, monkeypatch) -> None:
    import warnings

    from featx import _progress

    monkeypatch.setattr(_progress, "LINE_EVERY_S", 0.0)

    def works(_) -> dict:
        with _progress.Progress(4, "work", enabled=True) as progress:
            progress.advance(2)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("look\nhere", stacklevel=1)
        return {}

    monkeypatch.setattr("featx.cli.info.run", works)
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    warned = rf"{stamp} featx info: warning: look here\n"
    assert run("info", "x") == 0
    assert re.fullmatch(rf"{stamp} work: 2/4 img, .*\n{warned}", capsys.readouterr().err)
    assert run("info", "x", "--quiet") == 0
    assert re.fullmatch(warned, capsys.readouterr().err)


def test_a_refusal_is_one_line_whatever_was_warned_of_before(capsys, monkeypatch) -> None:
    import warnings

    from featx.errors import ParameterError

    def refuses(_) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("two classes", stacklevel=1)
        raise ParameterError("k: got 0, expected 1")

    monkeypatch.setattr("featx.cli.info.run", refuses)
    assert refused(capsys, "info", "x") == "featx info: k: got 0, expected 1\n"


@pytest.mark.parametrize("when", ["run", "add_arguments"])
def test_an_interruption_is_one_line_whenever_it_comes(capsys, monkeypatch, when) -> None:
    def stopped(_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"featx.cli.info.{when}", stopped)
    assert run("info", "x") == 130
    assert capsys.readouterr().err == "featx info: interrupted\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), "'/a/b': Permission denied, expected"),
        (OSError(28, "No space left on device"), "No space left on device, expected"),
        (MemoryError("4 GiB"), "not enough memory (4 GiB); free some"),
    ],
)
def test_what_the_machine_refuses_is_no_fault_in_featx(capsys, monkeypatch, error, says) -> None:
    def fails(_) -> None:
        raise error

    monkeypatch.setattr("featx.cli.info.run", fails)
    told = refused(capsys, "info", "x")
    assert says in told
    assert "fault" not in told


def test_unexpected_errors_show_no_traceback_unless_asked(capsys, monkeypatch) -> None:
    def broken(*_):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("featx.cli.info.run", broken)
    error = refused(capsys, "info", "x")
    assert "unexpected ZeroDivisionError: boom" in error
    assert run("info", "x", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_and_is_documented(name, capsys) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    section = page.partition(f"## featx {name}\n")[2].partition("\n## ")[0]
    with pytest.raises(SystemExit, match="0"):
        run(name, "--help")
    text = capsys.readouterr().out
    assert text.startswith(f"usage: featx {name}")
    for option in set(re.findall(r"(?<!\S)--?[a-z-]+", text)) - {
        "-h",
        "--help",
        "--json",
        "--quiet",
        "--debug",
    }:
        assert f"`{option}" in section, option


def parsed(*words) -> argparse.Namespace:
    return build_parser(words[0]).parse_args(words)


@pytest.mark.parametrize("command", ["extract", "bench"])
def test_defaults_are_the_librarys(command) -> None:
    args = parsed(*{"extract": ("extract", "s", "--store", "f"), "bench": ("bench", "s")}[command])
    assert read_options(args, Encoder) == Encoder()
    assert read_options(args, RunOptions) == RunOptions()
    assert not hasattr(args, "on_error")  # so that the library's holds


def test_every_field_of_an_encoder_and_of_a_run_has_an_option() -> None:
    """Would catch a field that the library gained and the command line did not."""
    fields = {f.name for f in dataclasses.fields(Encoder)} - {"transform", "recipe"}
    assert fields == set(ENCODER)
    assert {f.name for f in dataclasses.fields(RunOptions)} - {"progress"} == set(RUN)
    words = {"--backbone": "a", "--weights": "b", "--layer": "c", "--pooling": "max",
             "--augment": "hflip", "--resize": "64", "--crop": "48", "--decode": "full",
             "--precision": "float32"}  # fmt: skip
    args = parsed("extract", "s", "--store", "f", *itertools.chain(*words.items()))
    assert read_options(args, Encoder) == Encoder(
        "a", weights="b", layers="c", poolings="max", augment="hflip", resize_px=64, crop_px=48,
        decode="full", precision="float32",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "augment"),
    [
        ("", "none"),
        ("--preset best", "ten-crop"),
        ("--preset paper", "sixteen-view:keep"),
        ("--preset best --augment none", "none"),
        ("--augment hflip --preset best", "hflip"),
    ],
)
def test_a_preset_sets_the_views_unless_they_are_given(words, augment) -> None:
    args = parsed("extract", "s", "--store", "f", *words.split())
    preset = read_preset(args)
    assert read_options(args, Encoder, **preset.encoder_options).augment == augment


@pytest.mark.parametrize("command", ["extract", "compare"])
def test_help_lists_the_presets_and_a_miss_names_the_nearest(world, capsys, command) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(command, "--help")
    text = capsys.readouterr().out
    for preset in PRESETS.values():
        assert re.search(rf"\n  {preset.name} +{re.escape(preset.note)}\n", text)
    error = refused(
        capsys, command, world / "test", "--store", world / "no.h5", "--preset", "bset"
    )
    assert "--preset: got 'bset'" in error
    assert "Did you mean 'best'?" in error
    assert not (world / "no.h5").exists()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_says_its_recall_and_answers_through_a_filter(
    world, tmp_path, kind, capsys
) -> None:
    words = ["index", world / "train.h5", "--out", tmp_path / "i", "--kind", kind]
    found = result(capsys, *words, "--codes", "int8", "--dtype", "float16")
    assert (found["kind"], found["codes"], found["reason"]) == (kind, "int8", "asked for")
    assert 0.9 <= found["recall"] <= 1
    assert run(*words) == 0
    assert "recall at 10" in capsys.readouterr().out
    query = ["query", tmp_path / "i", world / "test" / "red", "-k", "3"]
    (one, *_) = result(capsys, *query, "--filter", "label=blue", "--filter", "label=green")[
        "results"
    ]
    assert {m["label"] for m in one["matches"]} <= {"blue", "green"}
    assert len(one["matches"]) == 3
    assert "expected COLUMN=VALUE" in refused(capsys, *query, "--filter", "label")
    assert "Did you mean 'label'?" in refused(capsys, *query, "--filter", "lable=red")


def test_help_imports_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; from featx.cli.main import build_parser; build_parser(''); "
        "print([m for m in ('torch', 'sklearn', 'h5py', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_a_store_or_an_index_imports_no_torch(world) -> None:
    code = (
        "import sys, featx, numpy as np; s = featx.open_store(sys.argv[1]); X = s[:];"
        "i = featx.RetrievalIndex.load(sys.argv[2]); i.query(X[0], k=2);"
        "from featx.estimators import load_model; load_model(sys.argv[3]).model.predict(X);"
        "print('torch' in sys.modules)"
    )
    files = [str(world / name) for name in ("train.h5", "index", "model")]
    done = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_embedded_network_waits_for_no_library_that_it_does_not_need(world, tmp_path) -> None:
    code = (
        "import sys; from featx.cli.main import main; main(sys.argv[1:]);"
        "slow = ('torchvision', 'torch._dynamo', 'sklearn', 'scipy', 'pandas');"
        "print([name for name in slow if name in sys.modules], file=sys.stderr)"
    )
    words = ["extract", world / "train", "--store", tmp_path / "f.h5", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
    assert n_rows(tmp_path / "f.h5") > 0


# Enough images that many are left after the first commit, on a fast machine too.
N_STOPPED = 600


def n_rows(store: Path) -> int:
    if not store.exists():
        return 0
    return sum(table.n_samples for table in store_info(store).tables)


@pytest.mark.slow
def test_a_stopped_extraction_keeps_what_is_done_and_goes_on(tmp_path, capsys) -> None:
    rng = np.random.default_rng(1)
    for i in range(N_STOPPED):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / f"{i:04}.png")
    store = tmp_path / "f.h5"
    words = ["extract", tmp_path, "--store", store, "--engine", "torch", "--batch-size", "8"]
    # Where the tests themselves run in the background, the shell has SIGINT ignored.
    heeding = (
        "import signal, featx.extraction.tables as t; t.COMMIT_EVERY_S = 0.1;"
        f"signal.signal(signal.SIGINT, signal.default_int_handler); {FEATX[2]}"
    )
    n = 0
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [*FEATX[:2], heeding, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and n_rows(store) == n:
                time.sleep(0.05)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130, number
        assert "Traceback" not in err
        assert "run the same command to continue" in out
        before, n = n, len(open_store(store))
        assert before < n < N_STOPPED
    found = result(capsys, *words)
    assert (found["reused"], found["extracted"]) == (n, N_STOPPED - n)


@pytest.mark.parametrize(
    ("options", "message", "expected"),
    [
        ("--labels", "in a store, or pass labels (--labels L.csv)", None),
        ("--out", "in a store, or pass labels (--labels L.csv)", "in a store"),
        ("--max-pixels", "at most 9; allow for more with max_pixels (--max-pixels)", None),
        (
            "--out",
            "(at most 9; allow for more (--max-pixels)); replace it",
            "(at most 9); replace it",
        ),
        ("--out", "'a; b (--no-such).jpg': is empty (0 bytes)", None),
        ("--weights --backbone", "pass it with --weights FILE (or so)", None),
        ("--backbone", "pass it with --weights FILE", "pass it with --backbone NAME=FILE"),
    ],
)
def test_a_message_names_no_option_that_the_command_lacks(options, message, expected) -> None:
    flags = {name: name for name in options.split()}
    assert keep_known_options(message, flags) == (expected or message)
