"""Names that are not UTF-8, terminals of few characters, and streams that are closed or full."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featx.cli.main import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
FEATX = [sys.executable, "-c", "from featx.cli.main import main; raise SystemExit(main())"]
ODD = "caf\udce9"  # the byte E9, as Python has it
SHOWN = "caf\\xe9"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Pictures in folders with odd names, a bad one, and a store, model and index of them."""
    root = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for i in range(9):
        place = root / "p" / (ODD, "ok", "two\nlines")[i % 3] / f"{i}\x1b[31m.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(place)
    (root / "p" / ODD / "bad.png").write_bytes(b"x")
    for words in (
        ["extract", root / "p", "--store", root / f"{ODD}.h5", "--workers", "0"],
        ["train", root / f"{ODD}.h5", "--out", root / f"{ODD}.m"],
        ["index", root / f"{ODD}.h5", "--out", root / f"{ODD}.i"],
    ):
        assert main([str(w) for w in words]) == 0
    return root


COMMANDS = {
    "info": "info {}.h5",
    "verify": "verify {}.h5",
    "train": "train {}.h5 --out {}.m",
    "predict": "predict {}.m p --workers 0",
    "predict a store": "predict {}.m {}.h5 --out {}.csv",
    "predict into Parquet": "predict {}.m {}.h5 --out {}.parquet",
    "evaluate": "evaluate {}.m {}.h5",
    "index": "index {}.h5 --out {}.i",
    "query": "query {}.i p/{} --workers 0 --html {}.html",
    "duplicates": "duplicates {}.h5 {}.h5 --html {}-d.html",
    "audit": "audit {}.h5 --workers 0 --out {}-a.csv --html {}-a.html",
    "export": "export {}.h5 {}-o.npz",
    "export to Parquet": "export {}.h5 {}-o.parquet",
    "export to CSV": "export {}.h5 {}-o.csv",
}


class Terminal(io.TextIOWrapper):
    """Standard output in an encoding, which refuses what it does not have."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", newline="")

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_whatever_the_names_and_the_terminal(
    world, command, encoding, monkeypatch
) -> None:
    monkeypatch.chdir(world)
    words = COMMANDS[command].format(*[ODD] * 4).split(" ")
    for extra in ([], ["--json"]):
        out, err = Terminal(encoding), Terminal(encoding)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert main([*words, *extra]) == 0, err.text()
        if extra:
            json.loads(out.text())
        assert "\x1b" not in out.text() + err.text()  # a name gives the terminal no orders


def test_a_name_is_itself_in_json_and_shown_elsewhere(world, monkeypatch, capsys) -> None:
    monkeypatch.chdir(world)
    words = ["predict", f"{ODD}.m", "p", "--workers", "0", "--out"]
    assert main([*words, "t.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert len(found) == 9
    assert all(Path(p["path"]).is_file() for p in found)  # the names, and nothing like them
    assert main([*words, "t.parquet"]) == 0
    told = capsys.readouterr()
    assert told.err == (
        f"featx predict: {world}/p/{SHOWN}/bad.png: could not be read: "
        "not a JPEG, PNG, GIF, WEBP, BMP, TIFF, PPM or AVIF file: it begins with b'x'\n"
    )
    lines = told.out.splitlines()
    assert len(lines) == 9
    assert sum(f"/p/{SHOWN}/" in line for line in lines) == 3
    assert sum("two\\x0alines" in line for line in lines) == 3
    with Path("t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == pd.read_parquet("t.parquet")["path"].tolist()
    assert sum(f"/p/{SHOWN}/" in row["path"] for row in rows) == 3


@pytest.mark.parametrize("command", ["info", "export", "predict", "evaluate", "verify"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), None])
def test_an_answer_that_cannot_be_printed_is_an_error_and_no_fault(
    world, monkeypatch, capsys, error, command
) -> None:
    monkeypatch.chdir(world)

    class Full(io.StringIO):
        def flush(self) -> None:
            raise error

    monkeypatch.setattr(sys, "stdout", Full() if error else None)
    words = {"predict": "predict a store", "export": "export to CSV"}.get(command, command)
    assert main(COMMANDS[words].format(*[ODD] * 4).split(" ")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"featx {command}: standard output: cannot be written (")
    assert ("No space left" if error else "it is closed") in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirection", "status", "says"),
    [
        (">&-", 1, "standard output: cannot be written (it is closed)"),
        ("> /dev/full", 1, "standard output: cannot be written (No space left on device)"),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 1, ""),
        ("2> /dev/full", 0, ""),
        ("| true", 0, ""),
    ],
)
def test_streams_may_be_closed_full_or_left_by_their_reader(
    world, redirection, status, says
) -> None:
    script = 'set -o pipefail; "$@" ' + redirection
    words = [*FEATX, "info", os.fsencode(world / f"{ODD}.h5")]
    done = subprocess.run(["bash", "-c", script, "-", *words], capture_output=True, check=False)
    assert done.returncode == status
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == bool(says)


def test_an_error_and_a_filter_have_a_name_as_it_is_shown(world, monkeypatch, capsys) -> None:
    monkeypatch.chdir(world)
    assert main(["info", "kl\udce9.h5"]) == 1
    assert "'kl\\xe9.h5'" in capsys.readouterr().err
    words = ["query", f"{ODD}.i", "p/ok", "--workers", "0", "--filter"]
    for label in (ODD, SHOWN):
        assert main([*words, f"label={label}"]) == 0, capsys.readouterr().err
    matches = json.loads(_json(capsys, [*words, f"label={SHOWN}"]))["results"][0]["matches"]
    assert {m["label"] for m in matches} == {ODD}


def _json(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return capsys.readouterr().out
