"""SIGKILL between any two strokes loses no label (by the hundred: `faults/label_kill.py`)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parent / "faults" / "label_kill.py"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


@pytest.mark.slow
def test_killed_sessions_keep_every_label_that_they_reported() -> None:
    done = subprocess.run(
        [sys.executable, str(DRIVER), "--trials", "20"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout)
    assert done.returncode == 0, said
    assert said["rows_checked"] > 100
    assert said["rows_lost"] == said["wrong_rows"] == 0
