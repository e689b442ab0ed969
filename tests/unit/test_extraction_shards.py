"""Several processes fill one store: it is, row for row, what one process makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featx
from featx.errors import ParameterError, StoreWriteError
from featx.extraction import LoadedEncoder, fill, plan, tables
from featx.extraction.processes import Shard, device_of, shard_of
from featx.extraction.shards import shards_folder
from featx.store import StoreWriter, open_store, store_info, verify_store

RUN = {
    "precision": "float32",
    "device": "cpu",
    "engine": "torch",
    "resize_px": 64,
    "crop_px": 64,
    "layers": ["blocks.2", "penultimate"],
    "batch_size": 4,
    "workers": 0,
    "progress": False,
}
N = 22


def draw(folder: Path, start: int, stop: int) -> None:
    for i in range(start, stop):
        path = folder / f"{i % 3}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        if i % 10 == 9:
            path.write_bytes(path.read_bytes()[:100])


@pytest.fixture
def folder(tmp_path) -> Path:
    draw(tmp_path / "images", 0, N)
    return tmp_path / "images"


def content(store: Path) -> list:
    """Return all that the tables and the failures hold, in order."""
    found: list = []
    for info in store_info(store).tables:
        with open_store(store, table=info.key) as table:
            found += [info.key, table[:].tobytes(), table.paths.tolist(), table.labels.tolist()]
            found += [table.digests.tolist(), table.failures]
    return found


@pytest.fixture
def whole(folder, tmp_path) -> list:
    with featx.extract(folder, tmp_path / "whole.h5", **RUN):
        return content(tmp_path / "whole.h5")


@pytest.fixture
def seen(monkeypatch) -> list[int]:
    """Return how many images each reading has to read."""
    counts: list[int] = []
    embed = LoadedEncoder.embed

    def counted(self, sources, **options):
        counts.append(len(sources))
        return embed(self, sources, **options)

    monkeypatch.setattr(LoadedEncoder, "embed", counted)
    return counts


def test_the_last_to_finish_makes_the_store_of_one_process(folder, whole, tmp_path, seen) -> None:
    store = tmp_path / "f.h5"
    for rank, waiting in ((2, 14), (0, 7), (1, 0)):
        with featx.extract(folder, store, shard=(rank, 3), **RUN) as opened:
            assert opened.summary.waiting == waiting
            assert len(opened) == (20 if not waiting else opened.summary.extracted)
            made_with, summary = opened.made_with, opened.summary
    assert content(store) == whole
    assert seen == [8, 7, 7]
    assert not shards_folder(store).exists()
    assert verify_store(store).problems == ()
    assert (summary.images, summary.extracted, summary.failed) == (N, 20, 2)
    assert summary.images_per_second > 0
    assert made_with["engine"] == "torch"


def test_what_a_dead_process_left_is_taken_over(folder, whole, tmp_path, seen) -> None:
    store = tmp_path / "f.h5"
    featx.extract(folder, store, shard=(0, 3), **RUN).close()
    seen.clear()
    with featx.extract(folder, store, **RUN) as opened:
        assert opened.summary.extracted == 20
    assert seen == [N - 7]
    assert content(store) == whole
    assert not shards_folder(store).exists()


def test_another_number_of_processes_may_go_on(folder, whole, tmp_path) -> None:
    store = tmp_path / "f.h5"
    featx.extract(folder, store, shard=(1, 2), **RUN).close()
    for rank in range(3):
        featx.extract(folder, store, shard=(rank, 3), **RUN).close()
    assert content(store) == whole
    assert not shards_folder(store).exists()


def test_only_new_images_are_read_and_changed_ones_keep_their_row(folder, tmp_path, seen) -> None:
    one, many = tmp_path / "one.h5", tmp_path / "many.h5"
    for store in (one, many):
        featx.extract(folder, store, **RUN).close()
    draw(folder, N, N + 5)
    draw(folder, 9, 10)
    Image.new("RGB", (50, 50), "red").save(folder / "0" / "003.png")
    (folder / "0" / "009.png").unlink()
    Image.new("RGB", (50, 50), "blue").save(folder / "0" / "009.png")
    featx.extract(folder, one, **RUN).close()
    seen.clear()
    for rank in range(2):
        featx.extract(folder, many, shard=f"{rank}/2", **RUN).close()
    assert sum(seen) == 5 + 2 + 1  # new, changed, still unreadable
    assert content(many) == content(one)


def test_nothing_is_put_together_while_one_is_at_work(folder, whole, tmp_path) -> None:
    store = tmp_path / "f.h5"
    shards_folder(store).mkdir()
    with StoreWriter(Shard(1, 2).path(store)):
        with featx.extract(folder, store, shard=(0, 2), **RUN) as opened:
            assert opened.summary.waiting == 11
        with pytest.raises(StoreWriteError, match="another writer has it open"):
            featx.extract(folder, store, **RUN)
    featx.extract(folder, store, shard=(1, 2), **RUN).close()
    assert content(store) == whole


def test_a_merge_that_dies_is_made_again(folder, whole, tmp_path, monkeypatch) -> None:
    store = tmp_path / "f.h5"
    featx.extract(folder, store, shard=(0, 2), **RUN).close()
    monkeypatch.setattr(fill, "MERGED_AT_ONCE", 4)
    monkeypatch.setattr(tables, "COMMIT_EVERY_BYTES", 1)
    commit, commits = tables.TableSet.commit, []

    def dies(self):
        commit(self)
        if "shards" not in str(self.writer.path):
            commits.append(1)
            if len(commits) == 3:
                raise RuntimeError("killed")

    monkeypatch.setattr(tables.TableSet, "commit", dies)
    with pytest.raises(RuntimeError, match="killed"):
        featx.extract(folder, store, shard=(1, 2), **RUN)
    with open_store(store, table=store_info(store).tables[0].key) as half:
        assert 0 < len(half) < 20
    featx.extract(folder, store, shard=(1, 2), **RUN).close()
    assert content(store) == whole


def test_shards_of_another_network_are_left_alone(folder, whole, tmp_path) -> None:
    store = tmp_path / "f.h5"
    featx.extract(folder, store, shard=(0, 2), **RUN).close()
    other = {**RUN, "layers": ["blocks.4"]}
    featx.extract(folder, store, **other).close()
    assert Shard(0, 2).path(store).exists()
    featx.extract(folder, store, shard=(1, 2), **RUN).close()
    assert not shards_folder(store).exists()
    found = content(store)
    assert [found[i : i + 6] for i in range(0, len(found), 6) if found[i] in whole] == [
        whole[i : i + 6] for i in range(0, len(whole), 6)
    ]


def test_shards_of_another_source_are_left_alone(folder, whole, tmp_path) -> None:
    store, others = tmp_path / "f.h5", tmp_path / "others"
    draw(others, 50, 54)
    featx.extract(folder, store, shard=(0, 2), **RUN).close()
    featx.extract(others, store, **RUN).close()
    assert Shard(0, 2).path(store).exists()
    featx.extract(folder, store, shard=(1, 2), **RUN).close()
    assert not shards_folder(store).exists()
    with open_store(store, table=whole[0]) as table:
        there = [i for i, path in enumerate(table.paths.tolist()) if str(folder) in path]
        assert table[there].tobytes() == whole[1]


def test_an_image_that_was_mended_since_is_no_failure(folder, tmp_path) -> None:
    """Read in vain for one way of sharing out, and well for the next."""
    store, path = tmp_path / "f.h5", folder / "0" / "009.png"
    featx.extract(folder, store, shard=(0, 2), **RUN).close()
    path.unlink()
    draw(folder, 30, 31)
    (folder / "0" / "030.png").rename(path)
    later = path.stat().st_mtime + 5
    os.utime(path, (later, later))
    for rank in range(3):
        featx.extract(folder, store, shard=(rank, 3), **RUN).close()
    with open_store(store, table=store_info(store).tables[0].key) as table:
        assert [Path(failure.path).name for failure in table.failures] == ["019.png"]
        assert str(path) in table.paths.tolist()


def test_what_shards_hold_is_not_hashed_again(folder, tmp_path, monkeypatch) -> None:
    store = tmp_path / "f.h5"
    featx.extract(folder, store, **RUN).close()
    draw(folder, N, N + 6)
    hashed, digest = [], plan.file_digest
    monkeypatch.setattr(plan, "file_digest", lambda path: (hashed.append(path), digest(path))[1])
    for rank in range(2):
        featx.extract(folder, store, shard=(rank, 2), **RUN).close()
    assert sum("02" in Path(path).name for path in hashed) <= 2 * 6


def test_a_shard_has_no_cluster(folder, tmp_path) -> None:
    with pytest.raises(ParameterError, match="shard: got one together with engine 'ray'"):
        featx.extract(folder, tmp_path / "f.h5", shard="0/2", **{**RUN, "engine": "ray"})


def test_ranks_are_read_from_the_environment(monkeypatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ParameterError, match="has neither RANK and WORLD_SIZE nor SLURM_PROCID"):
        shard_of("auto")
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert shard_of("auto") == Shard(3, 4)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert shard_of("auto") == Shard(0, 2)
    assert shard_of((1, 2)) == shard_of("1/2") == Shard(1, 2)
    assert device_of("auto", Shard(0, 2)) == "auto"
    for bad in ("2/2", "a/b", "3", (0,), "-1/2", 5):
        with pytest.raises(ParameterError, match="expected RANK/WORLD with 0 <= RANK < WORLD"):
            shard_of(bad)


@pytest.mark.parametrize("n", [0, 1, 7, 100])
@pytest.mark.parametrize("world", [1, 3, 8])
def test_parts_are_all_of_it_and_of_one_size(n: int, world: int) -> None:
    parts = [range(n)[Shard(rank, world).part(n)] for rank in range(world)]
    assert [i for part in parts for i in part] == list(range(n))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.slow
def test_processes_started_as_torchrun_does_share_one_extraction(folder, tmp_path) -> None:
    store, alone = tmp_path / "f.h5", tmp_path / "alone.h5"
    words = [sys.executable, "-m", "featx.cli.main", "extract", str(folder), "--crop", "64"]
    words += ["--resize", "64", "--device", "cpu", "--workers", "0", "--store"]
    code = "import sys; from featx.cli.main import main; sys.exit(main())"
    words[1:3] = ["-c", code]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "3"}
    started = [
        subprocess.Popen([*words, str(store), "--shard", "auto"], env={**env, "RANK": str(rank)})
        for rank in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    subprocess.run([*words, str(alone)], env=env, check=True)
    with open_store(store) as a, open_store(alone) as b:
        assert a[:].tobytes() == b[:].tobytes()
        assert a.paths.tolist() == b.paths.tolist()
        assert a.failures == b.failures
