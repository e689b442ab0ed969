"""Disks that refuse, file systems without locks, clocks that jump: one line, and no row lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featx
from featx.errors import FeatxError, FileFormatError, StoreWriteError
from featx.store import StoreWriter, open_store, store_info, verify_store, write_features

pytestmark = pytest.mark.skipif(not hasattr(os, "preadv"), reason="needs preadv")

X = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
NET = {"backbone": "squeezenet1_1", "weights": None, "precision": "float32", "device": "cpu"}


@pytest.fixture
def store(tmp_path) -> Path:
    write_features(tmp_path / "f.h5", X, paths=[str(i) for i in range(200)]).close()
    return tmp_path / "f.h5"


def test_a_read_that_fails_at_any_operation_is_said_in_a_line(store, monkeypatch) -> None:
    """Every read of the disk fails in turn, once and from then on."""
    real, counter = os.preadv, {"left": 0, "sticky": False, "failed": False}

    def fails(*args):
        counter["left"] -= 1
        if counter["left"] == 0 or (counter["sticky"] and counter["left"] < 0):
            counter["failed"] = True
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args)

    monkeypatch.setattr(os, "preadv", fails)

    def everything() -> None:
        with open_store(store) as opened:
            np.testing.assert_array_equal(opened[:], X)
            np.testing.assert_array_equal(opened[[7, 3]], X[[7, 3]])
            assert opened.paths.tolist() == [str(i) for i in range(200)]
        store_info(store)
        assert verify_store(store).problems == ()

    said: list[str] = []
    for sticky in (False, True):
        for at in range(1, 10_000):
            counter.update(left=at, sticky=sticky, failed=False)
            try:
                everything()
            except FeatxError as err:
                said.append(str(err))
            except AssertionError:  # verify names a problem
                said.append("" if counter["failed"] else "wrong without a reason")
            if not counter["failed"]:
                break
    assert len(said) > 20
    assert not [line for line in said if "\n" in line or line == "wrong without a reason"]
    counter.update(left=0, sticky=False)
    everything()


def test_a_disk_that_refuses_is_not_called_damaged(store, monkeypatch) -> None:
    opened = open_store(store)

    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fails)
    for read in (lambda: opened[:], lambda: open_store(store), lambda: StoreWriter(store)):
        with pytest.raises(
            FileFormatError, match=r"Input/output error\); the disk or the network"
        ):
            read()
    monkeypatch.undo()
    np.testing.assert_array_equal(opened[:], X)


@pytest.mark.skipif(sys.platform == "win32", reason="other locks there")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_nothing_is_written(store, monkeypatch, number) -> None:
    def fails(*_):
        raise OSError(number, os.strerror(number))

    before = store.read_bytes()
    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(StoreWriteError, match=r"file system has no locks .*; put it on a"):
        StoreWriter(store)
    assert store.read_bytes() == before
    with open_store(store) as opened:  # reading needs none
        assert len(opened) == 200


def test_clocks_that_jump_hide_no_change(tmp_path) -> None:
    """A file's time may lie in the future or go back: that it is another one counts."""
    photo, store = tmp_path / "a.png", tmp_path / "f.h5"

    def extract(colour: str, mtime_s: float) -> tuple[int, np.ndarray]:
        Image.new("RGB", (40, 40), colour).save(photo)
        os.utime(photo, (mtime_s, mtime_s))
        with featx.extract(photo, store, progress=False, workers=0, **NET) as opened:
            return opened.summary.extracted, opened[0].copy()

    assert extract("red", 4e9)[0] == 1  # in the year 2096
    n_read, blue = extract("blue", 1e6)  # in 1970
    assert n_read == 1
    n_read, again = extract("blue", 2e9)  # touched only
    assert n_read == 0
    np.testing.assert_array_equal(again, blue)


@pytest.mark.slow
def test_operations_that_fail_lose_no_row() -> None:
    """A part of `faults/store_errors.py`."""
    script = Path(__file__).parent / "faults" / "store_errors.py"
    done = subprocess.run(
        [sys.executable, str(script), "--trials", "30", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout)
    assert (said["trials"], said["killed"], done.returncode) == (30, 30, 0)
    assert said["committed_rows_checked"] > 30 * 2 * 80
    assert [said[name] for name in ("rows_lost", "wrong_rows", "not_opened")] == [0, 0, 0]
