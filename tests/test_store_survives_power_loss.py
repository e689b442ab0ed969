"""A power cut leaves the last commit, whatever the disk had kept back and in whatever order.

Every operation that a writer makes on the disk is recorded. Then, for each instant, disks are
drawn that a cut at that instant may leave: what was synced is there; of what was not, any 512-byte
sectors, any size changes and any names may be there or not. On each of them the store must open in
a committed state, no older than the last commit that had returned.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from featx.store import StoreWriter, _disk, open_store, verify_store

SECTOR = 512


@dataclass
class Inode:
    synced: bytes = b""
    pending: list = field(default_factory=list)

    def after(self, operations: list) -> bytes:
        content = bytearray(self.synced)
        for kind, offset, data in operations:
            if kind == "size":
                del content[offset:]
                content.extend(bytes(offset - len(content)))
            else:
                content.extend(bytes(max(0, offset + len(data) - len(content))))
                content[offset : offset + len(data)] = data
        return bytes(content)


class RecordedDisk:
    """Stand in `featx.store._disk`, do what it does, and remember it."""

    def __init__(self, monkeypatch):
        self.inode_of: dict[str, Inode] = {}
        self.by_file: dict[int, Inode] = {}
        self.names: dict[str, Inode] = {}
        self.pending_names: list = []
        self.n_operations = 0
        self.on_operation = lambda: None
        self.real = {name: getattr(_disk, name) for name in _disk.__all__}
        for name in _disk.__all__:
            if name not in ("read_at", "start_writing"):  # a hint: nothing counts as synced
                monkeypatch.setattr(_disk, name, getattr(self, name))

    def _count(self):
        self.n_operations += 1
        self.on_operation()

    def open_file(self, path, mode):
        file = self.real["open_file"](path, mode)
        if mode == "wb":
            inode = self.inode_of.get(path.name)
            if inode is None:
                inode = self.inode_of[path.name] = Inode()
                self.pending_names.append(("link", path.name, inode))
            else:
                inode.pending.append(("size", 0, b""))
        self.by_file[id(file)] = self.inode_of[path.name]
        self.keep = [*getattr(self, "keep", []), file]  # so that no id comes twice
        return file

    def write_at(self, file, offset, data):
        data = bytes(data)
        inode = self.by_file[id(file)]
        for start in range(0, len(data), SECTOR):
            inode.pending.append(("write", offset + start, data[start : start + SECTOR]))
        self.real["write_at"](file, offset, data)
        self._count()

    def resize(self, file, size_bytes):
        self.by_file[id(file)].pending.append(("size", size_bytes, b""))
        self.real["resize"](file, size_bytes)
        self._count()

    def sync(self, file):
        self._count()  # a cut within the wait
        inode = self.by_file[id(file)]
        inode.synced, inode.pending = inode.after(inode.pending), []
        self._count()

    def sync_folder(self, folder):
        self._count()
        self.names = self._names_after(self.pending_names)
        self.pending_names = []
        self._count()

    def rename(self, path, new):
        self.real["rename"](path, new)
        inode = self.inode_of[new.name] = self.inode_of.pop(path.name)
        self.pending_names.append(("rename", path.name, inode, new.name))
        self._count()

    def remove(self, path):
        self.real["remove"](path)
        if self.inode_of.pop(path.name, None) is not None:
            self.pending_names.append(("unlink", path.name))
        self._count()

    def _names_after(self, operations):
        names = dict(self.names)
        for kind, name, *rest in operations:
            if kind == "link":
                names[name] = rest[0]
            elif kind == "rename":
                names.pop(name, None)
                names[rest[1]] = rest[0]
            else:
                names.pop(name, None)
        return names

    def after_power_cut(self, draw: random.Random) -> dict[str, bytes]:
        """Return a disk that a cut at this instant may leave."""
        keep = draw.choice([0.0, 0.5, 0.9, 1.0])

        def some(operations):
            return [operation for operation in operations if draw.random() < keep]

        names = self._names_after(some(self.pending_names))
        return {name: inode.after(some(inode.pending)) for name, inode in names.items()}


def commits(path: Path, on_commit) -> None:
    """Four commits that append, replace and relabel; each leaves `state(k)`."""
    with StoreWriter(path) as writer:
        on_commit(0)
        for k in range(1, 5):
            table = writer.table(None, has_labels=True, n_features=40)
            rows = range((k - 1) * 300, k * 300)
            table.append(
                [f"{i}.jpg" for i in rows],
                np.asarray(rows, np.float32)[:, None] + np.zeros(40, np.float32),
                digests=[f"{i + 1:064x}" for i in rows],
                sizes=[0] * 300,
                mtimes=[0] * 300,
                labels=["new"] * 300,
            )
            table.update(list(range(3)), features=np.full((3, 40), -k), labels=[f"commit {k}"] * 3)
            writer.commit()
            on_commit(k)


def committed_state(folder: Path) -> int:
    """Return which commit the store of a folder stands at, having checked every value."""
    path = folder / "f.h5"
    if not path.exists():
        return -1
    with StoreWriter(path) as writer:
        if not writer.table_keys:
            return 0
    result = verify_store(path)
    assert result.ok, result.problems
    with open_store(path) as store:
        k, rest = divmod(len(store), 300)
        assert rest == 0
        expected = np.repeat(np.arange(len(store), dtype=np.float32)[:, None], 40, axis=1)
        expected[:3] = -k
        np.testing.assert_array_equal(store[:], expected)
        assert set(store.labels[:3]) == {f"commit {k}"}
        assert store.paths[-1] == f"{len(store) - 1}.jpg"
    return k


@pytest.mark.slow
def test_a_power_cut_at_any_operation_leaves_a_committed_state(tmp_path, monkeypatch):
    draw = random.Random(20)
    disks: list[tuple[int, dict[str, bytes]]] = []
    with monkeypatch.context() as patch:
        disk = RecordedDisk(patch)
        last = [-1]

        def cut():
            disks.extend((last[0], disk.after_power_cut(draw)) for _ in range(3))

        disk.on_operation = cut
        (tmp_path / "recorded").mkdir()
        commits(tmp_path / "recorded" / "f.h5", lambda k: last.__setitem__(0, k))
    assert disk.n_operations > 80
    reached, replayed = set(), 0
    for n, (returned, files) in enumerate(disks):
        folder = tmp_path / str(n)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        replayed += "f.h5.journal" in files
        state = committed_state(folder)
        assert returned <= state <= returned + 1, f"cut {n}: commit {returned} had returned"
        reached.add(state)
        shutil.rmtree(folder)
    assert reached == {-1, 0, 1, 2, 3, 4}
    assert replayed > 5


def test_a_recorded_disk_without_the_waits_does_lose_commits(tmp_path, monkeypatch):
    """The simulation above can fail: with `sync` left out, cuts are found that lose rows."""
    draw = random.Random(1)
    with monkeypatch.context() as patch:
        disk = RecordedDisk(patch)
        patch.setattr(_disk, "sync", lambda file: None)
        patch.setattr(_disk, "sync_folder", lambda folder: None)
        (tmp_path / "recorded").mkdir()
        commits(tmp_path / "recorded" / "f.h5", lambda k: None)
    left = [disk.after_power_cut(draw) for _ in range(20)]
    recorded = (tmp_path / "recorded" / "f.h5").read_bytes()
    assert any(files.get("f.h5") != recorded for files in left)
