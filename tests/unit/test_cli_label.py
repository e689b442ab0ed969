"""``featx suggest`` and ``featx label`` on the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from featx.cli.main import main
from featx.store import write_features


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 10)
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{i}.png" for i in range(30)]
    for path, c in zip(paths, y.tolist(), strict=True):
        Image.new("RGB", (8, 8), (80 * c, 0, 0)).save(path)
    X = np.eye(3, 6)[y] + 0.1 * rng.normal(size=(30, 6))
    path = tmp_path / "f.h5"
    write_features(path, X, paths=[str(p) for p in paths]).close()
    return path


def run(capsys, *words):
    status = main([*map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_suggest_prints_what_scripts_rely_on(store, tmp_path, capsys):
    labels = tmp_path / "l.csv"  # not there yet: before the first label
    status, out, err = run(capsys, "suggest", store, "--labels", labels, "-n", 5, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)["suggestions"]
    assert (
        "l.csv': there is no such file yet" in run(capsys, "suggest", store, "--labels", labels)[2]
    )
    assert len({s["path"] for s in found}) == 5
    assert set(found[0]) == {"path", "label", "confidence", "reason", "row"}
    assert found[0]["label"] is None
    labels.write_text("path,label\nphotos/0.png,a\nphotos/1.png,a\nphotos/10.png,b\n")
    _, out, _ = run(capsys, "suggest", store, "--labels", labels, "--json")
    found = json.loads(out)["suggestions"]
    assert len(found) == 24
    assert {s["label"] for s in found} <= {"a", "b"}
    assert found[0]["row"] >= 20  # of the class that no label is of


def test_suggest_in_words(store, tmp_path, capsys):
    _, out, _ = run(capsys, "suggest", store, "-n", 2)
    assert len(out.splitlines()) == 2
    assert all(line.endswith(" images)") for line in out.splitlines())
    labels = tmp_path / "l.csv"
    rows = "".join(f"photos/{i}.png,x\n" for i in range(30))
    labels.write_text(f"path,label\n{rows}")
    assert run(capsys, "suggest", store, "--labels", labels)[1] == "every image has a label\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategy", "tipical"], "strategy: got 'tipical', expected one of 'auto'"),
        (["-n", "0"], "n: got 0, expected an integer of at least 1"),
    ],
)
def test_what_suggest_refuses_is_one_line(store, capsys, words, message):
    status, out, err = run(capsys, "suggest", store, *words)
    assert (status, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backbone", "resnet18"], "whose features are there"),
        (["--host", "203.0.113.9"], "host '203.0.113.9', port 0: cannot be listened on"),
    ],
)
def test_what_label_refuses_is_one_line(store, tmp_path, capsys, words, message):
    status, _, err = run(capsys, "label", store, "--labels", tmp_path / "l.csv", *words)
    assert status == 1
    assert message in err
    assert not (tmp_path / "l.csv").exists()


def test_a_label_file_of_another_kind_is_not_touched(store, tmp_path, capsys):
    before = store.read_bytes()
    status, _, err = run(capsys, "label", store, "--labels", store)
    assert status == 1
    assert "is an HDF5 file" in err
    assert store.read_bytes() == before


@pytest.mark.slow
def test_label_serves_a_folder_and_nobody_without_the_token(store, tmp_path):
    labels = tmp_path / "l.csv"
    command = [sys.executable, "-m", "featx", "label", tmp_path / "photos", "--labels", labels,
               "--classes", "a, b", "--json"]  # fmt: skip
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        try:
            said = json.loads(process.stdout.readline())
            address, _, token = said["address"].partition("#token=")
            assert (said["labels"], said["n_labels"]) == (str(labels), 0)
            assert (tmp_path / "l.h5").exists()
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"{address}api/state")
            request = urllib.request.Request(
                f"{address}api/labels",
                data=json.dumps({"labels": [{"row": 0, "label": "a"}]}).encode(),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            state = json.load(urllib.request.urlopen(request))["state"]
            assert state["names"] == [{"name": "a", "n_labels": 1}, {"name": "b", "n_labels": 0}]
            assert labels.read_text() == "path,label\nphotos/0.png,a\n"
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
