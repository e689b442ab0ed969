"""Every pipeline in this process: small trees of sample pictures in, figures and pages out."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from featx.demo import sample_data_dir
from pipelines import options

SMALL = ["--workers", "0", "--device", "cpu", "--resize", "64", "--crop", "48"]
NAMES = ("classification", "scenes", "fine_grained", "attributes", "learning_curve", "finetune")
ATTRIBUTES = ("striped", "round")
N_FACES = 24


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> Path:
    """`things` (three classes), `split` (train and test), `scenes` and `faces` as CelebA."""
    root = tmp_path_factory.mktemp("pipelines")
    samples = sample_data_dir()
    for name in ("apple", "car", "fish"):
        for i, picture in enumerate(sorted((samples / "objects" / name).iterdir())[:6]):
            put(picture, root / "things" / name)
            put(picture, root / "split" / ("train" if i < 4 else "test") / name)
    for name in ("beach", "forest"):
        for i, picture in enumerate(sorted((samples / "scenes" / name).iterdir())[:6]):
            put(picture, root / "scenes" / ("train" if i < 4 else "test") / name)
    with (samples / "attributes" / "attributes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:N_FACES]
    lines = [str(N_FACES), " ".join(ATTRIBUTES)]
    for row in rows:
        put(samples / "attributes" / row["path"], root / "faces" / "img_align_celeba")
        answers = ["-1" if row[name] == "0" else "1" for name in ATTRIBUTES]
        lines.append(" ".join([row["path"], *answers]))
    (root / "faces" / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return root


def put(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder)


@pytest.fixture
def start(monkeypatch, capsys):
    """Return a function that runs a pipeline with the words of a command line."""

    def run(name: str, *words: object) -> SimpleNamespace:
        given = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", [f"pipelines/{name}.py", *given])
        status = options.run(importlib.import_module(f"pipelines.{name}").main)
        printed = capsys.readouterr()
        return SimpleNamespace(status=status, out=printed.out, err=printed.err)

    return run


def results(out: Path, name: str):
    """Return the results; the page, which has its numbers inside, lies beside them."""
    page = (out / f"{name}.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    (text,) = re.findall(r'<template id="numbers">(.*?)</template>', page)
    numbers = json.loads(text)
    (command,) = [
        v for s in numbers["sections"] if s["kind"] == "key_values"
        for k, v in s["values"].items() if k == "command"
    ]  # fmt: skip
    assert command.startswith(f"python -m pipelines.{name} --")
    return json.loads((out / f"{name}.results.json").read_text())


def printed_accuracy(line: str, metric: str = "accuracy") -> float:
    return float(line.split(f": {metric} ")[1].split()[0])


def test_classification_runs_every_preset_over_drawn_labels(trees, start, tmp_path) -> None:
    words = ["--labels-per-class", 2, "--repeats", 3, "--preset", "plain", "svm"]
    done = start("classification", "--data", trees / "things", "--out", tmp_path, *words, *SMALL)
    assert (done.status, done.err) == (0, "")
    found = results(tmp_path, "classification")
    assert [r["preset"] for r in found] == ["plain", "svm"]
    for line, result in zip(done.out.splitlines(), found, strict=False):
        assert line.startswith(f"things featx_base {result['preset']}: accuracy ")
        expected = result["figures"]["accuracy"]["value"]
        assert printed_accuracy(line) == pytest.approx(expected, abs=5e-4)
        assert result["counts"] | {"leaks": 0} == {
            "classes": 3, "train": 6, "test": 12, "failed": 0, "leaks": 0,
        }  # fmt: skip
        assert len(result["splits"]) == 3
    assert done.out.splitlines()[-1] == f"report: {tmp_path / 'classification.html'}"
    assert found[0]["fingerprints"] == found[1]["fingerprints"]
    assert found[1]["costs"]["images_per_second"] is None


def test_classification_uses_a_split_of_folders(trees, start, tmp_path) -> None:
    words = ["--labels-per-class", 3, "--repeats", 2, "--preset", "plain", *SMALL]
    done = start("classification", "--data", trees / "split", "--out", tmp_path, *words)
    assert done.status == 0
    (found,) = results(tmp_path, "classification")
    assert [len(s["test"]) for s in found["splits"]] == [6, 6]
    assert "tested on its own test images" in found["protocol"]


def test_results_go_to_a_folder_named_after_the_data(trees, start, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--labels-per-class", 2, "--repeats", 2, "--preset", "plain", *SMALL]
    done = start("classification", "--data", trees / "things", *words)
    assert done.status == 0
    (found,) = results(tmp_path / "results" / "things", "classification")
    assert found["dataset"] == "things"


@pytest.mark.slow
def test_layers_measures_each_layer_from_one_pass_and_draws_the_curve(
    trees, start, tmp_path
) -> None:
    words = ["--data", trees / "scenes", "--out", tmp_path, "--over-layers", "3", *SMALL]
    done = start("layers", *words)
    assert done.status == 0
    found = results(tmp_path, "layers")
    names = [line.split()[0] for line in done.out.splitlines()[:3]]
    assert names == ["blocks.0", "blocks.15", "penultimate"]
    assert len({tuple(r["fingerprints"]) for r in found}) == 3
    assert [r["costs"]["images_per_second"] for r in found] == [None] * 3  # nothing read anew


def test_scenes_trains_and_tests_on_the_sets_own_split(trees, start, tmp_path) -> None:
    words = ["--data", trees / "scenes", "--out", tmp_path, "--preset", "plain", "sqrt", *SMALL]
    done = start("scenes", *words)
    assert (done.status, done.err) == (0, "")
    found = results(tmp_path, "scenes")
    assert [r["task"] for r in found] == ["scenes", "scenes"]
    for result in found:
        assert (result["counts"]["train"], result["counts"]["test"]) == (8, 4)
        assert result["protocol"].startswith("the set's own split")
    assert done.out.startswith("scene15 featx_base plain: accuracy ")


def test_fine_grained_reads_any_folders_and_two_layers(trees, start, tmp_path) -> None:
    words = ["--dataset", "image_folder", "--data", trees / "split", "--out", tmp_path]
    layers = ["--layer", "penultimate", "--layer", "blocks.5"]
    done = start("fine_grained", *words, *layers, "--preset", "plain", *SMALL)
    assert (done.status, done.err) == (0, "")
    (found,) = results(tmp_path, "fine_grained")
    assert len(found["fingerprints"]) == 2
    assert (found["counts"]["train"], found["counts"]["test"]) == (12, 6)


@pytest.mark.slow
def test_attributes_of_aligned_faces_keeps_places_apart(trees, start, tmp_path) -> None:
    done = start("attributes", "--data", trees / "faces", "--out", tmp_path, *SMALL)
    assert (done.status, done.err) == (0, "")
    found = results(tmp_path, "attributes")
    assert [r["preset"] for r in found] == ["plain", "places"]
    assert [r["counts"]["attributes"] for r in found] == [2, 2]
    assert found[0]["splits"] == [{"train": list(range(18)), "test": list(range(18, 24))}]
    for line, result in zip(done.out.splitlines(), found, strict=False):
        expected = result["figures"]["map"]["value"]
        assert printed_accuracy(line, "map") == pytest.approx(expected, abs=5e-4)


def test_attributes_takes_the_first_images_where_told_to(trees, start, tmp_path) -> None:
    words = ["--data", trees / "faces", "--out", tmp_path, "--preset", "plain", *SMALL]
    assert start("attributes", *words, "--limit", 16).status == 0
    (found,) = results(tmp_path, "attributes")
    assert (found["counts"]["train"], found["counts"]["test"]) == (12, 4)


def test_the_learning_curve_prints_a_row_for_each_head(trees, start, tmp_path) -> None:
    words = ["--data", trees / "things", "--out", tmp_path, "--sizes", 1, 2, 4, "--repeats", 3]
    done = start("learning_curve", *words, *SMALL)
    assert done.status == 0
    frozen = results(tmp_path, "learning_curve")["frozen"]
    assert frozen["n_per_class"] == [1, 2, 4]
    heads = ("logistic", "svm", "nearest class mean", "nearest neighbour")
    assert tuple(frozen["scores"]) == heads
    lines = done.out.splitlines()
    assert lines[0].split() == ["labels", "per", "class", "1", "2", "4"]
    for line, name in zip(lines[1:5], heads, strict=True):
        assert line.startswith(name)
        scores = np.array(frozen["scores"][name])
        assert scores.shape == (3, 3)
        values = [float(word) for word in line[len(name) :].split()]
        assert values == pytest.approx(scores.mean(axis=1).tolist(), abs=5e-4)


def test_the_learning_curve_tests_on_a_split_of_the_set(trees, start, tmp_path) -> None:
    words = ["--data", trees / "split", "--out", tmp_path, "--sizes", 1, 2, 4, "--repeats", 2]
    assert start("learning_curve", *words, *SMALL).status == 0
    for scores in results(tmp_path, "learning_curve")["frozen"]["scores"].values():
        # Six test images: all scores are sixths.
        assert (np.array(scores) * 6).tolist() == pytest.approx(np.round(np.array(scores) * 6))


@pytest.mark.slow
def test_the_learning_curve_from_scratch_stands_beside_the_frozen_one(
    trees, start, tmp_path
) -> None:
    words = ["--data", trees / "things", "--out", tmp_path, "--sizes", 1, 2, "--repeats", 2]
    done = start("learning_curve", *words, "--from-scratch", 1, "--epochs", 1, *SMALL)
    assert done.status == 0
    found = results(tmp_path, "learning_curve")
    assert np.array(found["from_scratch"]["scores"]["from scratch"]).shape == (2, 1)
    assert "Beside the same network" in (tmp_path / "learning_curve.html").read_text()


@pytest.mark.slow
def test_fine_tuning_stands_beside_the_probe_and_keeps_its_weights(trees, start, tmp_path) -> None:
    words = ["--data", trees / "things", "--out", tmp_path, "--labels-per-class", 4]
    done = start("finetune", *words, "--repeats", 1, "--epochs", 1, "--workers", 0)
    assert done.status == 0
    found = results(tmp_path, "finetune")
    assert list(found["accuracy"]) == ["probe", "fine-tuned", "from scratch"]
    for name, scores in found["accuracy"].items():
        assert f"draw 0 {name}: {scores[0]:.3f}" in done.out
        assert 0 <= scores[0] <= 1
        assert found["seconds"][name][0] > 0
    assert (tmp_path / "tuned.safetensors").stat().st_size > 1e6


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_folder_is_one_line_and_status_1(trees, start, tmp_path, name) -> None:
    done = start(name, "--data", trees / "nowhere", "--out", tmp_path / "o")
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"{name}: dataset ")
    assert "nowhere': found nothing, expected a folder with" in done.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_set_of_another_task_is_one_line_and_status_1(trees, start, tmp_path, name) -> None:
    for part in ("queries", "reference"):
        put(trees / "things" / "car" / "car_00.jpg", tmp_path / "pairs" / part)
    words = ["--data", tmp_path / "pairs", "--dataset", "paired_folders", "--out", tmp_path / "o"]
    done = start(name, *words)
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") == 1
    needed = "attributes" if name == "attributes" else "labels"
    assert f"'paired_folders': has no {needed}, expected a set with them" in done.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["learning_curve", "finetune", "classification"])
def test_attributes_without_labels_are_refused_where_labels_are_needed(
    trees, start, tmp_path, name
) -> None:
    words = ["--data", trees / "faces", "--dataset", "celeba", "--out", tmp_path]
    done = start(name, *words)
    assert done.status == 1
    assert "dataset 'celeba': has no labels" in done.err


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("scenes", ["--dataset", "image_folder"], "has no split of its own, expected n_per_class"),
        ("classification", ["--option", "partition=2"], "option: got 'partition', expected none"),
        ("classification", ["--dataset", "flower17"], "Did you mean 'flowers17'"),
        ("classification", ["--preset", "papper"], "Did you mean 'paper'"),
        ("classification", ["--backbone", "resnet81"], "Did you mean 'resnet18'"),
        ("classification", ["--labels-per-class", "9"], "has 6 rows, expected at least 9"),
        ("learning_curve", ["--sizes", "2", "1"], "n_per_class: got (2, 1), expected rising"),
        ("learning_curve", ["--sizes", "6"], "has 6 rows, expected at least 7, one of them to te"),
        ("finetune", ["--labels-per-class", "9"], "has 6 rows, expected at least 9"),
    ],
)
def test_what_cannot_be_run_is_one_line_that_names_it(
    trees, start, tmp_path, name, words, says
) -> None:
    words = ["--data", trees / "things", "--out", tmp_path, "--workers", 0, *words]
    done = start(name, *words)
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"{name}: ")
    assert says in done.err
