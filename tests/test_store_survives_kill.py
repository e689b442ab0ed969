"""SIGKILL at any instant leaves the last commit (by the thousand: `faults/store_kill.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx.errors import FileFormatError, StoreWriteError
from featx.store import StoreWriter, open_store, verify_store
from featx.store._transaction import PatchedFile

DRIVER = Path(__file__).parent / "faults" / "store_kill.py"


def vectors(rows, generation=0):
    numbers = np.asarray(rows, np.float64)[:, None]
    return (np.sin(numbers * 0.7 + np.arange(48)) + generation).astype(np.float32)


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks its writers")


def drive(*arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(DRIVER), *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_no_committed_row_is_lost_when_the_writer_is_killed_at_random_instants():
    tally = drive("--trials", "40", "--max-delay-s", "0.3")
    assert tally["killed"] == 40
    assert tally["committed_rows_checked"] > 200  # few on a busy machine
    assert (tally["rows_lost"], tally["wrong_rows"], tally["not_opened"]) == (0, 0, 0)
    assert tally["problems"] == []


@pytest.mark.slow
def test_no_committed_row_is_lost_when_the_writer_dies_within_any_step_of_a_commit():
    tally = drive("--mode", "steps", "--trials", "40", "--stride", "3")
    assert tally["killed"] == 40
    # The steps after the journal is complete were among them.
    assert tally["journals_replayed"] > 3
    assert (tally["rows_lost"], tally["wrong_rows"], tally["not_opened"]) == (0, 0, 0)
    assert tally["problems"] == []


WRITER = """
import sys, time
from featx.store import StoreWriter
with StoreWriter(sys.argv[1]) as writer:
    table = writer.table(None, has_labels=False, n_features=2)
    table.append(["a"], [[1.0, 2.0]], digests=[""], sizes=[0], mtimes=[0])
    writer.commit()
    print("committed", flush=True)
    table.append(["b"], [[3.0, 4.0]], digests=[""], sizes=[0], mtimes=[0])
    time.sleep(60)
"""


def test_a_second_writer_is_refused_with_the_holders_pid_until_the_first_is_killed(tmp_path):
    path = tmp_path / "f.h5"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "committed\n"
        start = time.monotonic()
        with pytest.raises(StoreWriteError, match=rf"f\.h5.*process {first.pid} on "):
            StoreWriter(path)
        assert time.monotonic() - start < 1
        with open_store(path) as store, h5py.File(path, "r") as h5:  # readers are not refused
            np.testing.assert_array_equal(store[:], [[1, 2]])
            np.testing.assert_array_equal(h5["tables/outside/features"][:], [[1, 2]])
        first.send_signal(signal.SIGKILL)
        first.wait()
        with h5py.File(path, "r") as h5:  # no "open for writing" flag is left behind
            assert h5["tables/outside/path"].asstr()[:].tolist() == ["a"]
    with StoreWriter(path) as writer:
        assert list(writer.table(None, has_labels=False).rows_by_path()) == ["a"]


def test_a_writer_can_wait_for_another(tmp_path):
    path = tmp_path / "f.h5"
    with StoreWriter(path):
        start = time.monotonic()
        with pytest.raises(StoreWriteError, match=f"process {os.getpid()} on "):
            StoreWriter(path, timeout_s=0.2)
        assert 0.2 <= time.monotonic() - start < 2
    StoreWriter(path, timeout_s=0.2).close()
    StoreWriter(path, timeout_s=-1).close()


def test_readers_see_whole_commits_only_while_a_writer_writes(tmp_path):
    path = tmp_path / "f.h5"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import store_kill, os; "
        "store_kill.write_rounds(store_kill.Path(sys.argv[2]), 1)"
    )
    command = [sys.executable, "-c", code, str(DRIVER.parent), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        seen = set()
        stop = time.monotonic() + 2
        kept = open_store(path)
        # the label of row 0 changes with each commit, and is that of the last
        assert int(kept.labels[0].removeprefix("class ")) >= len(kept) // 40
        while time.monotonic() < stop:
            with open_store(path) as store:
                n = len(store)
                assert n % 40 == 0
                assert store.paths[-1] == f"/photos/{n - 1}.jpg"
                generation = int(store.labels[0].removeprefix("class "))
                assert generation >= n // 40
                np.testing.assert_array_equal(store[1:], vectors(range(1, n)))
                with contextlib.suppress(FileFormatError):  # row 0 changes with each commit
                    np.testing.assert_array_equal(store[[0]], vectors([0], generation))
                seen.add(n)
            assert kept.paths[-1] == f"/photos/{len(kept) - 1}.jpg"
            assert len(kept[1:]) == len(kept) - 1 < n
            assert verify_store(path).problems == ()
        writer.kill()
        writer.wait()
    kept.close()
    assert len(seen) > 3
    assert verify_store(path).ok


def test_a_commit_that_comes_in_at_any_read_of_an_opening_is_seen_whole(tmp_path, monkeypatch):
    """Where the size was read before it and the rest after, HDF5 notices nothing."""
    path = tmp_path / "f.h5"
    label = "so long that it has a heap of its own" * 200
    read_at = PatchedFile.read_at
    left = [0]

    with StoreWriter(path) as writer:

        def add_rows():
            table = writer.table(None, has_labels=True, n_features=2)
            n = table.n_samples
            rows = range(n, n + 40)
            table.append(
                [f"{i}" for i in rows],
                np.full((40, 2), n),
                digests=[f"{i:064x}" for i in rows],
                sizes=list(rows),
                mtimes=list(rows),
            )
            table.update(0, labels=[f"{n + 40} {label}"])
            writer.commit()

        def interrupted(file, offset, view):
            n = read_at(file, offset, view)
            if type(file) is PatchedFile:
                left[0] -= 1
                if left[0] == 0:
                    add_rows()
            return n

        add_rows()
        monkeypatch.setattr(PatchedFile, "read_at", interrupted)
        for n_reads in range(1, 60):
            left[0] = n_reads
            with open_store(path) as store:
                n = len(store)
                assert store.paths.tolist() == [f"{i}" for i in range(n)]
                number, _, rest = store.labels[0].partition(" ")
                assert int(number) >= n  # what was changed in place since has its new value
                assert rest == label
                assert store[:].shape == (n, 2)
    assert left[0] <= 0
