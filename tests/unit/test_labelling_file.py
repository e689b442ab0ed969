"""A label file that editors and other people write while a session is open: nothing is lost."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from PIL import Image

from featx.cli.main import main
from featx.errors import ManifestError, ParameterError, StoreWriteError
from featx.labelling import LabelSession
from featx.labelling.label_file import LabelFile
from featx.store import write_features

N = 12


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [str(folder / f"{i}.png") for i in range(N)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    X = np.eye(2, 4)[np.arange(N) % 2] + 0.1 * np.random.default_rng(0).normal(size=(N, 4))
    return write_features(tmp_path / "f.h5", X, paths=paths)


@pytest.fixture
def session(store, tmp_path):
    session = LabelSession(store, tmp_path / "labels.csv")
    session.add({0: "cat", 1: "dog", 2: "cat"})
    return session


def given(path, encoding="utf-8-sig", delimiter=","):
    with path.open(newline="", encoding=encoding) as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    return {row["path"]: row["label"] for row in rows}


MINE = {"photos/0.png": "cat", "photos/1.png": "dog", "photos/2.png": "cat"}


@pytest.mark.parametrize(
    ("text", "encoding", "delimiter", "also"),
    [
        ("path,label\n{0}photos/5.png,owl\n", "utf-8", ",", {"photos/5.png": "owl"}),
        ("path,label\nphotos/2.png,cat\nphotos/1.png,dog\nphotos/0.png,cat\n", "utf-8", ",", {}),
        ("path,label\nphotos/2.png,cat\n", "utf-8", ",", {}),
        ("path,label\n", "utf-8", ",", {}),
        ("", "utf-8", ",", {}),
        ("path,label\n{0}", "utf-8-sig", ",", {}),
        ("path,label\r\n{0}", "utf-8", ",", {}),
        ("path;label\n{0}", "utf-8", ";", {}),
        ("path\tlabel\n{0}", "utf-16", "\t", {}),
        ('"path","label"\n{0}\n\n', "utf-8", ",", {}),
    ],
    ids=["added", "reordered", "deleted", "all deleted", "emptied", "byte order mark", "CRLF",
         "semicolon", "UTF-16 with tabs", "quotes and empty lines"],
)  # fmt: skip
def test_what_an_editor_saves_is_merged(session, tmp_path, text, encoding, delimiter, also):
    path, end = tmp_path / "labels.csv", "\r\n" if "\r\n" in text else "\n"
    rows = "".join(f"{p}{delimiter}{label}{end}" for p, label in MINE.items())
    path.write_bytes(text.format(rows).encode(encoding))
    session.add({7: "fox"})
    assert given(path, encoding, delimiter) == {**MINE, **also, "photos/7.png": "fox"}
    data = path.read_bytes()
    if encoding == "utf-8-sig":
        assert data.startswith(b"\xef\xbb\xbf")
    assert (b"\r\n" in data) == (end == "\r\n")
    if "deleted" in text or text in ("", "path,label\n"):
        assert "3 of your labels were missing and are put back" in session.file.messages


def test_the_first_line_that_excel_writes_stays(session, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"sep=;\r\npath;label\r\nphotos/0.png;cat\r\n")
    session.add({3: "owl"})
    assert path.read_bytes().startswith(b"sep=;\r\npath;label\r\nphotos/0.png;cat\r\n")
    assert path.read_bytes().endswith(b"photos/3.png;owl\r\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nphotos/0.png,cat\nphotos/0.png,dog\n", "line 3"),
        ("path,label\nphotos/0.png,cat,more\n", "line 2: got 3 fields, expected 2"),
        ("file,label\nphotos/0.png,cat\n", "Is it 'file'"),
        ("PK\x03\x04rest", "an Excel workbook"),
    ],
    ids=["two labels", "too many fields", "column renamed", "saved as a workbook"],
)
def test_what_an_editor_has_broken_is_said_and_labels_wait(session, tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        session.add({3: "owl"})
    assert path.read_text() == text  # not touched
    path.write_text("path,label\n")  # mended
    session.add({3: "owl"})
    assert given(path) == {**MINE, "photos/3.png": "owl"}


def test_a_value_of_an_attribute_may_be_in_a_spreadsheets_words(store, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("path,red,round\nphotos/0.png,TRUE,no\nphotos/1.png,1.0,\n")
    session = LabelSession(store, path, attributes=["red", "round"])
    assert session.count() == {"red": 2, "round": 0}
    assert session.labels_of(0) == ["red"]
    session.add({2: ["round"]})
    assert path.read_text().splitlines()[1:] == [
        "photos/0.png,TRUE,no", "photos/1.png,1.0,", "photos/2.png,0,1",
    ]  # fmt: skip
    path.write_text("path,red,round\nphotos/0.png,maybe,no\n")
    with pytest.raises(ManifestError, match=r"column 'red' has 'maybe', expected 0, 1"):
        session.refresh()


def test_labels_of_images_that_were_moved_stay_labels_when_more_are_given(store, tmp_path):
    # The rows fit by the ends of their paths; one whole path, and none of them would any more.
    path = tmp_path / "elsewhere" / "labels.csv"
    path.parent.mkdir()
    path.write_text("path,label\nphotos/0.png,cat\nphotos/1.png,dog\n")
    session = LabelSession(store, path)
    session.add({3: "owl"})
    assert given(path) == {"photos/0.png": "cat", "photos/1.png": "dog", "photos/3.png": "owl"}
    assert len(LabelSession(store, path).labels) == 3


@pytest.mark.parametrize(
    "name", ['a, "quoted" cat', "café ☕", "🐈", "a;b\tc", "'", "-1", " spaces "]
)
def test_a_class_may_be_called_nearly_anything(session, store, tmp_path, name):
    session.add({5: name})
    assert given(tmp_path / "labels.csv")["photos/5.png"] == name.strip()
    assert LabelSession(store, tmp_path / "labels.csv").labels_of(5) == [name.strip()]


def test_one_class_has_one_name_however_it_is_typed(session, tmp_path):
    session.add({5: "caf\u00e9", 6: "cafe\u0301"})  # composed, and with a combining accent
    assert session.classes == ["cat", "dog", "caf\u00e9"]
    assert LabelSession(session.store, tmp_path / "labels.csv").classes == session.classes


@pytest.mark.parametrize("name", ["None", "nan", "NA"])
def test_a_name_that_a_file_has_for_no_label_is_refused(session, tmp_path, name):
    with pytest.raises(ParameterError, match="has no label there; choose another name"):
        session.add({5: name})
    assert given(tmp_path / "labels.csv") == MINE


@pytest.mark.parametrize("name", ["=1+1", "@cat", "+cat", "-cat"])
def test_a_name_that_a_spreadsheet_would_compute_is_refused(session, store, tmp_path, name):
    with pytest.raises(ParameterError, match="takes for a formula"):
        session.add({5: name})
    path = tmp_path / "labels.csv"
    path.write_text(f"path,label\nphotos/6.png,{name}\n")  # somebody's own: it is theirs
    session.add({5: name})
    assert given(path) == {**MINE, "photos/5.png": name, "photos/6.png": name}


def test_a_file_that_may_not_be_written_stays_and_nothing_is_lost(session, tmp_path):
    path = tmp_path / "labels.csv"
    path.chmod(0o444)
    with pytest.raises(StoreWriteError, match=r"labels.csv'.* may not be written; give yourself"):
        session.add({5: "owl"})
    assert given(path) == MINE
    assert len(session.labels) == 3
    path.chmod(0o644)
    session.add({5: "owl"})
    assert given(path) == {**MINE, "photos/5.png": "owl"}


def test_a_folder_that_goes_away_is_said_and_labels_come_back(store, tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    session = LabelSession(store, folder / "labels.csv")
    session.add({0: "cat"})
    folder.rename(tmp_path / "gone")
    with pytest.raises(StoreWriteError, match="does not exist"):
        session.add({1: "dog"})
    folder.mkdir()
    session.add({2: "cat"})
    assert given(folder / "labels.csv").keys() == {
        str(tmp_path / "photos" / "0.png"), str(tmp_path / "photos" / "2.png"),
    }  # fmt: skip


def test_threads_and_sessions_on_one_file_lose_nothing(store, tmp_path):
    files = [LabelFile(tmp_path / "l.csv", store.paths.tolist()) for _ in range(4)]

    def write(k):
        for row in range(k, N, 4):
            files[k].put({row: (f"of {k}",)})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    expected = {row: (f"of {row % 4}",) for row in range(N)}
    for file in files:
        file.refresh()
        assert file.values == expected


# -- on the command line --


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("nowhere/l.csv", r"its folder .*nowhere' does not exist"),
        ("photos", "is a folder, expected a file"),
        ("locked.csv", "may not be written"),
        ("unfit.csv", "none of its 1 paths fits one of the 12 images"),
    ],
)
def test_a_label_file_that_will_not_do_is_one_line(store, tmp_path, capsys, labels, message):
    (tmp_path / "locked.csv").write_text("path,label\n")
    (tmp_path / "locked.csv").chmod(0o444)
    (tmp_path / "unfit.csv").write_text("path,label\n/x/y.jpg,cat\n")
    status = main(["label", store.path, "--labels", str(tmp_path / labels)])
    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    assert err.count("\n") == 1

    assert re.search(message, err)


def test_a_folder_is_not_read_for_a_label_file_that_will_not_do(store, tmp_path, capsys):
    status = main(["label", str(tmp_path / "photos"), "--labels", str(tmp_path / "no" / "l.csv"),
                   "--store", str(tmp_path / "new.h5")])  # fmt: skip
    assert status == 1
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "new.h5").exists()


def test_images_that_were_moved_are_said_before_there_is_a_page(store, tmp_path, capsys):
    (tmp_path / "photos").rename(tmp_path / "moved")
    status = main(["label", store.path, "--labels", str(tmp_path / "l.csv")])
    err = capsys.readouterr().err
    assert status == 1
    assert "none of 12 images that were tried can be read" in err
    assert "photos/0.png" in err
    assert err.count("\n") == 1


@contextmanager
def serving(store_path, labels):
    """Run `featx label`; yields what asks it."""
    command = [
        sys.executable,
        "-m",
        "featx",
        "label",
        store_path,
        "--labels",
        str(labels),
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address, _, token = json.loads(process.stdout.readline())["address"].partition(
                "#token="
            )

            def ask(path, body=None):
                request = urllib.request.Request(
                    address + path,
                    data=None if body is None else json.dumps(body).encode(),
                    headers={"Authorization": f"Bearer {token}",
                             "Content-Type": "application/json"},
                )  # fmt: skip
                with urllib.request.urlopen(request) as response:
                    return json.load(response)

            yield ask
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


@pytest.mark.slow
def test_two_servers_on_one_file_lose_nothing_and_see_each_others_labels(store, tmp_path):
    labels = tmp_path / "labels.csv"
    with ExitStack() as stack:
        ann, bob = (stack.enter_context(serving(store.path, labels)) for _ in range(2))

        def label(ask, rows, name):
            for row in rows:
                ask("api/labels", {"labels": [{"row": row, "label": name}]})

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(label, (ann, bob), (range(0, 10, 2), range(1, 10, 2)), ("a", "b")))
        assert given(labels) == {f"photos/{r}.png": "b" if r % 2 else "a" for r in range(10)}
        state = ann("api/labels", {"labels": [{"row": 10, "label": "a"}]})["state"]
        assert state["n_labels"] == 11  # after a stroke, with Bob's
        assert ann("api/guesses", {"rows": [1, 11]})["given"] == {"1": ["b"]}
        assert bob("api/state")["n_labels"] == 11
