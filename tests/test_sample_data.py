"""The sample images are what their script draws, and meet the truth that each task needs."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from featx.errors import ManifestError
from featx.images import sample_data_dir
from featx.images import samples as samples_module

SCRIPT = Path(__file__).resolve().parents[1] / "data" / "draw_samples.py"


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def labelled(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    paths = sorted(folder.glob("*/*.jpg"))
    pixels = np.stack([np.asarray(Image.open(p).convert("RGB"), np.float32) for p in paths])
    return pixels, np.array([p.parent.name for p in paths])


def test_committed_images_are_what_the_script_draws():
    done = run_script("--check", "--every", 11)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("0 problems")


def test_the_check_finds_a_changed_a_missing_and_a_foreign_file(tmp_path):
    copy = tmp_path / "samples"
    shutil.copytree(sample_data_dir(), copy)
    first = copy / "objects" / "apple" / "apple_00.jpg"
    shutil.copy(copy / "objects" / "apple" / "apple_01.jpg", first)
    (copy / "scenes" / "beach" / "beach_03.jpg").unlink()
    (copy / "stray.txt").write_text("?")
    table = copy / "attributes" / "attributes.csv"
    table.write_text(table.read_text().replace(",1,", ",0,", 1))
    done = run_script("--out", copy, "--check", "--every", 400)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "scenes/beach/beach_03.jpg: missing" in lines
    assert "stray.txt: not drawn by this script" in lines
    assert any(x.startswith("objects/apple/apple_00.jpg: one block of 16 px") for x in lines)
    assert "attributes/attributes.csv: other attributes than the ones drawn" in lines
    assert lines[-1].startswith("4 problems")


def test_samples_stay_under_two_megabytes_and_are_rgb_of_one_size():
    paths = [p for p in sample_data_dir().rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in paths) < 2_000_000
    for path in paths:
        if path.suffix == ".jpg":
            with Image.open(path) as image:
                assert (image.mode, image.size) == ("RGB", (144, 144)), path


def test_each_task_has_its_truth():
    root = sample_data_dir()
    counts = {
        task: {d.name: len(list(d.glob("*.jpg"))) for d in (root / task).iterdir()}
        for task in ("objects", "scenes", "fine_grained", "instances")
    }
    assert {task: (len(c), set(c.values())) for task, c in counts.items()} == {
        "objects": (10, {14}),
        "scenes": (6, {14}),
        "fine_grained": (5, {16}),
        "instances": (12, {4}),
    }


def test_every_attribute_is_often_there_and_often_not():
    folder = sample_data_dir() / "attributes"
    with (folder / "attributes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["path"] for r in rows} == {p.name for p in folder.glob("*.jpg")}
    columns = [c for c in rows[0] if c != "path"]
    assert len(columns) == 8
    for column in columns:
        share = np.mean([int(r[column]) for r in rows])
        assert 0.2 < share < 0.8, (column, share)
    assert not any(r["striped"] == r["spotted"] == "1" for r in rows)


@pytest.mark.parametrize("task", ["objects", "fine_grained"])
def test_colour_does_not_tell_the_class(task):
    pixels, labels = labelled(sample_data_dir() / task)
    colours = np.concatenate([pixels.mean((1, 2)), pixels.std((1, 2))], axis=1)
    accuracy = cross_val_score(KNeighborsClassifier(3), colours, labels, cv=7).mean()
    assert accuracy < 2 / len(set(labels))


def test_missing_samples_are_an_error_that_names_both_places(tmp_path, monkeypatch):
    monkeypatch.setattr(samples_module, "PACKAGE", tmp_path / "featx")
    with pytest.raises(ManifestError, match=r"_samples' nor .*data/samples"):
        sample_data_dir()
    inside = tmp_path / "featx" / "_samples"
    (inside / "objects").mkdir(parents=True)
    assert sample_data_dir() == inside
