"""A disk that fills up, or fails, costs what was not committed and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from featx.errors import StoreWriteError
from featx.store import StoreWriter, _disk, open_store, verify_store

OPERATIONS = ("write_at", "resize", "sync", "sync_folder", "remove")


def append(writer, start, n=50):
    rows = np.arange(start, start + n)
    table = writer.table(None, has_labels=True, n_features=600)
    table.append(
        [f"{i}.jpg" for i in rows],
        np.repeat(rows[:, None], 600, axis=1),
        digests=[""] * n,
        sizes=[0] * n,
        mtimes=[0] * n,
        labels=["x" * 300] * n,
    )


def check(path, allowed):
    result = verify_store(path)
    assert result.ok, result.problems
    with open_store(path) as store:
        assert len(store) in allowed
        np.testing.assert_array_equal(store[:][:, 0], np.arange(len(store)))
        return len(store)


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "f.h5"
    with StoreWriter(path) as writer:
        append(writer, 0)
    return path


class FailingDisk:
    """Refuse the k-th operation, and all later ones while `stays_full`."""

    def __init__(self, monkeypatch, fails_at, *, stays_full):
        self.n, self.fails_at, self.stays_full = 0, fails_at, stays_full
        for name in OPERATIONS:
            monkeypatch.setattr(_disk, name, self.wrap(getattr(_disk, name)))

    def wrap(self, operation):
        def refuse_or_do(*arguments):
            self.n += 1
            late = self.n > self.fails_at and self.stays_full
            if self.n == self.fails_at or late:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return operation(*arguments)

        return refuse_or_do


@pytest.mark.parametrize("stays_full", [False, True], ids=["once", "from-then-on"])
def test_a_commit_that_fails_at_any_operation_leaves_the_committed_rows(
    small_store, tmp_path, monkeypatch, stays_full
):
    path = tmp_path / "f.h5"
    outcomes = set()
    for k in range(1, 200):
        shutil.copy(small_store, path)
        writer = StoreWriter(path)
        append(writer, 50)
        with monkeypatch.context() as patch:
            disk = FailingDisk(patch, k, stays_full=stays_full)
            failed = None
            try:
                writer.commit()
            except StoreWriteError as err:
                failed = str(err)
        writer.close()
        if disk.n < k:
            break
        # Where the message says "everything is committed", it is; else only a journal that could
        # not be taken back either may carry the commit to the next opening.
        with StoreWriter(path):
            pass
        n = check(
            path, {100} if failed is None or "everything is committed" in failed else {50, 100}
        )
        assert failed is None or "No space left on device" in failed
        assert failed is None or "50 rows are committed" in failed or n == 100
        outcomes.add((failed is not None, n))
    assert k > 8
    assert (True, 50) in outcomes


def test_a_commit_can_be_tried_again_once_there_is_room(small_store, tmp_path, monkeypatch):
    path = tmp_path / "f.h5"
    shutil.copy(small_store, path)
    with StoreWriter(path) as writer:
        append(writer, 50)
        with monkeypatch.context() as patch:
            FailingDisk(patch, 2, stays_full=False)
            with pytest.raises(
                StoreWriteError, match="50 rows are committed and stay, 50 are not"
            ):
                writer.commit()
        assert path.stat().st_size == small_store.stat().st_size
        writer.commit()
    assert check(path, {100}) == 100


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from test_store_survives_full_disk import append, StoreWriter, StoreWriteError
limit = int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
n = 0
try:
    with StoreWriter(sys.argv[1]) as writer:
        for n in range(0, 100_000, 50):
            append(writer, n)
            writer.commit()
except StoreWriteError as err:
    print(n, err)
"""


def fill(path, limit_bytes):
    arguments = [sys.executable, "-c", LIMITED, str(path), os.path.dirname(__file__)]  # noqa: PTH120
    done = subprocess.run(
        [*arguments, str(limit_bytes)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.skipif(os.name == "nt", reason="limits on the size of a file are POSIX")
def test_a_file_that_the_system_refuses_to_let_grow_keeps_its_commits(tmp_path):
    path = tmp_path / "f.h5"
    said = fill(path, 3_000_000)
    n = int(said.split()[0])
    assert n > 100
    assert f"{n} rows are committed and stay, 50 are not" in said
    assert check(path, {n}) == n
    with StoreWriter(path) as writer:
        append(writer, n)
    assert check(path, {n + 50})


def test_a_really_full_file_system_keeps_its_commits(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)],
            capture_output=True,
            text=True,
            check=False,
        )
        if shutil.which("mount")
        else None
    )
    if mounted is None or mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        said = fill(disk / "f.h5", 0)
        n = int(said.split()[0])
        assert "No space left on device" in said
        assert f"{n} rows are committed and stay, 50 are not" in said
        assert check(disk / "f.h5", {n}) == n
    finally:
        subprocess.run(["umount", str(disk)], check=True)
