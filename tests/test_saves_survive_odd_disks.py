"""Saves of every kind: a disk that refuses leaves the old file, and nothing beside it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featx import LinearProbeClassifier, RetrievalIndex
from featx.errors import StoreWriteError
from featx.estimators import load_model, save_model
from featx.files.atomic import replacing
from featx.store import export_store, write_features

X = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
NEW = np.random.default_rng(1).standard_normal((90, 8)).astype(np.float32)


def save_index(rows: np.ndarray, path: Path) -> None:
    RetrievalIndex().fit(rows).save(path)


def save_probe(rows: np.ndarray, path: Path) -> None:
    y = np.arange(len(rows)) % 2
    save_model(LinearProbeClassifier(Cs=1.0).fit(rows, y), path)


def save_export(rows: np.ndarray, path: Path) -> None:
    folder = path.parent.parent / "stores"
    folder.mkdir(exist_ok=True)
    store = folder / f"{len(rows)}.h5"
    if not store.exists():
        write_features(store, rows, paths=[str(i) for i in range(len(rows))]).close()
    export_store(store, path)


def save_weights(rows: np.ndarray, path: Path) -> None:
    import torch

    from featx.finetuning._fit import write_weights

    module = torch.nn.Linear(8, len(rows))
    write_weights(path, module, head=None, metadata={})


SAVES = {
    "f.index": (save_index, lambda p: RetrievalIndex.load(p).n_samples_fit_),
    "f.featx": (save_probe, lambda p: load_model(p).model.coef_.shape),
    "f.npz": (save_export, lambda p: len(np.load(p)["paths"])),
    "f.safetensors": (save_weights, lambda p: p.stat().st_size),
}


@pytest.fixture(params=SAVES)
def saved(request: pytest.FixtureRequest, tmp_path: Path):
    """A saved file alone in its folder, how to save it anew, and what it says when it is read."""
    save, read = SAVES[request.param]
    folder = tmp_path / "saved"
    folder.mkdir()
    path = folder / request.param
    save(X, path)
    save_export(NEW, folder.parent / "stores" / "warm.npz") if save is save_export else None
    return path, lambda: save(NEW, path), lambda: read(path)


def refusing(number: int):
    def refuses(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuses


@pytest.mark.parametrize(
    ("number", "where"),
    [
        (errno.EIO, "fsync"),
        (errno.ENOSPC, "fsync"),
        (errno.EIO, "replace"),
        (errno.EROFS, "replace"),
        (errno.EPERM, "chmod"),
    ],
)
def test_a_disk_that_refuses_at_the_end_leaves_the_old_file(
    saved, number: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, save, read = saved
    before, said = path.read_bytes(), read()
    monkeypatch.setattr(os, where, refusing(number))
    with pytest.raises(StoreWriteError, match=os.strerror(number)) as caught:
        save()
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    monkeypatch.undo()
    assert (path.read_bytes(), read()) == (before, said)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    save()
    assert path.read_bytes() != before


LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
import test_saves_survive_odd_disks as saves
from featx.errors import StoreWriteError
from pathlib import Path
path = Path(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    saves.SAVES[path.name][0](saves.NEW, path)
except StoreWriteError as err:
    print("refused", err)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of file sizes")
def test_a_disk_that_is_full_leaves_the_old_file(saved) -> None:
    path, _, read = saved
    before, said = path.read_bytes(), read()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(Path(__file__).parent), str(path), "100"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.startswith("refused"), done.stderr[-2000:]
    assert done.stdout.count("\n") == 1
    assert os.strerror(errno.EFBIG) in done.stdout
    assert (path.read_bytes(), read()) == (before, said)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# -- what killed processes leave --------------------------------------------------------------


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "list.txt"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from featx.files.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as beside:\n"
        "    beside.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    words = [sys.executable, "-c", code, str(target)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(words, env=environment, check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    others = [tmp_path / name for name in (".list.txt.part", f".other.txt{left.name[9:]}")]
    foreign = tmp_path / left.name.replace(left.name.split(".")[3][:8], "0" * 8)
    for path in (*others, foreign):
        path.write_text("not ours")
    with replacing(target) as beside:
        assert not left.exists()
        with replacing(target) as second:  # both of a living process
            assert beside != second
            beside.write_text("first")
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"
    assert sorted(tmp_path.iterdir()) == sorted([*others, foreign, target])


def test_long_names_and_failures_leave_nothing(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 240)
    with replacing(target) as beside:
        beside.write_text("whole")
    with contextlib.suppress(ZeroDivisionError), replacing(target) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]
