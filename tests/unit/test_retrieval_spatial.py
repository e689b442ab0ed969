"""Patches against loops; verification on pictures."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import featx
from featx import PCAWhitening, PowerNormalizer, RetrievalIndex
from featx.cli.main import main
from featx.errors import (
    ImageDecodeError,
    MissingDependencyError,
    ParameterError,
)
from featx.recipe import Preprocessing, Recipe
from featx.retrieval import InstanceIndex, SpatialSearch, SpatialVerification, _patches
from featx.retrieval.descriptors import LocalDescriber
from featx.retrieval.rerankings import RERANKINGS
from featx.store import write_features


def patches(n: int, p: int = 5, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, p, d)).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def distances_by_loops(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Razavian et al. 2014: smallest over the reference's patches, mean over the query's."""
    out = np.empty((len(queries), len(references)))
    for i, query in enumerate(unit(queries.astype(float))):
        for j, reference in enumerate(unit(references.astype(float))):
            out[i, j] = np.mean([min(1 - a @ b for b in reference) for a in query])
    return out


# --- patches -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_block", [1, 7, 1000], ids=lambda n: f"blocks of {n}")
def test_patch_distances_are_those_of_loops_at_any_block_size(n_block, monkeypatch) -> None:
    monkeypatch.setattr(_patches, "BLOCK_BYTES", 4 * 3 * 5 * n_block)
    monkeypatch.setattr(_patches, "READ_ROWS", n_block)
    X, Q = patches(25), patches(4, p=3, seed=1)
    found = SpatialSearch().fit(X).query(Q, k=25)
    expected = distances_by_loops(Q, X)
    np.testing.assert_allclose(
        found.distances, np.take_along_axis(expected, found.indices, axis=1), atol=1e-6
    )
    np.testing.assert_array_equal(found.indices, np.argsort(expected, axis=1))


def test_a_patch_is_found_wherever_it_lies() -> None:
    X = patches(30)
    moved = X[7][::-1].copy()
    found = SpatialSearch().fit(X, ids=[f"n{i}" for i in range(30)]).query(moved, k=1)
    assert found.ids.tolist() == ["n7"]
    assert found.distances[0] < 1e-6


def test_tables_with_patches_side_by_side_are_the_same_as_arrays(tmp_path) -> None:
    X = patches(12, p=5)
    recipe = Recipe(
        "net", "ab" * 32, "layer", "avg", Preprocessing(), "patches(2):keep", "float32", 30
    )
    paths = [f"/p/{i}" for i in range(12)]
    rows = X.reshape(12, 30)
    told = write_features(tmp_path / "a.h5", rows, paths=paths, recipe=recipe, labels=["l"] * 12)
    untold = write_features(tmp_path / "b.h5", rows, paths=paths)
    expected = SpatialSearch().fit(X).query(X, k=12)
    for n, database in ((None, told), (5, untold), (5, rows)):
        search = SpatialSearch(n).fit(database)
        for queries in (X, rows, database):
            found = search.query(queries, k=12)
            np.testing.assert_array_equal(found.indices, expected.indices)
            np.testing.assert_array_equal(found.distances, expected.distances)
    search = SpatialSearch().fit(told)
    assert (search.n_patches_, search.n_patch_features_) == (5, 6)
    assert search.query(told, k=1).ids[:, 0].tolist() == paths
    assert search.query(told, k=1).labels[0, 0] == "l"


def test_the_transform_sees_each_patch_and_few_patches_may_ask() -> None:
    X, Q = patches(40), patches(3, seed=1)
    white = PCAWhitening(4).fit(patches(50, seed=2).reshape(-1, 6))
    power = PowerNormalizer().fit(white.transform(X[0]))

    def by_hand(patch_sets):
        return np.stack([power.transform(white.transform(one)) for one in patch_sets])

    from sklearn.pipeline import make_pipeline

    search = SpatialSearch(n_query_patches=2, transform=make_pipeline(white, power)).fit(X)
    found = search.query(Q, k=40)
    expected = distances_by_loops(by_hand(Q)[:, :2], by_hand(X))
    np.testing.assert_allclose(
        found.distances, np.take_along_axis(expected, found.indices, axis=1), atol=1e-5
    )


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 4), st.integers(1, 15))
def test_patch_search_is_a_permutation_in_ascending_order(seed, n, p, k) -> None:
    X = patches(n, p, 3, seed)
    found = SpatialSearch().fit(X).query(patches(2, 2, 3, seed + 1), k=k)
    assert found.ids.shape == (2, min(k, n))
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert found.distances.min() >= 0
    whole = SpatialSearch().fit(X).query(X, k=n)
    assert (np.sort(whole.indices, axis=1) == np.arange(n)).all()
    assert np.abs(whole.distances[:, 0]).max() < 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: SpatialSearch().fit(np.ones((3, 12))),
            r"X: got shape \(3, 12\) with n_patches=N",
        ),
        (lambda: SpatialSearch(5).fit(np.ones((3, 12))), r"got shape \(3, 12\) with n_patches=5"),
        (lambda: SpatialSearch(5).fit(np.ones((3, 4, 2))), r"got shape \(3, 4, 2\) with n_patch"),
        (lambda: SpatialSearch(0).fit(np.ones((3, 4))), r"n_patches: got 0, expected an integer"),
        (
            lambda: SpatialSearch().fit(np.where(np.arange(90) < 80, 1, np.nan).reshape(3, 5, 6)),
            r"X: row 2 has a value that is not finite",
        ),
        (lambda: SpatialSearch().fit(patches(3)).query(patches(2, d=7)), r"got shape \(2, 5, 7\)"),
        (lambda: SpatialSearch().fit(patches(3)).query(np.ones((2, 7))), r"expected \(n, 30\)"),
        (lambda: SpatialSearch().fit(patches(3)).query(patches(2), k=0), r"k: got 0"),
        (lambda: SpatialSearch().fit(patches(3)).query("a.jpg"), r"made outside featx"),
    ],
)
def test_misuse_of_patches_is_named(call, message) -> None:
    with pytest.raises(ParameterError, match=message):
        call()


# --- verification --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An index of 12 textures that a random network confuses, and cut-outs of some of them."""
    pytest.importorskip("cv2", reason="opencv is an extra")
    root = tmp_path_factory.mktemp("spatial")
    rng = np.random.default_rng(0)
    for i in range(12):
        coarse = rng.integers(0, 256, (24, 24, 3), np.uint8)
        image = Image.fromarray(coarse).resize((320, 320), Image.Resampling.BICUBIC)
        (root / "db").mkdir(exist_ok=True)
        (root / "q").mkdir(exist_ok=True)
        image.save(root / "db" / f"{i:02}.png")
        image.crop((40, 60, 280, 300)).save(root / "q" / f"{i:02}.png")
    net = {"backbone": "resnet18", "weights": None, "precision": "float32", "device": "cpu"}
    store = featx.extract(root / "db", root / "f.h5", progress=False, workers=0, **net)
    index = RetrievalIndex().fit(store)
    # the weights were random: nothing says where they are
    index.made_with_ = {"weights": None}
    return root, index


def queries(root: Path, *numbers: int) -> list[str]:
    return [str(root / "q" / f"{i:02}.png") for i in numbers]


def verification(**options) -> SpatialVerification:
    return SpatialVerification(**options)


def test_cut_outs_find_the_picture_they_were_cut_from(world) -> None:
    root, index = world
    asked = queries(root, *range(12))
    rerank = verification()
    found = index.query(asked, k=12, rerank=rerank)
    names = [Path(p).name for p in found.ids[:, 0].tolist()]
    assert names == [Path(p).name for p in asked]
    assert (found.inliers[:, 0] > 20).all()
    assert (found.inliers[:, 1:] == 0).all()
    fewest = 1 / (1 + found.inliers[:, 0])  # a cut-out is covered as a whole
    np.testing.assert_allclose(found.distances[:, 0], fewest, rtol=0.05)
    assert (found.distances[:, 1:] == 1).all()
    assert all(sorted(row) == sorted(index.ids_.tolist()) for row in found.ids.tolist())
    again = index.query(asked, k=12, rerank=rerank)  # from memory
    fresh = pickle.loads(pickle.dumps(index)).query(asked, k=12, rerank=verification())
    kept = InstanceIndex().fit(index.ids_.tolist())
    given = index.query(asked, k=12, rerank=verification(instances=kept))
    for other in (again, fresh, given):
        np.testing.assert_array_equal(other.ids[:, 0], found.ids[:, 0])
        assert (other.inliers[:, 0] > 20).all()
    assert "inliers" in found.to_dicts()[0]["matches"][0]


def test_only_the_candidates_are_verified_and_images_come_beside_vectors(world) -> None:
    root, index = world
    (path,) = queries(root, 3)
    plain = index.query(path, k=12)
    found = index.query(path, k=12, rerank=verification(n_candidates=5))
    np.testing.assert_array_equal(np.sort(found.indices[:5]), np.sort(plain.indices[:5]))
    np.testing.assert_array_equal(found.indices[5:], plain.indices[5:])
    assert (found.inliers[5:] == -1).all()
    assert (found.inliers[:5] >= 0).all()
    assert (np.diff(found.distances) >= 0).all()
    vector = np.asarray(featx.FeatureExtractor(
        "resnet18", weights=None, precision="float32", device="cpu"
    ).fit_transform([path]))  # fmt: skip
    beside = index.query(vector, k=12, rerank=verification(n_candidates=5), images=[path])
    np.testing.assert_array_equal(beside.indices[0], found.indices)
    in_memory = index.query(Image.open(path), k=12, rerank=verification(n_candidates=5))
    np.testing.assert_array_equal(in_memory.indices, found.indices)


def test_images_are_described_once_and_no_more_than_asked_for_are_kept(world, monkeypatch) -> None:
    root, index = world
    described = []
    describe = LocalDescriber.describe

    def count(self, image):
        described.append(image.size)
        return describe(self, image)

    monkeypatch.setattr(LocalDescriber, "describe", count)
    index = copy.copy(index)
    index._learned = {}
    for number in (1, 2):
        found = index.query(queries(root, number), k=2, rerank="spatial")
        assert Path(found.ids[0, 0]).name == f"{number:02}.png"
    assert len(described) == 12 + 2
    few = verification(n_candidates=3, n_recent=4)
    for number in range(12):
        index.query(queries(root, number), k=2, rerank=few)
    assert index._learned[few]._index.n_samples_fit_ <= 4


def test_a_changed_image_is_read_again(world, tmp_path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (12, 12, 3), np.uint8)
    big = Image.fromarray(pixels).resize((320, 320), Image.Resampling.NEAREST)
    path = tmp_path / "one.png"
    root, _ = world
    Image.open(root / "db" / "01.png").save(path)
    index = RetrievalIndex().fit(np.eye(2), ids=[str(path), str(root / "db" / "00.png")])
    before = index.query(np.ones(2), images=[big], rerank="spatial")
    big.save(path)
    after = index.query(np.ones(2), images=[big], rerank="spatial")
    assert (before.inliers == 0).all()
    assert after.inliers[after.ids == str(path)] > 20
    assert after.ids[0] == str(path)


def test_candidates_that_are_gone_are_counted_and_stand_below(world, tmp_path) -> None:
    root, index = world
    ids = [str(tmp_path / "gone.png"), *index.ids_.tolist()[1:]]
    other = RetrievalIndex().fit(index._vectors.data, ids=ids)
    vectors = index._vectors.data[:1]
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"1 of 12 candidates could not .*gone\.png', and"):
            found = other.query(vectors, k=12, rerank="spatial", images=queries(root, 0))
    row = found.ids[0].tolist().index(ids[0])
    assert found.inliers[0, row] == -1
    assert found.distances[0, row] == 1
    assert sorted(found.ids[0].tolist()) == sorted(ids)


def test_misuse_of_verification_is_named(world, tmp_path, monkeypatch) -> None:
    root, index = world
    (path,) = queries(root, 0)
    vector = index._vectors.data[0]
    numbered = RetrievalIndex().fit(index._vectors.data)
    named = RetrievalIndex().fit(index._vectors.data, ids=[f"{tmp_path}/{i}" for i in range(12)])
    for call, message in (
        (
            lambda: index.query(vector, rerank="spatial"),
            r"got vectors as queries, expected images",
        ),
        (
            lambda: numbered.query(vector, rerank="spatial", images=path),
            r"ids are int64, expected",
        ),
        (lambda: index.query(vector, images=[path, path]), r"images: got 2, expected 1"),
        (lambda: index.query(path, images=path), r"images: got some beside X"),
        (lambda: index.query(path, rerank=verification(n_candidates=0)), r"n_candidates: got 0"),
    ):
        with pytest.raises(ParameterError, match=message):
            call()
    with pytest.raises(ImageDecodeError, match=r"found local features in none of 12"):
        named.query(vector, rerank="spatial", images=path)
    with pytest.raises(ImageDecodeError, match=r"query '.*no\.png': No such file; give another"):
        index.query(vector, rerank="spatial", images=[str(tmp_path / "no.png")])
    monkeypatch.setitem(sys.modules, "cv2", None)
    copied = copy.copy(index)
    copied._learned = {}
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[instances\]'"):
        copied.query(path, rerank=verification())


@pytest.mark.slow
def test_the_command_line_reranks_by_every_name(world, tmp_path, capsys) -> None:
    root, index = world
    index.save(tmp_path / "index")
    (path,) = queries(root, 4)
    for name in ("none", *RERANKINGS):
        assert main(["query", str(tmp_path / "index"), path, "--rerank", name, "--json"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert result["query"] == path
        assert len(result["matches"]) == 10
        assert ("inliers" in result["matches"][0]) == (name == "spatial")
    assert Path(result["matches"][0]["path"]).name == "04.png"
    assert main(["query", str(tmp_path / "index"), path, "--rerank", "spatial"]) == 0
    assert " features agree)" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_status:
        main(["query", str(tmp_path / "index"), path, "--rerank", "spacial"])
    assert exit_status.value.code == 2
    assert "Did you mean 'spatial'?" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_photographs_of_covers_find_their_covers(shared_assets: Path, tmp_path: Path) -> None:
    """20 photographs of DVD covers among 60: one vector finds half first, verified all."""
    pytest.importorskip("cv2", reason="opencv is an extra")
    root = shared_assets / "datasets" / "smvs_dvd"
    net = {
        "backbone": "mobilenet_v2",
        "weights": shared_assets / "weights" / "mobilenet_v2.pth",
        "precision": "float32",
    }
    queries = sorted((root / "queries").iterdir())[::3]
    covers = [root / "reference" / path.name for path in queries]
    covers += [path for path in sorted((root / "reference").iterdir()) if path not in covers][:40]
    index = RetrievalIndex().fit(featx.extract(covers, tmp_path / "r.h5", **net))
    asked = featx.extract(queries, tmp_path / "q.h5", **net)
    right = np.array([Path(p).name for p in asked.paths.tolist()])

    def first(rerank) -> float:
        found = index.query(asked, k=1, rerank=rerank).ids[:, 0].tolist()
        return float(np.mean([Path(p).name for p in found] == right))

    assert first(None) < 0.5
    assert first("spatial") >= 0.95
