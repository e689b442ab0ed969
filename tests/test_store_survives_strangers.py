"""Other programs move, replace and plant files beside a store: no commit is lost or made up."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featx.errors import FeatxError, FileFormatError, StoreWriteError
from featx.store import (
    Failure,
    FeatureStore,
    StoreWriter,
    _transaction,
    open_store,
    store_info,
    verify_store,
    write_features,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="open files keep their names there")


def add(writer: StoreWriter, *paths: str) -> None:
    n = len(paths)
    writer.table(None, has_labels=True, n_features=3).append(
        list(paths),
        np.ones((n, 3)),
        digests=[""] * n,
        sizes=[0] * n,
        mtimes=[0] * n,
        labels=[f"of {path}" for path in paths],
    )


def paths_in(path: Path) -> list[str]:
    with open_store(path) as store:
        return store.paths.tolist()


@pytest.fixture
def store(tmp_path) -> Path:
    path = tmp_path / "here" / "f.h5"
    path.parent.mkdir()
    with StoreWriter(path) as writer:
        add(writer, "a", "b")
    return path


def by_hard_link(store: Path, folder: Path) -> Path:
    os.link(store, folder / "g.h5")
    return folder / "g.h5"


def by_move(store: Path, folder: Path) -> Path:
    return store.rename(folder / "g.h5")


def by_move_of_folder(store: Path, folder: Path) -> Path:
    return store.parent.rename(folder / "moved") / store.name


def by_link(store: Path, folder: Path) -> Path:
    (folder / "g.h5").symlink_to(store)
    return folder / "g.h5"


def by_linked_folder(store: Path, folder: Path) -> Path:
    (folder / "g").symlink_to(store.parent)
    return folder / "g" / store.name


def by_lost_lock(store: Path, folder: Path) -> Path:
    store.with_name(".f.h5.lock").unlink()
    return store


NAMES = [by_hard_link, by_move, by_move_of_folder, by_link, by_linked_folder, by_lost_lock]


@pytest.mark.parametrize("renamed", NAMES)
def test_a_second_writer_is_refused_by_whatever_name_it_comes(store, tmp_path, renamed) -> None:
    with StoreWriter(store) as first:
        other = renamed(store, tmp_path)
        with open_store(other):  # closing it must not let the lock go
            pass
        for timeout_s in (0.0, 0.1):
            with pytest.raises(StoreWriteError, match="another writer has it open"):
                StoreWriter(other, timeout_s=timeout_s)
        if store.exists():
            add(first, "c")
    expected = ["a", "b", "c"] if store.exists() else ["a", "b"]
    assert paths_in(other) == expected
    with StoreWriter(other) as second:
        add(second, "d")
    assert paths_in(other) == [*expected, "d"]


def test_a_child_that_exits_leaves_the_lock_to_its_parent(store) -> None:
    with StoreWriter(store) as writer:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        os.link(store, store.with_name("g.h5"))
        for name in (store, store.with_name("g.h5")):
            with pytest.raises(StoreWriteError, match="another writer has it open"):
                StoreWriter(name)
        add(writer, "c")
    assert paths_in(store) == ["a", "b", "c"]


def removed(store: Path) -> None:
    store.unlink()


def moved(store: Path) -> None:
    store.rename(store.with_name("moved.h5"))


def folder_removed(store: Path) -> None:
    shutil.rmtree(store.parent)


def folder_moved(store: Path) -> None:
    store.parent.rename(store.parent.with_name("elsewhere"))


def replaced_by_a_store(store: Path) -> None:
    write_features(store.with_name("other.h5"), np.eye(3), paths=["x", "y", "z"]).close()
    store.with_name("other.h5").replace(store)


def replaced_by_a_folder(store: Path) -> None:
    store.unlink()
    store.mkdir()


def replaced_by_a_link(store: Path) -> None:
    store.rename(store.with_name("moved.h5"))
    store.symlink_to("moved.h5")


def overwritten_in_place(store: Path) -> None:
    write_features(store.with_name("other.h5"), np.eye(3), paths=["x", "y", "z"]).close()
    store.write_bytes(store.with_name("other.h5").read_bytes())


def emptied(store: Path) -> None:
    os.truncate(store, 0)


def cut_short(store: Path) -> None:
    os.truncate(store, store.stat().st_size // 2)


HANDS = [
    removed,
    moved,
    folder_removed,
    folder_moved,
    replaced_by_a_store,
    replaced_by_a_folder,
    replaced_by_a_link,
    overwritten_in_place,
    emptied,
    cut_short,
]


def what_lies_at(place: Path) -> dict[str, bytes]:
    found = place.parent.rglob("*") if place.parent.exists() else []
    return {
        str(path): path.read_bytes()
        for path in found
        if path.is_file() and not path.name.endswith(".lock")
    }


@pytest.mark.parametrize("hand", HANDS)
def test_no_commit_returns_once_the_file_is_not_the_one_that_is_open(store, hand) -> None:
    writer = StoreWriter(store)
    add(writer, "c")
    writer.commit()
    kept = shutil.copy(store, store.parent.with_name("kept.h5"))
    hand(store)
    before = what_lies_at(store)
    add(writer, "d")
    with pytest.raises(StoreWriteError, match=r"f\.h5.*(moved, replaced|something else has)"):
        writer.commit()
    with pytest.raises(StoreWriteError, match="this writer is closed"):
        writer.commit()
    writer.close()
    assert what_lies_at(store) == before
    assert paths_in(kept) == ["a", "b", "c"]


@pytest.mark.parametrize("hand", [moved, folder_moved, replaced_by_a_store])
def test_a_file_that_goes_within_a_commit_is_noticed_and_keeps_its_rows(
    store, monkeypatch, hand
) -> None:
    """Before the journal is written, and while it is applied."""
    for at in ("Journal", "apply_journal"):
        step = getattr(_transaction, at)
        path = store.parent.with_name(at) / "f.h5"
        path.parent.mkdir()
        shutil.copy(store, path)
        kept = path.parent.with_name(f"{at}.h5")
        os.link(path, kept)

        def interrupted(*args, at=at, step=step, path=path):
            setattr(_transaction, at, step)
            hand(path)
            return step(*args)

        monkeypatch.setattr(_transaction, at, interrupted)
        writer = StoreWriter(path)
        add(writer, "c")
        with pytest.raises(StoreWriteError, match="moved, replaced or removed"):
            writer.commit()
        writer.close()
        is_durable = hand is not folder_moved or at == "apply_journal"
        assert paths_in(kept) == (["a", "b", "c"] if is_durable else ["a", "b"])
        assert verify_store(kept).ok
        if hand is replaced_by_a_store:
            assert paths_in(path) == ["x", "y", "z"]
        shutil.rmtree(path.parent.with_name("elsewhere"), ignore_errors=True)


def test_the_journal_of_the_file_that_came_instead_is_left_alone(store) -> None:
    """A backup that is restored over the store may have its own journal beside it."""
    writer = StoreWriter(store)
    store.unlink()
    shutil.copy(store.with_name(".f.h5.lock"), store)  # anything
    store.with_name("f.h5.journal").write_bytes(b"of the backup")
    add(writer, "c")
    with pytest.raises(StoreWriteError, match="moved, replaced or removed"):
        writer.commit()
    writer.close()
    assert store.with_name("f.h5.journal").read_bytes() == b"of the backup"


def link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def dangling_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim.with_name("made"))


def hard_link(place: Path, victim: Path) -> None:
    os.link(victim, place)


def pipe(place: Path, victim: Path) -> None:
    os.mkfifo(place)


def link_to_pipe(place: Path, victim: Path) -> None:
    os.mkfifo(victim.with_name("pipe"))
    place.symlink_to(victim.with_name("pipe"))


def endless_device(place: Path, victim: Path) -> None:
    place.symlink_to("/dev/zero")


def folder(place: Path, victim: Path) -> None:
    place.mkdir()


PLANTS = [link, dangling_link, hard_link, pipe, link_to_pipe, endless_device, folder]


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("name", [".f.h5.new", "f.h5.journal", ".f.h5.lock"])
@pytest.mark.parametrize("is_new", [True, False])
def test_what_lies_beside_a_store_is_not_followed_opened_or_spoiled(
    store, tmp_path, name, plant, is_new
) -> None:
    """A folder that was unpacked from a stranger's archive may hold any of these."""
    victim = tmp_path / "home" / "victim"
    victim.parent.mkdir()
    victim.write_text("precious")
    if is_new:
        store.unlink()
    store.with_name(".f.h5.lock").unlink()
    plant(store.with_name(name), victim)
    if not is_new:
        assert paths_in(store) == ["a", "b"]
        assert verify_store(store).ok
    try:
        with StoreWriter(store) as writer:
            add(writer, "c")
            writer.commit()
    except StoreWriteError as err:
        assert "f.h5" in str(err)  # noqa: PT017
        assert "\n" not in str(err)  # noqa: PT017
    else:
        assert "c" in paths_in(store)
        assert verify_store(store).ok
    names = {path.name for path in victim.parent.iterdir()}
    assert names <= {"victim", "pipe"}
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("plant", [pipe, link_to_pipe, endless_device])
def test_a_pipe_or_device_is_no_store(tmp_path, plant) -> None:
    path = tmp_path / "f.h5"
    plant(path, tmp_path / "victim")
    for use in (open_store, store_info, StoreWriter):
        with pytest.raises(FileFormatError, match="not a regular file"):
            use(path)
    assert not stat.S_ISREG(path.stat().st_mode)


def test_a_link_that_leads_in_a_circle_ends_in_a_line(tmp_path) -> None:
    path = tmp_path / "f.h5"
    path.symlink_to("g.h5")
    (tmp_path / "g.h5").symlink_to("f.h5")
    for use in (open_store, StoreWriter):
        with pytest.raises(FeatxError, match=r"f\.h5|g\.h5"):
            use(path)


def test_a_huge_journal_is_not_read_into_memory(store) -> None:
    journal = store.with_name("f.h5.journal")
    with journal.open("wb") as file:
        file.truncate(2**40)  # sparse
    assert paths_in(store) == ["a", "b"]


LEAVE_A_JOURNAL = """
import os, sys
import featx.store._transaction as transaction
from featx.store import StoreWriter
transaction.apply_journal = lambda *_: os._exit(0)
with StoreWriter(sys.argv[1]) as writer:
    table = writer.table(None, has_labels=True, n_features=3)
    table.append(["c"], [[1, 1, 1]], digests=[""], sizes=[0], mtimes=[0])
"""


def test_a_reader_that_finds_a_journal_keeps_no_writer_out(store, monkeypatch) -> None:
    subprocess.run([sys.executable, "-c", LEAVE_A_JOURNAL, str(store)], check=True)
    before = what_lies_at(store)
    assert store.with_name("f.h5.journal").exists()
    with monkeypatch.context() as patch:
        patch.setattr("featx.files.locks.FileLock.acquire", pytest.fail)
        assert paths_in(store) == ["a", "b", "c"]
        assert verify_store(store).ok
    assert what_lies_at(store) == before
    with open_store(store) as reader, StoreWriter(store) as writer:
        add(writer, "d")
        assert reader.paths.tolist() == ["a", "b", "c"]
    assert not store.with_name("f.h5.journal").exists()
    assert paths_in(store) == ["a", "b", "c", "d"]


def change(path: Path, **values) -> None:
    with StoreWriter(path) as writer:
        writer.table(None, has_labels=True).update([0], **values)


CHANGES = {
    "label": lambda path: change(path, labels=["new"]),
    "vector": lambda path: change(path, features=np.zeros((1, 3))),
    "path": lambda path: change(path, paths=["new"]),
    "digest": lambda path: change(path, digests=["0" * 63 + "1"]),
    "metadata": lambda path: change(path, metadata={"kind": ["new"]}),
    "all": lambda path: change(path, labels=["new"], features=np.zeros((1, 3))),
}
READS = {
    "labels": lambda store: store.labels.tolist(),
    "paths": lambda store: store.paths.tolist(),
    "digests": lambda store: store.digests.tolist(),
    "metadata": lambda store: {k: v.tolist() for k, v in store.metadata.items()},
    "vectors": lambda store: store[:].tolist(),
    "vector": lambda store: store[0].tolist(),
    "blocks": lambda store: [block.tolist() for _, block in store.iter_blocks(1)],
    "failures": lambda store: store.failures,
}


def everything_of(store: FeatureStore) -> dict:
    return {name: read(store) for name, read in READS.items()}


def everything(path: Path) -> dict:
    with open_store(path) as store:
        return everything_of(store)


@pytest.mark.parametrize("changed", CHANGES)
@pytest.mark.parametrize("first", READS)
def test_all_that_an_open_store_gives_is_of_one_commit(store, first, changed) -> None:
    states = [everything(store)]
    with open_store(store) as reader:
        given = {first: READS[first](reader)}
        CHANGES[changed](store)
        states.append(everything(store))
        refused = 0
        for name, read in READS.items():
            try:
                given[name] = read(reader)
            except FileFormatError as err:
                assert "open it again" in str(err)  # noqa: PT017
                refused += 1
    assert given in ([{k: s[k] for k in given} for s in states])
    assert given.keys() >= {first}
    assert refused < len(READS)


def test_a_store_of_which_nothing_was_given_yet_gives_the_later_commit(store) -> None:
    with open_store(store) as reader:
        CHANGES["all"](store)
        with StoreWriter(store) as writer:
            add(writer, "c")
        assert len(reader) == 2
        assert reader.labels.tolist() == ["new", "of b"]
        np.testing.assert_array_equal(reader[:], [[0, 0, 0], [1, 1, 1]])


def test_failures_are_those_of_the_commit_that_was_opened(store) -> None:
    with StoreWriter(store) as writer:
        writer.add_failures([Failure("bad", "old")])
    with open_store(store) as reader:
        assert reader.labels.tolist() == ["of a", "of b"]
        with StoreWriter(store) as writer:
            writer.add_failures([Failure("worse", "later")])
        assert [failure.path for failure in reader.failures] == ["bad"]
        with StoreWriter(store) as writer:
            writer.add_failures([Failure("bad", "new"), Failure("worse", "new")])
        with pytest.raises(FileFormatError, match="open it again"):
            _ = reader.failures
    assert len(open_store(store).failures) == 2


def test_a_pickled_store_is_opened_in_the_state_that_it_had_or_refused(store) -> None:
    with open_store(store) as reader:
        sent = pickle.dumps(reader)
        with StoreWriter(store) as writer:
            add(writer, "c")
        received = pickle.loads(sent)
        assert received.shape == (2, 3)
        np.testing.assert_array_equal(received[:], reader[:])
        CHANGES["vector"](store)
        with pytest.raises(FileFormatError, match="has changed since it was opened"):
            pickle.loads(sent)


@pytest.mark.parametrize("hand", [removed, moved, replaced_by_a_store])
def test_a_reader_goes_on_with_the_file_that_it_opened(store, hand) -> None:
    before = everything(store)
    with open_store(store) as reader:
        hand(store)
        assert everything_of(reader) == before


@pytest.mark.parametrize("hand", [overwritten_in_place, emptied])
def test_a_reader_whose_file_is_spoiled_says_so(store, hand) -> None:
    with open_store(store) as reader:
        assert reader.paths.tolist() == ["a", "b"]
        hand(store)
        with pytest.raises(FileFormatError, match=r"f\.h5|outside"):
            everything_of(reader)


WITHOUT_STDIO = """
import json, os, sys
from featx.store import StoreWriter, open_store
for descriptor in (0, 1, 2):
    os.close(descriptor)
with StoreWriter(sys.argv[1]) as writer:
    table = writer.table(None, has_labels=True, n_features=3)
    table.append(["c"], [[1, 1, 1]], digests=[""], sizes=[0], mtimes=[0])
    writer.commit()
    reader = open_store(sys.argv[1])
    low = [f"/proc/self/fd/{n}" for n in (0, 1, 2)]
    opened = [os.path.realpath(name) for name in low if os.path.exists(name)]
    open(sys.argv[2], "w").write(json.dumps(opened))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux")
def test_a_store_is_never_descriptor_0_1_or_2(store, tmp_path) -> None:
    """Whatever prints, there and in libraries, prints into these."""
    said = tmp_path / "said.json"
    subprocess.run([sys.executable, "-c", WITHOUT_STDIO, str(store), str(said)], check=True)
    assert not [name for name in json.loads(said.read_text()) if name.endswith(".h5")]
    assert paths_in(store) == ["a", "b", "c"]
