"""Ray: the store of one process from a cluster, whoever dies; and scikit-learn's own sweeps."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV

import featx
from featx import LinearProbeClassifier
from featx.cli.main import main
from featx.errors import FeatxError, ParameterError
from featx.extraction import RayOptions
from featx.extraction.shards import shards_folder
from featx.store import open_store, store_info, verify_store

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # Ray leaves pipes, sockets and processes to the collector; and warns of what it will change
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

NET = {
    "precision": "float32",
    "device": "cpu",
    "batch_size": 4,
    "progress": False,
    "resize_px": 64,
    "crop_px": 64,
}
N = 120


def named(folder: Path, i: int) -> Path:
    return folder / f"{i % 3}" / f"{i:03}.png"


def draw(folder: Path, start: int, stop: int) -> None:
    for i in range(start, stop):
        path = named(folder, i)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        if i % 40 == 39:
            path.write_bytes(b"\x89PNG\r\n\x1a\n broken")


def content(store: Path) -> list:
    with open_store(store) as opened:
        found = [opened[:].tobytes(), opened.paths.tolist(), opened.labels.tolist()]
        return [*found, opened.digests.tolist(), opened.failures, opened.recipe]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "images"
    draw(folder, 0, N)
    return folder


@pytest.fixture(scope="module")
def whole(folder) -> list:
    """Return what one process makes with one thread: torch's last bits depend on how many."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with featx.extract(folder, folder.parent / "whole.h5", workers=0, engine="torch", **NET):
        torch.set_num_threads(n_threads)
        return content(folder.parent / "whole.h5")


@pytest.fixture
def cluster():
    """Start a head without cores and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **args})
        nodes = [started.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
        ray.init(address=started.address, log_to_driver=False, logging_level="ERROR")
    yield started, nodes
    ray.shutdown()
    started.shutdown()


class Meddler:
    """Does things to the cluster, each once that many shards are there."""

    def __init__(self, store: Path, whats: dict[int, Callable[[], None]]) -> None:
        import threading

        self.n_done = 0
        self._args = store, whats
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        store, whats = self._args
        deadline = time.monotonic() + 120
        for n_shards, what in whats.items():
            while len(list(shards_folder(store).glob("*.h5"))) < n_shards:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.01)
            what()
            self.n_done += 1

    def join(self) -> None:
        self._thread.join()


def readers() -> list[int]:
    """Return the pids of the actors that live."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if re.match(r"ray::(_?MapWorker|MapBatches)", line):  # as versions call them
            found.append(process.info["pid"])
    return found


def test_a_killed_actor_and_a_lost_node_change_nothing(folder, whole, tmp_path, cluster) -> None:
    started, nodes = cluster
    store = tmp_path / "f.h5"

    def kill_an_actor() -> None:
        os.kill(readers()[0], signal.SIGKILL)

    def lose_a_node() -> None:
        started.remove_node(nodes[0], allow_graceful=False)

    meddler = Meddler(store, {4: kill_an_actor, 9: lose_a_node})
    options = RayOptions(actors=2, images_per_shard=6)
    with featx.extract(folder, store, engine="ray", ray=options, **NET) as opened:
        counts = opened.summary
    meddler.join()
    assert meddler.n_done == 2, "not all was killed"
    assert (counts.extracted, counts.failed) == (N - 3, 3)
    assert content(store) == whole
    assert verify_store(store).problems == ()
    assert not shards_folder(store).exists()


DRIVER = """
import sys, json, featx
from featx.extraction import RayOptions
featx.extract(sys.argv[1], sys.argv[2], engine="ray",
              ray=RayOptions(actors=1, images_per_shard=6), **json.loads(sys.argv[3]))
"""


def test_a_killed_driver_goes_on_where_it_was(folder, whole, tmp_path) -> None:
    store = tmp_path / "f.h5"
    words = [sys.executable, "-c", DRIVER, str(folder), str(store), json.dumps(NET)]
    driver = subprocess.Popen(words, start_new_session=True)
    deadline = time.monotonic() + 90
    while len(list(shards_folder(store).glob("*.h5"))) < 8 and time.monotonic() < deadline:
        assert driver.poll() is None
        time.sleep(0.02)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    finished = 0
    time.sleep(1.0)  # actors of a dead driver end by themselves
    for path in shards_folder(store).glob("*.h5"):
        info = store_info(path)
        finished += sum(table.n_samples for table in info.tables) + len(info.failures)
    assert finished >= 6 * 6
    counted = []
    from featx.extraction import cluster

    parts = cluster._parts

    def watched(images, size):
        counted.append(len(images))
        return parts(images, size)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(cluster, "_parts", watched)
        featx.extract(
            folder, store, engine="ray", ray=RayOptions(actors=1, images_per_shard=50), **NET
        ).close()
    ray.shutdown()
    assert counted == [N - finished]
    assert content(store) == whole


def test_an_actor_that_fits_nowhere_is_refused() -> None:
    class Cluster:
        @staticmethod
        def cluster_resources():
            return {"CPU": 4.0}

    from featx.extraction.cluster import _pool

    assert _pool(Cluster, RayOptions(cpus_per_actor=2), 9) == {"min_size": 1, "max_size": 2}
    assert _pool(Cluster, RayOptions(actors=3, gpus_per_actor=1), 9) == {"size": 3}
    with pytest.raises(ParameterError, match="asks for 1 GPU, but the whole cluster has 0"):
        _pool(Cluster, RayOptions(gpus_per_actor=1), 9)


def test_what_ray_cannot_do_is_said_in_a_line(folder, tmp_path, capsys) -> None:
    with pytest.raises(ParameterError, match=r"ray: got options with engine 'torch'"):
        featx.extract(folder, tmp_path / "f.h5", engine="torch", ray=RayOptions())
    with pytest.raises(ParameterError, match="actors: got 0, expected an integer of at least 1"):
        RayOptions(actors=0)
    words = ["extract", str(folder), "--store", str(tmp_path / "f.h5"), "--actors", "2"]
    assert main(words) == 1
    assert "--actors: got engine 'auto' with it, expected ray" in capsys.readouterr().err
    assert issubclass(ParameterError, FeatxError)


def test_a_search_on_ray_finds_what_one_here_finds() -> None:
    from ray.util.joblib import register_ray

    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 240)
    X = rng.normal(size=(240, 20)) + 1.5 * np.eye(4, 20)[y]
    search = GridSearchCV(LinearProbeClassifier(), {"Cs": [[0.01], [1.0], [100.0]]}, cv=4)
    here = search.fit(X, y)
    scores, best = here.cv_results_["mean_test_score"], here.best_params_
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
    )
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            there = search.set_params(n_jobs=2).fit(X, y)
    finally:
        ray.shutdown()
    np.testing.assert_array_equal(there.cv_results_["mean_test_score"], scores)
    assert there.best_params_ == best
