"""`compare` and ``featx compare``: folds by hand, the frontier by brute force, one-line errors."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.model_selection import StratifiedKFold

from featx import Encoder, LinearProbeClassifier, extract, open_store
from featx.cli._sources import find_labelled
from featx.cli.main import main
from featx.demo import sample_data_dir
from featx.errors import BackboneError, ParameterError
from featx.extraction import RunOptions
from featx.tasks import compare, comparison_report
from featx.tasks._verdict import answer, find_unbeaten, is_more_accurate
from featx.tasks.comparison import Comparison, ComparisonRow, Figure, _name_networks
from featx.tasks.layers import spread_layers
from pipelines.datasets import read_dataset

RUN = {"run": RunOptions("cpu", workers=0, progress=False)}
BAD = b"\xff\xd8\xff\xe0 no picture"


@pytest.fixture(scope="module")
def objects() -> tuple[list[str], np.ndarray]:
    """Six pictures each of three things; every fourth has another's label, so it is not easy."""
    found = read_dataset("image_folder", sample_data_dir() / "objects")
    names = np.unique(found.labels)[:3]
    rows = np.concatenate([np.flatnonzero(found.labels == name)[:6] for name in names])
    labels = found.labels[rows]
    labels[::4] = np.roll(labels[::4], 1)
    return [found.paths[i] for i in rows], labels


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compare") / "all.h5"


@pytest.fixture(scope="module")
def found(objects, store) -> Comparison:
    paths, labels = objects
    encoder = Encoder(layers=["blocks.15", "blocks.7"], poolings=["avg", "max"])
    return compare(paths, labels, store, [encoder], n_folds=3, **RUN)


def by_hand(X: np.ndarray, y: np.ndarray, n_folds: int, seed: int = 0) -> float:
    """Return the share of images whose label was told right when their fold was left out."""
    right = 0
    for train, test in StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(X, y):
        probe = LinearProbeClassifier().fit(X[train], y[train])
        right += sum(probe.predict(X[test]) == y[test])
    return right / len(y)


def features(paths, folder: Path, **options) -> tuple[np.ndarray, str]:
    with extract(list(paths), folder / "x.h5", device="cpu", workers=0, **options) as table:
        rows = {path: i for i, path in enumerate(table.paths.tolist())}
        return table[[rows[path] for path in paths]], table.fingerprint


def as_row(accuracy: float, rate: float, name: str = "net", **more) -> ComparisonRow:
    given = {"n_features": 8, "speed_range": (rate, rate)} | more
    return ComparisonRow(
        backbone=name, layer="penultimate", pooling="none", accuracy=Figure(accuracy),
        images_per_second=rate, depth=1.0, fingerprint="f", **given,
    )  # fmt: skip


def test_accuracy_equals_folds_by_hand_for_every_layer_and_pooling(
    objects, found, tmp_path
) -> None:
    paths, y = objects
    assert len(found.rows) == 4
    accuracies = set()
    for row in found.rows:
        X, fingerprint = features(paths, tmp_path, layers=row.layer, poolings=row.pooling)
        assert row.accuracy.value == pytest.approx(by_hand(X, y, 3))
        assert (row.fingerprint, row.n_features) == (fingerprint, X.shape[1])
        assert row.accuracy.low <= row.accuracy.value <= row.accuracy.high
        assert row.images_per_second > 0
        accuracies.add(row.accuracy.value)
    assert len(accuracies) > 1
    assert (found.n_images, found.n_classes, found.n_folds, found.n_failed) == (18, 3, 3, 0)


def test_rows_fall_in_accuracy_and_bear_the_name_of_layer_and_pooling(found) -> None:
    values = [row.accuracy.value for row in found.rows]
    assert values == sorted(values, reverse=True)
    pairs = {(row.layer, row.pooling): row.name for row in found.rows}
    assert pairs["blocks.7", "max"] == "featx_base blocks.7 max"
    assert pairs["blocks.15", "avg"] == "featx_base blocks.15 avg"
    assert as_row(0.5, 1).name == "net"


def test_one_layer_has_one_speed(found) -> None:
    speeds = {layer: set() for layer in ("blocks.15", "blocks.7")}
    for row in found.rows:
        speeds[row.layer].add(row.images_per_second)
    assert [len(values) for values in speeds.values()] == [1, 1]


def test_the_table_marks_the_rows_that_nothing_beats_and_ends_in_the_answer(found) -> None:
    lines = str(found).splitlines()
    for line, row in zip(lines[1:5], found.rows, strict=True):
        assert line.startswith("*") is row.is_on_frontier
        assert line.endswith(row.name)
    assert any(row.is_on_frontier for row in found.rows)
    assert lines[-1] == found.answer
    assert found.answer.startswith(f"{found.rows[0].name} is the most accurate")


def test_the_store_keeps_all_features(objects, found, store) -> None:
    for row in found.rows:
        with open_store(store, table=row.fingerprint) as table:
            assert table.shape == (18, row.n_features)


def test_the_dict_is_json_with_a_figure_and_a_name_for_each_row(found) -> None:
    rows = json.loads(json.dumps(found.to_dict(), allow_nan=False))["rows"]
    assert [row["name"] for row in rows] == [row.name for row in found.rows]
    assert rows[0]["accuracy"] == vars(found.rows[0].accuracy)


def test_fewer_folds_are_used_where_a_class_has_fewer_images(objects, found, store) -> None:
    paths, y = objects
    labels = ["rare" if i < 2 else name for i, name in enumerate(y)]
    few = compare(paths, labels, store, n_folds=5, random_state=3, **RUN)
    assert few.n_folds == 2
    with open_store(store, table=few.rows[0].fingerprint) as table:
        rows = {path: i for i, path in enumerate(table.paths.tolist())}
        X = table[[rows[path] for path in paths]]
    expected = by_hand(X, np.array(labels), 2, seed=3)
    assert few.rows[0].accuracy.value == pytest.approx(expected)


def test_images_that_cannot_be_read_are_left_out_and_those_of_other_runs_not_counted(
    objects, tmp_path
) -> None:
    paths, y = objects
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(BAD)
    bad = [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    more = [bad[0], *paths[:9], bad[1], *paths[9:]]
    labels = ["gone", *y[:9], y[0], *y[9:]]
    with pytest.raises(ParameterError, match="'gone' has 1 image"):
        compare(more, labels, tmp_path / "f.h5", **RUN)
    labels[0] = y[-1]
    found = compare(more, labels, tmp_path / "f.h5", n_folds=3, **RUN)
    assert (found.n_images, found.n_failed, found.n_classes) == (18, 2, 3)
    X, _ = features(paths, tmp_path)
    assert found.rows[0].accuracy.value == pytest.approx(by_hand(X, y, 3))
    again = compare(paths, y, tmp_path / "f.h5", n_folds=3, **RUN)
    assert (again.n_images, again.n_failed) == (18, 0)
    assert again.rows[0].accuracy == found.rows[0].accuracy


def test_a_class_of_which_one_image_can_be_read_is_named(objects, tmp_path) -> None:
    paths, y = objects
    (tmp_path / "bad.jpg").write_bytes(BAD)
    more, labels = [*paths, str(tmp_path / "bad.jpg")], [*y[:-1], "rare", "rare"]
    with pytest.raises(ParameterError, match=r"'rare' has 1 image that can be read"):
        compare(more, labels, tmp_path / "f.h5", **RUN)


def test_images_of_which_none_can_be_read_are_refused(tmp_path) -> None:
    paths = [str(tmp_path / f"{i}.jpg") for i in range(4)]
    with pytest.raises(ParameterError, match=r"got 0 classes; expected two classes or more"):
        compare(paths, ["a", "a", "b", "b"], tmp_path / "f.h5", **RUN)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["a"] * 4, "got 1 classes"),
        (["a", "a", "a", "b"], r"got 2 classes, of which 'b' has 1 image"),
        (["a", "a", "b"], r"got shape \(3,\) for 4 images, expected one label per image"),
        ([["a"], ["a"], ["b"], ["b"]], r"got shape \(4, 1\) for 4 images"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_anything_is_read(
    tmp_path, labels, says
) -> None:
    with pytest.raises(ParameterError, match=says):
        compare([f"{i}.jpg" for i in range(4)], labels, tmp_path / "f.h5", **RUN)
    assert not (tmp_path / "f.h5").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"preset": "paper"}, "preset: got 'paper', which keeps several vectors per image"),
        ({"preset": "places"}, "preset: got 'places', which keeps"),
        ({"preset": "bset"}, "preset: got 'bset'.*Did you mean 'best'"),
        ({"n_folds": 1}, "n_folds: got 1, expected 2 or more"),
        ({"encoders": []}, r"encoders: got \[\], expected a list of one or more"),
        ({"encoders": "resnet18"}, "encoders: got 'resnet18', expected a list"),
    ],
)
def test_options_that_cannot_be_used_are_refused(objects, tmp_path, options, says) -> None:
    with pytest.raises(ParameterError, match=says):
        compare(*objects, tmp_path / "f.h5", **options, **RUN)


def test_an_unknown_layer_is_refused(objects, tmp_path) -> None:
    with pytest.raises(BackboneError, match="got layer 'nope', expected a module"):
        compare(*objects, tmp_path / "f.h5", encoders=[Encoder(layers="nope")], **RUN)


def told_right(n_right: int, n: int = 100) -> np.ndarray:
    """The first so many of n images."""
    return np.arange(n) < n_right


# Few values, so that ties in one measure and in both are common; all apart beyond noise.
steps = st.tuples(st.sampled_from([0, 50, 90, 100]), st.sampled_from([0.1, 10.0, 20.0]))


@settings(max_examples=25)
@given(st.lists(steps, max_size=5))
def test_where_no_difference_is_noise_the_frontier_is_the_plain_one(pairs) -> None:
    rows = [as_row(n / 100, rate) for n, rate in pairs]
    marks = find_unbeaten(rows, [told_right(n) for n, _ in pairs])
    for i, mine in enumerate(pairs):
        others = pairs[:i] + pairs[i + 1 :]
        is_beaten = any(
            theirs != mine and all(t >= m for t, m in zip(theirs, mine, strict=True))
            for theirs in others
        )
        assert marks[i] is not is_beaten


@pytest.mark.parametrize(
    ("rates", "marks"),
    [
        ((125.0, 124.0), [True, True]),
        ((125.0, 115.0), [True, True]),  # less than a tenth
        ((125.0, 100.0), [True, False]),
    ],
)
def test_125_images_per_second_do_not_beat_124(rates, marks) -> None:
    rows = [as_row(0.9, rate) for rate in rates]
    assert find_unbeaten(rows, [told_right(90), told_right(90)]) == marks


def test_ranges_that_overlap_are_one_speed() -> None:
    rows = [as_row(0.9, 125.0, speed_range=(90.0, 130.0)), as_row(0.9, 100.0)]
    assert find_unbeaten(rows, [told_right(90), told_right(90)]) == [True, True]
    assert find_unbeaten([as_row(0.9, 125.0), rows[1]], [told_right(90)] * 2) == [True, False]


def test_one_image_more_is_noise_and_a_faster_network_as_good_beats_a_slower() -> None:
    rows = [as_row(0.91, 50.0), as_row(0.90, 200.0)]
    assert find_unbeaten(rows, [told_right(91), told_right(90)]) == [False, True]
    assert find_unbeaten(rows, [told_right(91), told_right(60)]) == [True, True]


@given(st.integers(0, 30), st.integers(0, 30))
def test_accuracies_are_told_apart_as_by_mcnemars_exact_test(b, c) -> None:
    first = np.array([True] * b + [False] * c + [True] * 5)
    second = np.array([False] * b + [True] * c + [True] * 5)
    # two-sided tail of a fair coin, by hand; symmetric, so twice one tail
    p = min(1.0, 2 * binom.cdf(min(b, c), b + c, 0.5)) if b + c else 1.0
    assert is_more_accurate(first, second) is bool(b > c and p < 0.05)


def test_the_answer_names_ties_the_faster_and_the_shorter() -> None:
    best = as_row(0.91, 50.0, "big", n_features=1000, is_as_accurate=True)
    slow = as_row(0.905, 49.0, "short", n_features=64, is_as_accurate=True)
    fast = as_row(0.90, 100.0, "fast", n_features=2000, is_as_accurate=True)
    worse = as_row(0.5, 900.0, "worse")
    text = answer([best, slow, fast, worse], 400)
    assert text == (
        "big is the most accurate: 0.910. With 400 images it cannot be told apart "
        "from short (0.905), fast (0.900). fast is 2.0 times faster. The shortest of them is "
        "short: 64 numbers per image instead of 1000."
    )
    assert answer([best, worse], 400) == (
        "big is the most accurate: 0.910. The other one is less accurate, beyond the noise of "
        "400 images."
    )
    assert answer([best], 400) == "big is the most accurate: 0.910."


BLOCKS = {"stem": 1} | {f"{s}.{i}{part}": 1 for s in "abc" for i in range(3)
                        for part in (".conv", ".relu", "")} | dict.fromkeys("abc", 1)  # fmt: skip


def test_layers_are_spread_over_blocks_and_end_in_the_penultimate() -> None:
    order = sorted(BLOCKS, key=lambda n: (n != "stem", n[0], n[1:2] == "", n[2:3], -len(n)))
    shapes = dict.fromkeys(order, (1, 8, 4, 4))
    shapes |= {"pool": (1, 8, 1, 1), "penultimate": (1, 8), "fc": (1, 5)}
    blocks = [f"{s}.{i}" for s in "abc" for i in range(3)]
    assert spread_layers(shapes, 99) == (*blocks, "penultimate")
    assert spread_layers(shapes, 4) == ("a.0", "b.1", "c.2", "penultimate")
    plain = {f"features.{i}": (1, 8, 9, 9) for i in range(7)} | {"penultimate": (1, 8)}
    assert spread_layers(plain, 3) == ("features.0", "features.6", "penultimate")
    with pytest.raises(ParameterError, match="over_layers: got 1"):
        spread_layers(plain, 1)


def test_a_network_of_ones_own_is_compared_over_its_layers(objects, tmp_path) -> None:
    torch.manual_seed(0)
    widths = zip([3, *[8] * 6], [2, 2, *[1] * 5], strict=True)
    blocks = [
        torch.nn.Sequential(torch.nn.Conv2d(n, 8, 3, stride, 1), torch.nn.ReLU())
        for n, stride in widths
    ]
    network = torch.nn.Sequential(*blocks, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    own = Encoder(network, resize_px=32, crop_px=32)
    paths, y = objects
    found = compare(paths, y, tmp_path / "f.h5", [own], over_layers=4, n_folds=2, **RUN)
    depths = {row.layer: row.depth for row in found.rows}
    assert sorted(depths, key=depths.__getitem__) == ["0", "3", "6", "penultimate"]
    assert max(depths.values()) <= 1
    sections = comparison_report(found).to_dict()["sections"]
    (curve,) = [section for section in sections if section["kind"] == "curve"]
    assert curve["x_names"] == ["0", "3", "6", "penultimate"]
    by_layer = {row.layer: row.accuracy for row in found.rows}
    (line,) = curve["curves"]
    assert line["values"] == [by_layer[name].value for name in curve["x_names"]]
    assert line["intervals"] == [[by_layer[n].low, by_layer[n].high] for n in curve["x_names"]]
    assert sections[0]["text"] == found.answer


# -- the command ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder of two classes, and random weights of another network."""
    root = tmp_path_factory.mktemp("cli")
    for name in ("apple", "car"):
        shutil.copytree(
            sample_data_dir() / "objects" / name,
            root / "photos" / name,
            ignore=lambda _, files: sorted(files)[4:],
        )
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), root / "w.pth")
    return root


def run(*words) -> int:
    return main([str(word) for word in words])


def command(world: Path, *more) -> list:
    words = ["compare", world / "photos", "--store", world / "f.h5", "--workers", "0"]
    return [*words, "--device", "cpu", "--folds", "2", *more]


def refused(capsys, *words) -> str:
    capsys.readouterr()
    assert run(*words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_the_command_compares_networks_and_writes_a_page(world, capsys) -> None:
    weights = f"squeezenet1_1={world / 'w.pth'}"
    words = command(world, "--backbone", "featx_small", "--backbone", weights)
    assert run(*words, "--html", world / "page.html", "--json") == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    found = json.loads(printed)
    assert set(found) == {
        "rows", "n_images", "n_classes", "n_folds", "n_failed", "answer", "n_unlabelled",
        "unlabelled", "n_unused", "unused", "nearest", "labels_from", "report", "table",
    }  # fmt: skip
    assert (found["n_images"], found["n_classes"], found["n_folds"]) == (8, 2, 2)
    assert {row["backbone"]: row["n_features"] for row in found["rows"]} == {
        "featx_small": 1280, "squeezenet1_1": 512,
    }  # fmt: skip
    assert set(found["rows"][0]) == {
        "backbone", "layer", "pooling", "n_features", "accuracy", "images_per_second",
        "speed_range", "depth", "fingerprint", "is_as_accurate", "is_on_frontier", "name",
    }  # fmt: skip
    assert set(found["rows"][0]["accuracy"]) == {"value", "low", "high"}
    page = (world / "page.html").read_text()
    assert found["report"] == str(world / "page.html")
    assert "squeezenet1_1" in page
    (numbers,) = re.findall(r'<template id="numbers">(.*?)</template>', page)
    sections = json.loads(numbers)["sections"]
    marks = {p["name"]: p["is_on_frontier"] for p in sections[1]["points"]}
    assert marks == {row["name"]: row["is_on_frontier"] for row in found["rows"]}


def test_networks_in_folders_are_told_apart_by_their_last_parts(world, tmp_path, capsys) -> None:
    timm = pytest.importorskip("timm", reason="timm is an extra")
    folders = [tmp_path / "a" / "vit", tmp_path / "b=c" / "vit"]
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        timm.models.save_for_hf(timm.create_model("test_vit.r160_in1k"), folder)
    named = [word for folder in folders for word in ("--backbone", f"local-dir:{folder}")]
    assert run(*command(world, *named, "--html", tmp_path / "p.html", "--json")) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["name"] for row in rows} == {"local-dir:a/vit", "local-dir:b=c/vit"}
    assert len({row["fingerprint"] for row in rows}) == 2
    by_hand = Encoder(f"local-dir:{folders[1]}").recipes[0].fingerprint
    assert by_hand in {r["fingerprint"] for r in rows if r["backbone"] == "local-dir:b=c/vit"}
    assert "comparison of networks" in (tmp_path / "p.html").read_text().lower()
    assert str(tmp_path) not in (tmp_path / "p.html").read_text()


def test_a_name_with_two_weights_stands_in_the_table_with_each(world) -> None:
    twice = [Encoder("squeezenet1_1", weights=world / "w.pth"), "squeezenet1_1", "featx_small"]
    assert _name_networks(twice) == [
        "squeezenet1_1=w.pth", "squeezenet1_1=default", "featx_small",
    ]  # fmt: skip
    assert _name_networks(["local-dir:/data/vit/"]) == ["local-dir:vit"]


def test_images_without_a_label_are_counted_and_a_csv_without_labels_is_named(
    tmp_path, capsys
) -> None:
    table = tmp_path / "l.csv"
    table.write_text("path,label\na.jpg,x\nb.jpg,\n")
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(BAD)
    paths, found = find_labelled(str(tmp_path), str(table))
    assert [Path(p).name for p in paths] == ["a.jpg"]
    assert (found.labels.tolist(), found.coverage.n_unlabelled) == (["x"], 1)
    table.write_text("path,lable\na.jpg,x\n")
    words = ["compare", tmp_path, "--store", tmp_path / "f.h5", "--labels", table]
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert "expected one named 'label'" in error
    assert "Did you mean 'lable'?" in error


def test_the_command_prints_a_table_and_counts(world, capsys) -> None:
    (world / "photos" / "car" / "broken.jpg").write_bytes(BAD)
    try:
        assert run(*command(world, "--layer", "blocks.2", "--pooling", "avg")) == 0
    finally:
        (world / "photos" / "car" / "broken.jpg").unlink()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["accuracy", "images/s", "length", "network"]
    assert lines[1].endswith("24  featx_base blocks.2 avg")
    assert lines[-1] == "8 images of 2 classes, 2 folds; 1 could not be read"


def test_labels_of_a_csv_take_the_place_of_folders(world, capsys) -> None:
    pictures = sorted((world / "photos").rglob("*.jpg"))[1:7]
    lines = [f"{path},{'odd' if i % 2 else 'even'}" for i, path in enumerate(pictures)]
    (world / "l.csv").write_text("\n".join(["path,label", *lines]))
    assert run(*command(world, "--labels", world / "l.csv", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_images"], found["n_classes"]) == (6, 2)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--backbone", "mobilnet_v2"], ["got 'mobilnet_v2'", "Did you mean 'mobilenet_v2'"]),
        (["--backbone", "resnet18=ROOT/w.pth"], ["missing", "unexpected"]),
        (["--backbone", "squeezenet1_1=ROOT/w.pht"], ["w.pht", "Did you mean"]),
        (["--preset", "paper"], ["preset: got 'paper'", "'plain' or 'best'"]),
        (["--folds", "1"], ["--folds: got 1"]),
        (["--labels", "ROOT/none.csv"], ["none.csv"]),
        (["--labels", "ROOT/nolabel.csv"], ["label"]),
    ],
    ids=lambda v: "-".join(v[:2]) if isinstance(v, list) else "",
)
def test_errors_are_one_line_that_names_the_thing(world, capsys, more, says) -> None:
    picture = next((world / "photos").rglob("*.jpg"))
    (world / "nolabel.csv").write_text(f"path,colour\n{picture},red\n")
    error = refused(capsys, *command(world, *(w.replace("ROOT", str(world)) for w in more)))
    assert error.startswith("featx compare: ")
    assert "fault in featx" not in error
    for part in says:
        assert part in error


def test_pictures_without_labels_are_refused(world, capsys) -> None:
    words = command(world)
    words[1] = world / "photos" / "car"
    error = refused(capsys, *words)
    assert "has no labels for 4 images, expected one per image" in error
