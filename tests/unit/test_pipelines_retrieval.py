"""The retrieval pipeline and the paper's table, on small trees of sample pictures."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from featx.demo import sample_data_dir
from pipelines import options
from pipelines.datasets import list_datasets

FAST = ["--workers", "0", "--resize", "64", "--crop", "48"]


@pytest.fixture(scope="module")
def views() -> list[list[Path]]:
    """Two views each of four posters."""
    folders = sorted(p for p in (sample_data_dir() / "instances").iterdir() if p.is_dir())[:4]
    return [sorted(folder.iterdir())[:2] for folder in folders]


def start(monkeypatch, name: str, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", [f"pipelines/{name}.py", *map(str, words)])
    return options.run(importlib.import_module(f"pipelines.{name}").main)


def test_two_folders_of_views_are_searched_and_shown(views, tmp_path, monkeypatch, capsys) -> None:
    for i, (one, other) in enumerate(views):
        for file, folder in ((one, "query"), (other, "reference")):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "set" / folder / f"{i}{file.suffix}")
    words = ["--data", tmp_path / "set", "--out", tmp_path / "out", *FAST]
    status = start(monkeypatch, "retrieval", *words, "--preset", "plain", "alpha-qe")
    assert status == 0
    found = json.loads((tmp_path / "out" / "retrieval.results.json").read_text())
    assert [r["preset"] for r in found] == ["plain", "alpha-qe"]
    assert [r["counts"] for r in found] == [{"database": 4, "queries": 4, "failed": 0}] * 2
    assert "set featx_base plain: map" in capsys.readouterr().out
    assert "data:image/jpeg" in (tmp_path / "out" / "retrieval.html").read_text()


def test_a_set_without_queries_is_one_line(tmp_path, monkeypatch, capsys) -> None:
    things = sample_data_dir() / "objects"
    words = ["--data", things, "--dataset", "image_folder", "--out", tmp_path]
    assert start(monkeypatch, "retrieval", *words) == 1
    error = capsys.readouterr().err
    assert "has no queries" in error
    assert error.count("\n") == 1


def test_the_papers_table_runs_what_is_present_and_lists_the_rest(
    views, tmp_path, monkeypatch, capsys
) -> None:
    folder = tmp_path / "sets" / "holidays" / "jpg"
    folder.mkdir(parents=True)
    for group, pair in enumerate(views):
        for k, file in enumerate(pair):
            shutil.copy(file, folder / f"{1000 + group}{k:02d}.jpg")
    words = ["--data", tmp_path / "sets", "--out", tmp_path / "out", *FAST]
    assert start(monkeypatch, "off_the_shelf", *words) == 0
    printed = capsys.readouterr().out
    assert "holidays    map" in printed
    assert printed.count("left out: dataset") == 10
    results = json.loads((tmp_path / "out" / "off_the_shelf.results.json").read_text())
    assert [(r["dataset"], r["preset"]) for r in results] == [
        ("holidays", "plain"),
        ("holidays", "paper"),
    ]


def test_every_set_stands_in_the_table_of_what_is_expected_on_disk() -> None:
    table = (Path(options.__file__).parent / "README.md").read_text()
    for card in list_datasets():
        assert f"| `{card.name}` | {card.task.replace('_', ' ')} | {card.layout} |" in table
