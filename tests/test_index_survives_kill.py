"""SIGKILL while an index is saved over another leaves one of the two, whole."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from featx import RetrievalIndex
from featx.retrieval import load_index

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")

SAVER = """
import sys
import numpy as np
from featx import RetrievalIndex
path, kind = sys.argv[1:]
indexes = []
for value in (1, 2):
    X = np.random.default_rng(value).normal(size=(2000, 64)).astype(np.float32)
    indexes.append(RetrievalIndex(kind=kind).fit(X, labels=[str(value)] * len(X)))
print("ready", flush=True)
while True:
    for index in indexes:
        index.save(path)
        print("saved", flush=True)
"""
N_KILLS = 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_a_killed_save_leaves_the_old_index_or_the_new_one(tmp_path, kind) -> None:
    path, rng, seen = tmp_path / "i", np.random.default_rng(0), set()
    expected = {
        str(value): np.random.default_rng(value).normal(size=(2000, 64)).astype(np.float32)
        for value in (1, 2)
    }
    for trial in range(N_KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path), kind], stdout=subprocess.PIPE, text=True
        )
        try:
            for _ in range(2 + trial % 3):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        index = RetrievalIndex.load(path)
        (value,) = set(index.labels_.tolist())
        seen.add(value)
        np.testing.assert_array_equal(index.vectors(), expected[value])
        assert index.query(expected[value][:50], k=1).distances.max() < 1e-6
    assert seen  # which of the two, chance decides
    left = [found.name for found in tmp_path.iterdir() if found != path]
    assert all(name.startswith(".i.") for name in left)  # what a killed save had begun


INSTANCE_SAVER = """
import sys
import numpy as np
from featx.retrieval import InstanceIndex
pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 16, 3), np.uint8)
pixels = pixels.repeat(20, 1).repeat(20, 2)
indexes = [InstanceIndex().fit(pixels[:n], labels=[str(n)] * n) for n in (6, 12)]
print("ready", flush=True)
while True:
    for index in indexes:
        index.save(sys.argv[1])
        print("saved", flush=True)
"""


@pytest.mark.slow
def test_a_killed_save_leaves_the_old_instances_or_the_new_ones(tmp_path) -> None:
    path, rng = tmp_path / "i", np.random.default_rng(0)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 16, 3), np.uint8)
    pixels = pixels.repeat(20, 1).repeat(20, 2)
    for trial in range(N_KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", INSTANCE_SAVER, str(path)], stdout=subprocess.PIPE, text=True
        )
        try:
            for _ in range(2 + trial % 3):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        index = load_index(path)
        n = index.n_samples_fit_
        assert set(index.labels_.tolist()) == {str(n)}
        found = index.query(pixels[:n], k=1)
        assert found.indices[:, 0].tolist() == list(range(n))
        assert (found.inliers > 50).all()
