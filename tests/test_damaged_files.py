"""Damaged and forged files of every kind (by the ten thousand: `faults/fuzz.py`)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx.errors import FileFormatError, StoreWriteError
from featx.store import (
    StoreWriter,
    _container,
    _transaction,
    open_store,
    verify_store,
    write_features,
)
from featx.store._journal import Journal

FAULTS = Path(__file__).parent / "faults"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the scripts fork"),
]


def drive(script: str, *arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(FAULTS / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_damaged_files_end_in_one_line() -> None:
    said = drive("fuzz.py", "--runs", "60", "--seed", "11")
    assert said["runs"] == 13 * 60
    assert [line for kind in said["kinds"] for line in kind["findings"]] == []


def test_a_killed_save_leaves_one_of_two_whole() -> None:
    said = drive("save_kill.py", "--trials", "6", "--kinds", "model", "exact")
    assert (said["trials"], said["rows_lost"]) == (12, 0)
    assert said["old"] + said["new"] == 12


def test_what_a_killed_server_confirmed_is_there() -> None:
    said = drive("serve_kill.py", "--trials", "1")
    assert said["adds_confirmed"] >= 1
    assert said["rows_lost"] == 0


# -- forged stores, whose checksums fit ---------------------------------------------------------


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    path = tmp_path / "f.h5"
    write_features(path, np.eye(4), paths=list("abcd"), metadata={"who": list("wxyz")}).close()
    return path


def test_a_store_that_claims_rows_it_does_not_hold_is_refused_at_once(forged: Path) -> None:
    with h5py.File(forged, "r+") as h5:
        h5["tables/outside/features"].resize(2**33, axis=0)
    with pytest.raises(FileFormatError, match="is a dataset of 137438953472 bytes in a file of"):
        open_store(forged)
    assert not verify_store(forged).ok


FIELDS = {
    "n_ranges": (12, "<I"),
    "new_eof": (24, "<Q"),
    "offset": (104, "<Q"),
    "length": (112, "<Q"),
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_ranges", 0),
        ("n_ranges", 2**31),
        ("new_eof", 2**62),
        ("offset", 2**63),
        ("length", 2**62),
        ("length", 1),
    ],
)
def test_a_journal_that_lies_is_no_journal(
    forged: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: int
) -> None:
    def refuse(*_) -> None:
        raise OSError(5, "the disk is gone")

    writer = StoreWriter(forged)
    writer.table(None, has_labels=False).update([2], features=[[9, 9, 9, 9]])
    with monkeypatch.context() as patch:
        patch.setattr(_transaction, "apply_journal", refuse)
        patch.setattr(_container, "apply_journal", refuse)
        with pytest.raises(StoreWriteError, match=r"only in f\.h5\.journal"):
            writer.commit()
        writer.close()
    journal = forged.with_name("f.h5.journal")
    body = bytearray(journal.read_bytes()[:-32])
    at, kind = FIELDS[field]
    struct.pack_into(kind, body, at, value)
    lie = bytes(body) + hashlib.sha256(body).digest()
    assert Journal.from_bytes(lie) is None or field == "new_eof"
    size, content = forged.stat().st_size, forged.read_bytes()
    for read in (lambda: open_store(forged).close(), lambda: StoreWriter(forged).close()):
        forged.write_bytes(content)
        journal.write_bytes(lie)
        with contextlib.suppress(FileFormatError):
            read()
        assert forged.stat().st_size <= size


def test_a_damaged_store_is_refused_by_a_writer_in_one_line(forged: Path) -> None:
    whole = forged.read_bytes()
    with h5py.File(forged, "r") as h5:
        place = h5py.h5o.get_info(h5["tables"].id).addr
    forged.write_bytes(whole[: place + 6] + b"\xff" + whole[place + 7 :])
    with (
        pytest.raises(FileFormatError, match=r"cannot be read \(.*featx verify says where"),
        StoreWriter(forged) as writer,
    ):
        writer.table(None, has_labels=True)


def test_odd_attributes_and_columns_are_named(forged: Path) -> None:
    with h5py.File(forged, "r+") as h5:
        del h5["tables/outside/metadata/who"]
        h5["tables/outside/metadata/who"] = np.arange(4)
    with open_store(forged) as store, pytest.raises(FileFormatError, match="int64, expected text"):
        _ = store.paths
    with h5py.File(forged, "r+") as h5:
        h5.attrs["format_version"] = [1, 2]
    with pytest.raises(FileFormatError, match=r"got format version \[1 2\], expected 1"):
        open_store(forged)
    with h5py.File(forged, "r+") as h5:
        h5.attrs["format"] = [1, 2]
    with pytest.raises(FileFormatError, match=r"attribute 'format' is array\(\[1, 2\]\)"):
        open_store(forged)


def test_vectors_in_one_piece_are_a_problem_for_verify(forged: Path) -> None:
    with h5py.File(forged, "r+") as h5:
        values = h5["tables/outside/features"][:]
        del h5["tables/outside/features"]
        h5["tables/outside/features"] = values
    with open_store(forged) as store:  # which other tools may have done
        np.testing.assert_array_equal(store[:], np.eye(4))
    (problem,) = verify_store(forged).problems
    assert "stored in one piece, expected chunks of rows" in problem
