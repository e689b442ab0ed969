"""Many indices asked as one: the answer is that of a single index over everything."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import featx
from featx import RetrievalIndex
from featx.cli.main import main
from featx.demo import sample_data_dir
from featx.errors import FeatxError, FileFormatError, FingerprintMismatchError, ParameterError
from featx.retrieval import ShardedIndex


def parts_of(X: np.ndarray, cuts: list[int], **fitted) -> list[RetrievalIndex]:
    """Cut rows into indices, their ids and labels with them."""
    bounds = [0, *cuts, len(X)]
    found = []
    for start, stop in itertools.pairwise(bounds):
        rows = slice(start, stop)
        found.append(
            RetrievalIndex(**fitted).fit(
                X[rows],
                ids=[f"row {i}" for i in range(start, stop)],
                labels=[f"{i % 3}" for i in range(start, stop)],
            )
        )
    return found


def by_hand(X: np.ndarray, queries: np.ndarray, k: int, metric: str) -> tuple:
    """Compare everything with everything, in float64; ties in order of rows."""
    X, queries = X.astype(float), queries.astype(float)
    if metric == "dot":
        distances = -(queries @ X.T)
    elif metric == "euclidean":
        distances = np.sqrt(((queries[:, None] - X[None]) ** 2).sum(2))
    else:
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(X, axis=1)
        cosines = np.divide(queries @ X.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)
        distances = 1 - cosines
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whole_numbers_give_the_single_index_to_the_last_bit(data: st.DataObject) -> None:
    """Their products are exact, so that ties are ties whatever the order of the sums."""
    n, d = data.draw(st.integers(2, 40)), data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    X, queries = (rng.integers(-2, 3, (m, d)).astype(np.float32) for m in (n, 5))
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=4)))
    k = data.draw(st.integers(1, n + 3))
    whole = parts_of(X, [], metric="dot")[0].query(queries, k)
    with ShardedIndex(parts_of(X, cuts, metric="dot")) as index:
        found = index.query(queries, k)
    np.testing.assert_array_equal(found.distances, whole.distances)
    rows, distances = by_hand(X, queries, k, "dot")
    np.testing.assert_array_equal(found.distances, distances)
    # Which of those that are as far away as the last one come in is not settled.
    settled = (found.distances < found.distances[:, -1:]) | (found.distances.shape[1] == n)
    np.testing.assert_array_equal(found.indices[settled], rows[settled])
    for name in ("ids", "labels"):
        column = np.array([f"row {i}" if name == "ids" else f"{i % 3}" for i in range(n)])
        np.testing.assert_array_equal(getattr(found, name), column[found.indices])


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_random_vectors_agree_with_numpy(metric: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    X, queries = (rng.standard_normal((m, 24)).astype(dtype) for m in (500, 20))
    rows, distances = by_hand(X, queries, 9, metric)
    with ShardedIndex(parts_of(X, [3, 100, 101, 350], metric=metric, dtype=dtype)) as index:
        found = index.query(queries, 9)
        assert (len(index), index.starts_) == (500, (0, 3, 100, 101, 350))
        single = index.query(queries[4], 9)
    np.testing.assert_array_equal(found.indices, rows)
    np.testing.assert_allclose(found.distances, distances, atol=2e-6, rtol=1e-5)
    assert found.ids[2, 3] == f"row {rows[2, 3]}"
    assert single.ids.tolist() == found.ids[4].tolist()
    assert single.distances.shape == (9,)


def test_approximate_shards_give_the_best_of_what_they_find() -> None:
    pytest.importorskip("faiss", reason="needs faiss (featx[ann])")
    X = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)
    parts = parts_of(X, [700], kind="ivf")
    both = [part.query(X[:50], 10) for part in parts]
    with ShardedIndex(parts) as index:
        found = index.query(X[:50], 10)
    distances = np.concatenate([b.distances for b in both], axis=1)
    np.testing.assert_array_equal(found.distances, np.sort(distances, axis=1)[:, :10])
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(50))


def test_a_filter_that_some_shards_lack_is_no_error() -> None:
    X = np.eye(6, dtype=np.float32)
    index = ShardedIndex(parts_of(X, [1, 2]))  # rows 0, 1 and 2 to 5 have labels 0, 1, 2 0 1 2
    assert sorted(index.query(X[0], filter={"label": "0"}).ids) == ["row 0", "row 3"]
    assert index.query(X[0], filter={"id": ["row 1", "row 4"]}, k=9).indices.tolist() == [1, 4]
    with pytest.raises(ParameterError, match=r"no row of the index fits \{'label': '7'\}"):
        index.query(X[0], filter={"label": "7"})
    with pytest.raises(ParameterError, match="filter column: got 'lable'"):
        index.query(X[0], filter={"lable": "0"})
    with pytest.raises(ParameterError, match="filter: got ndarray, expected a dict"):
        index.query(X[0], filter=np.ones(6, bool))


def test_shards_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    X = np.eye(4, dtype=np.float32)
    one = RetrievalIndex().fit(X)
    cases = (
        (RetrievalIndex(metric="dot").fit(X), r"shards\[1\]: got metric 'dot', expected 'cosine'"),
        (RetrievalIndex().fit(X[:, :3]), r"shards\[1\]: got n_features 3, expected 4 as in"),
        (RetrievalIndex().fit(X, labels=list("abcd")), "got labels True, expected False"),
    )
    for other, message in cases:
        with pytest.raises(ParameterError, match=message):
            ShardedIndex([one, other])
    with pytest.raises(ParameterError, match=r"shards: got none in \[\]"):
        ShardedIndex([])
    with pytest.raises(ParameterError, match="got 'rai', expected one of 'local' or 'ray'"):
        ShardedIndex([one], engine="rai")
    with pytest.raises(ParameterError, match="expected a folder of indices"):
        ShardedIndex(str(tmp_path / "none"))
    (tmp_path / "text").write_text("no index")
    with pytest.raises(FileFormatError, match="text"):
        ShardedIndex(tmp_path)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three indices over the sample posters, one over all beside, of one recipe."""
    root = tmp_path_factory.mktemp("shards")
    (root / "parts").mkdir()
    folders = sorted(p for p in (sample_data_dir() / "instances").iterdir() if p.is_dir())
    net = {"device": "cpu", "precision": "float32", "engine": "torch", "progress": False}
    for i in range(3):
        store = featx.extract([str(f) for f in folders[i::3]], root / f"{i}.h5", **net)
        RetrievalIndex().fit(store).save(root / "parts" / f"{i}.index")
    everything = [str(f) for i in range(3) for f in folders[i::3]]
    RetrievalIndex().fit(featx.extract(everything, root / "all.h5", **net)).save(root / "all")
    return root


def test_a_folder_of_indices_from_the_command_line(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [str(path) for path in sorted((sample_data_dir() / "instances").rglob("*.jpg"))[:3]]
    answers = []
    for index in ("parts", "all"):
        assert main(["query", str(shards / index), *images, "-k", "5", "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out)["results"])
    for mine, theirs in zip(*answers, strict=True):
        assert mine["query"] == theirs["query"]
        assert [m["path"] for m in mine["matches"]] == [m["path"] for m in theirs["matches"]]
        distances = [[m["distance"] for m in r["matches"]] for r in (mine, theirs)]
        np.testing.assert_allclose(*distances, atol=1e-6)
    assert main(["query", str(shards / "parts"), images[0], "--rerank", "aqe"]) == 1
    assert "got aqe for" in (said := capsys.readouterr().err)
    assert "asked in shards, expected none" in said


def test_rerankings_follow_each_other_on_the_command_line(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image, *_) = sorted((sample_data_dir() / "instances").rglob("*.jpg"))
    names = ["k-reciprocal", "aqe"]
    options = [word for name in names for word in ("--rerank", name)]
    assert main(["query", str(shards / "all"), str(image), *options, "-k", "9", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    index = RetrievalIndex.load(shards / "all")
    paths = [match["path"] for match in found["matches"]]
    assert paths == index.query(str(image), 9, rerank=names).ids.tolist()
    assert paths != index.query(str(image), 9, rerank=names[:1]).ids.tolist()


def test_features_of_another_recipe_are_refused(shards: Path, tmp_path: Path) -> None:
    net = {"device": "cpu", "precision": "float32", "engine": "torch", "progress": False}
    folder = sample_data_dir() / "instances"
    other = featx.extract(folder, tmp_path / "f.h5", layers="blocks.10", **net)
    RetrievalIndex().fit(other).save(tmp_path / "other")
    one = str(shards / "parts" / "0.index")
    with pytest.raises((FingerprintMismatchError, ParameterError), match="other"):
        ShardedIndex([one, tmp_path / "other"])
    index = ShardedIndex(shards / "parts", device="cpu")
    with pytest.raises(FingerprintMismatchError, match=r"f\.h5"):
        index.query(other)
    store = featx.open_store(shards / "all.h5")
    whole = RetrievalIndex.load(shards / "all").query(store, 3)
    np.testing.assert_array_equal(index.query(store, 3).ids, whole.ids)
    image = store.paths[5]
    np.testing.assert_array_equal(index.query(image, 3).ids, whole.ids[5])


CLUSTER = """
import json, os, signal, sys, time
import numpy as np
import psutil
from featx.errors import FeatxError
from featx.retrieval import ShardedIndex
import ray
from ray.cluster_utils import Cluster

folder = sys.argv[1]
small = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
queries = np.load(folder + "/queries.npy")
files = [f"{folder}/{i}" for i in range(3)]
said = {}
with ShardedIndex(files) as here:
    expected = here.query(queries, 7)

def is_same(index):
    found = index.query(queries, 7)
    return all(bool((a == b).all()) for a, b in zip(found, expected))

with ShardedIndex(files, engine="ray") as index:
    said["same"] = is_same(index)
    mine = psutil.Process().children(recursive=True)
    actors = [p for p in mine if p.cmdline() and "Shard" in p.cmdline()[0]]
    said["actors"] = len(actors)
    os.kill(actors[0].pid, signal.SIGKILL)
    said["after a killed actor"] = is_same(index)
    cluster.remove_node(nodes[0])
    cluster.add_node(num_cpus=2)
    said["after a lost node"] = is_same(index)
    try:
        index.query(queries[:, :3])
    except FeatxError as err:
        said["width"] = str(err)
try:
    ShardedIndex(files, engine="ray", num_cpus=9)
except FeatxError as err:
    said["room"] = str(err)
with ShardedIndex(files, engine="ray") as index:
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node)
    os.rename(files[1], files[1] + ".gone")
    cluster.add_node(num_cpus=4)
    try:
        said["gone"] = is_same(index)
    except FeatxError as err:
        said["gone"] = str(err)
ray.shutdown()
cluster.shutdown()
print(json.dumps(said))
"""


@pytest.mark.slow
def test_a_cluster_answers_alike_whoever_dies(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs ray (featx[ray])")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 12)).astype(np.float32)
    for i, part in enumerate(parts_of(X, [100, 350])):
        part.save(tmp_path / str(i))
    np.save(tmp_path / "queries.npy", rng.standard_normal((8, 12)).astype(np.float32))
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["actors"] == 3
    for when in ("same", "after a killed actor", "after a lost node"):
        assert said[when] is True, (when, said)
    assert "got shape (8, 3), expected (n, 12)" in said["width"]
    assert "3 shards ask for 9 CPU each, but the whole cluster has 4" in said["room"]
    assert "1" in said["gone"]
    assert "there is no such file" in said["gone"]


def test_ray_wants_files() -> None:
    one = RetrievalIndex().fit(np.eye(2, dtype=np.float32))
    with pytest.raises(FeatxError, match=r"shards\[0\]: got RetrievalIndex with engine 'ray'"):
        ShardedIndex([one], engine="ray")
