"""SIGKILL during a sync loses no row (every engine, by the hundred: `faults/database_kill.py`)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parent / "faults" / "database_kill.py"
PACKAGES = {"sqlite": "sqlite_vec", "duckdb": "duckdb", "qdrant": "qdrant_client"}

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


@pytest.mark.slow
@pytest.mark.parametrize("engine", PACKAGES)
def test_the_sync_after_a_killed_one_leaves_the_store(engine: str) -> None:
    pytest.importorskip(PACKAGES[engine])
    done = subprocess.run(
        [sys.executable, str(DRIVER), "--engine", engine, "--trials", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["killed"] == 3
    assert said["rows_checked"] >= 3 * 600
