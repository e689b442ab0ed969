"""Damaged and forged files of every kind (by the ten thousand: `faults/fuzz.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx.errors import FileFormatError
from featx.store import open_store, verify_store, write_features

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
    said = drive("fuzz.py", "--runs", "150", "--seed", "11")
    assert said["runs"] == 9 * 150
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
    with pytest.raises(FileFormatError, match="claims 8589934592 rows, of which some are in no"):
        open_store(forged)
    assert not verify_store(forged).ok


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
