"""Damaged and forged files of every kind (by the ten thousand: `faults/fuzz.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert said["runs"] == 7 * 150
    assert [line for kind in said["kinds"] for line in kind["findings"]] == []


def test_a_killed_save_leaves_one_of_two_whole() -> None:
    said = drive("save_kill.py", "--trials", "6", "--kinds", "model", "exact")
    assert (said["trials"], said["rows_lost"]) == (12, 0)
    assert said["old"] + said["new"] == 12


def test_what_a_killed_server_confirmed_is_there() -> None:
    said = drive("serve_kill.py", "--trials", "2")
    assert said["adds_confirmed"] >= 2
    assert said["rows_lost"] == 0
