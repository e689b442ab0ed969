"""Removing rows: what stays is what was there, for whoever reads and whatever kills the writer."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from featx.errors import FeatxError, ParameterError, StoreWriteError
from featx.store import (
    Failure,
    StoreWriter,
    _edits,
    open_store,
    store_info,
    verify_store,
    write_features,
)
from featx.store.prune import remove_images

sys.path.insert(0, str(Path(__file__).parent / "faults"))
from store_kill import die_at

N = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a store of 60 rows, one failure and a column."""
    names = [f"{i}.jpg" for i in range(N)]
    write_features(
        tmp_path / "f.h5",
        np.arange(N * 3.0).reshape(N, 3),
        paths=names,
        labels=[f"label {i}" for i in range(N)],
        metadata={"width/height": [f"{i}/1" for i in range(N)]},
    ).close()
    with StoreWriter(tmp_path / "f.h5") as writer:
        writer.add_failures([Failure("bad.jpg", "cut short")])
    return tmp_path / "f.h5"


def require_rows_fit(store) -> list[int]:
    """Check that all columns of each row are of one image; return the images' numbers."""
    numbers = [int(path.removesuffix(".jpg")) for path in store.paths.tolist()]
    expected = np.arange(N * 3.0, dtype=np.float32).reshape(N, 3)[numbers]
    np.testing.assert_array_equal(store[:], expected)
    assert store.labels.tolist() == [f"label {i}" for i in numbers]
    assert store.metadata["width/height"].tolist() == [f"{i}/1" for i in numbers]
    assert verify_store(store.path).ok
    return numbers


SETS = {
    "first": {0},
    "last": {N - 1},
    "two neighbours": {7, 8},
    "every second": set(range(0, N, 2)),
    "all but one": set(range(N)) - {30},
    "all": set(range(N)),
    "none": set(),
}


@pytest.mark.parametrize("at_once", [2**26, 12 * 7, 1], ids=["in order", "by sevens", "by one"])
@pytest.mark.parametrize("removed", SETS.values(), ids=SETS)
def test_what_stays_is_what_was_there(path: Path, monkeypatch, removed: set[int], at_once: int):
    monkeypatch.setattr(_edits, "REMOVED_AT_ONCE", at_once)
    kept = [i for i in range(N) if i not in removed]
    with open_store(path) as store:
        n_pruned = store.prune(keep=[f"{i}.jpg" for i in kept])
        assert n_pruned == len(removed) + 1  # and the failure
        found = require_rows_fit(store)
        assert store.failures == ()
    assert sorted(found) == kept
    if at_once == 2**26:
        assert found == kept
    again = sorted(removed)
    with StoreWriter(path) as writer:  # a writer goes on behind what is left
        table = writer.table(None, has_labels=True)
        table.append(
            [f"{i}.jpg" for i in again],
            np.arange(N * 3.0).reshape(N, 3)[again],
            digests=[""] * len(again),
            sizes=[0] * len(again),
            mtimes=[0] * len(again),
            labels=[f"label {i}" for i in again],
            metadata={"width/height": [f"{i}/1" for i in again]},
        )
    with open_store(path) as store:
        assert require_rows_fit(store) == [*found, *again]


def test_rows_are_removed_together_with_what_else_waits_for_the_commit(path: Path):
    with StoreWriter(path) as writer:
        table = writer.table(None, has_labels=True)
        table.remove(3)
        more = np.zeros((2, 3))
        table.append(["new", "newer"], more, digests=[""] * 2, sizes=[0] * 2, mtimes=[0] * 2)
        table.remove([60])
        table.update([4], labels=["another"])
        assert (table.n_samples, table.n_pending) == (62, 5)
        writer.commit()
        assert (table.n_samples, table.n_pending) == (60, 0)
        assert table.row_of("4.jpg") == 3
        assert table.row_of("3.jpg") is None
        assert [row.row for row in table.rows_by_path().values()] == list(range(60))
        table.update([3], labels=["a third"])
    with open_store(path) as store:
        assert store.paths.tolist() == [f"{i}.jpg" for i in range(N) if i != 3] + ["newer"]
        assert store.labels[3] == "a third"
    assert verify_store(path).ok


def test_a_row_that_is_not_there_is_not_removed(path: Path):
    with StoreWriter(path) as writer, pytest.raises(ParameterError, match="got 60, expected"):
        writer.table(None, has_labels=True).remove(60)


def test_only_absolute_names_of_files_that_are_gone_are_pruned_by_themselves(tmp_path: Path):
    there = tmp_path / "there.jpg"
    there.touch()
    gone = str(tmp_path / "no" / "folder.jpg")
    names = [str(there), gone, "relative.jpg", "memory:00", "https://host/a.jpg", f"{there}/x"]
    store = write_features(tmp_path / "f.h5", np.eye(6), paths=names)
    assert store.prune() == 2
    assert store.paths.tolist() == [names[i] for i in (0, 2, 3, 4)]
    assert store.prune(keep=[there, "relative.jpg"]) == 2
    with pytest.raises(ParameterError, match=r"keep: got 1 paths, of which store .* has none"):
        store.prune(keep=["mistyped.jpg"])
    with pytest.raises(ParameterError, match=r"keep: got 'relative.jpg', expected a list"):
        store.prune(keep="relative.jpg")
    assert store.prune(keep=[]) == 2
    assert store.shape == (0, 6)


def test_pruning_waits_for_no_writer_and_says_who_it_is(path: Path):
    with (
        StoreWriter(path),
        open_store(path) as store,
        pytest.raises(StoreWriteError, match="another writer has it open"),
    ):
        store.prune(keep=["0.jpg"])


@pytest.mark.parametrize("at_once", [2**26, 1], ids=["in order", "by one"])
@pytest.mark.parametrize("touched", ["nothing", "paths", "vectors", "both"])
def test_an_open_reader_never_gives_a_row_of_another_image(
    path: Path, monkeypatch, touched: str, at_once: int
):
    monkeypatch.setattr(_edits, "REMOVED_AT_ONCE", at_once)
    reader = open_store(path)
    if touched in ("paths", "both"):
        assert reader.paths[5] == "5.jpg"
    if touched in ("vectors", "both"):
        assert reader[5][0] == 15
    with open_store(path) as other:
        other.prune(keep=[f"{i}.jpg" for i in range(N) if i not in (5, 50)])
    for row in range(N):
        try:
            found = reader[row]
        except FeatxError as err:
            assert "open" in str(err)  # noqa: PT017 - either is right
            continue
        np.testing.assert_array_equal(found, [3 * row, 3 * row + 1, 3 * row + 2])
    try:
        paths = reader.paths.tolist()
    except FeatxError:
        return
    assert paths == [f"{i}.jpg" for i in range(N)]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forked")
@pytest.mark.parametrize("at_once", [2**26, 12 * 7], ids=["in order", "by sevens"])
def test_a_prune_that_is_killed_at_any_step_leaves_rows_that_fit(
    path: Path, tmp_path: Path, monkeypatch, at_once: int
):
    monkeypatch.setattr(_edits, "REMOVED_AT_ONCE", at_once)
    gone = [f"{i}.jpg" for i in range(0, N, 3)]
    sizes, step = set(), 0
    while True:
        mine = tmp_path / f"{step}" / "f.h5"
        mine.parent.mkdir()
        shutil.copy(path, mine)
        child = os.fork()
        if child == 0:
            die_at(step, half_done=step % 2 == 1)
            with StoreWriter(mine) as writer:
                remove_images(writer, gone)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        with open_store(mine) as store:
            numbers = require_rows_fit(store)
            assert set(range(N)) - {int(name.removesuffix(".jpg")) for name in gone} <= {*numbers}
            sizes.add(len(numbers))
        with StoreWriter(mine) as writer:  # and the next writer finishes it
            remove_images(writer, gone)
        assert store_info(mine).tables[0].n_samples == N - len(gone)
        assert verify_store(mine).ok
        if not os.WIFSIGNALED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        step += 1
    assert step > 10
    assert sizes == ({N, N - len(gone)} if at_once == 2**26 else {60, 53, 46, 40})


def test_an_image_is_kept_by_either_unicode_form_of_its_path(tmp_path):
    """Would catch rows that are lost because a list was typed on another system."""
    composed, apart = (unicodedata.normalize(form, "/p/été.jpg") for form in ("NFC", "NFD"))
    with write_features(
        tmp_path / "f.h5", np.eye(3), paths=[apart, "/p/a.jpg", "/p/b.jpg"]
    ) as store:
        assert store.prune(keep=[composed, "/p/a.jpg"]) == 1
        assert store.paths.tolist() == [apart, "/p/a.jpg"]
    with write_features(tmp_path / "g.h5", np.eye(2), paths=[apart, composed]) as store:
        assert store.prune(keep=[composed]) == 1  # each is there as it is written
        assert store.paths.tolist() == [composed]
