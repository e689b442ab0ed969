"""What happens to a process from outside: it is stopped for a while, or forked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import psutil
import pytest
from PIL import Image

from featx.images._quiet import no_warnings

posix = pytest.mark.skipif(os.name == "nt", reason="Windows stops and forks nothing")

SLOW = """
import json, sys, time
import numpy as np
from featx.images.loader import iter_batches
from featx.images.preprocess import TransformPreprocessor

def slow(image):
    until = time.process_time() + 0.8
    while time.process_time() < until:
        pass
    return np.zeros((3, 4, 4), np.float32)

batches = iter_batches(
    [sys.argv[1]], TransformPreprocessor(slow), batch_size=1, workers=1, timeout_s=2.5
)
print(json.dumps([batch.failures for batch in batches]))
"""


@posix
@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["both", "parent", "reader"])
def test_a_pause_is_not_counted_as_decoding(tmp_path, stopped):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    words = [sys.executable, "-c", SLOW, str(tmp_path / "a.png")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        parent = psutil.Process(process.pid)
        while not (children := parent.children()):
            time.sleep(0.02)
        (reader,) = children
        while reader.cpu_times().user < 0.3:  # it is at the image, or about to be
            time.sleep(0.02)
        group = {"both": [parent, reader], "parent": [parent], "reader": [reader]}[stopped]
        for _ in range(2):
            for one in group:
                one.send_signal(signal.SIGSTOP)
            time.sleep(3.0)
            for one in reversed(group):
                one.send_signal(signal.SIGCONT)
            time.sleep(0.2)
        assert json.loads(process.communicate(timeout=60)[0]) == [[]]


FORK = """
import json, multiprocessing, sys
import numpy as np

rng = np.random.default_rng(0)
how = sys.argv[1]
if how in ("hnsw", "ivf"):
    import featx

    X = rng.normal(size=(3000, 32)).astype(np.float32)
    index = featx.RetrievalIndex(kind=how).fit(X)

    def ask(_):
        return float(np.asarray(index.query(X[:300], k=5).distances).sum())
else:
    import torch
    import featx

    torch.set_num_threads(2)
    images = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(4)]
    n_first = 4 if how == "torch" else 160
    asked = "auto" if how == "torch" else how.partition(" ")[0]

    def ask(n):
        engine = "auto" if how == "openvino auto" else asked
        extractor = featx.FeatureExtractor(progress=False, precision="float32", engine=engine)
        try:
            return float(extractor.transform(images[:n]).sum())
        except featx.FeatxError as err:
            return str(err)

    featx.FeatureExtractor(progress=False, precision="float32", engine=asked).transform(
        (images * 40)[:n_first]
    )
there = None if how.startswith("openvino") and "auto" not in how else ask(4)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(json.dumps([there, pool.map(ask, [4, 4])]))
"""


def forked(how):
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    words = [sys.executable, "-W", "ignore", "-c", FORK, how]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("how", ["torch", "hnsw", "ivf", "openvino auto"])
def test_a_forked_child_answers_as_its_parent_does(how):
    pytest.importorskip({"torch": "torch", "openvino auto": "openvino"}.get(how, "faiss"))
    there, found = forked(how)
    np.testing.assert_allclose(found, there, rtol=1e-4)


@posix
@pytest.mark.slow
def test_an_engine_that_cannot_follow_into_a_child_says_so():
    pytest.importorskip("openvino")
    _, found = forked("openvino")
    assert all("'openvino' in a process that was forked" in text for text in found)
    assert all("get_context('spawn')" in text for text in found)


@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_during_a_decode_gets_its_warnings_back():
    with no_warnings:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                warnings.warn("an error, as all warnings are in tests", stacklevel=1)
            except UserWarning:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
    assert not no_warnings._n_holders


FORK_BESIDE = """
import os, sys, threading, time
import numpy as np
import featx

rng = np.random.default_rng(0)
if sys.argv[1] == "torch":
    import torch

    torch.set_num_threads(1)
    images = list(rng.integers(0, 256, (32, 64, 64, 3), np.uint8))
    extractor = featx.FeatureExtractor(progress=False, precision="float32", engine="torch")

    def ask(n):
        return extractor.transform(images[:n])
else:
    index = featx.RetrievalIndex(kind="hnsw").fit(rng.normal(size=(3000, 32)).astype("f4"))
    queries = rng.normal(size=(300, 32)).astype(np.float32)

    def ask(n):
        return np.asarray(index.query(queries[:n], k=5).distances)

expected, done = ask(8), threading.Event()

def go_on():
    while not done.is_set():
        ask(32)

threading.Thread(target=go_on).start()
try:
    for _ in range(5):
        time.sleep(0.05)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if np.allclose(ask(8), expected, rtol=1e-4, atol=1e-4) else 3)
        assert os.waitpid(pid, 0)[1] == 0
finally:
    done.set()
"""


@posix
@pytest.mark.slow
@pytest.mark.parametrize("how", ["torch", "hnsw"])
def test_a_child_that_is_forked_beside_a_thread_at_work_answers(how):
    pytest.importorskip("faiss" if how == "hnsw" else "torch")
    words = [sys.executable, "-W", "ignore", "-c", FORK_BESIDE, how]
    subprocess.run(words, check=True, timeout=60)
