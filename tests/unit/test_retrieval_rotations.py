"""Turned queries: the nearest turn counts."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import featx
from featx import RetrievalIndex
from featx.cli.main import main
from featx.demo import sample_data_dir
from featx.errors import ImageDecodeError, ParameterError

PHOTOS = sorted((sample_data_dir() / "objects" / "chair").glob("*.jpg"))[:6]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    store = featx.extract([str(p) for p in PHOTOS], tmp_path_factory.mktemp("r") / "f.h5",
                          progress=False, workers=0)  # fmt: skip
    return RetrievalIndex().fit(store)


def test_each_match_is_at_the_distance_of_its_nearest_turn(index) -> None:
    with Image.open(PHOTOS[2]) as photo:
        images = [photo.convert("RGB").rotate(90), photo.convert("RGB")]
    turns = [
        [image.rotate(angle, Image.BICUBIC) for angle in (0, 90, 180, 270)] for image in images
    ]
    expected = np.stack([
        np.sort(np.min([index.query(t, k=6).distances[np.argsort(index.query(t, k=6).indices)]
                        for t in four], axis=0)) for four in turns])  # fmt: skip
    found = index.query(images, k=6, rotations=4)
    np.testing.assert_allclose(found.distances, expected, atol=1e-5)
    assert found.ids[:, 0].tolist() == [str(PHOTOS[2])] * 2
    assert len({*found.ids[0].tolist()}) == 6
    few = index.query(images[0], k=2, rotations=4)
    np.testing.assert_array_equal(few.ids, found.ids[0, :2])
    once = index.query(images[0], k=6)
    assert once.distances[0] > found.distances[0, 0]


def test_vectors_of_turns_belong_together(index) -> None:
    X = index.vectors([0, 3, 1, 4])
    found = index.query(X, k=2, rotations=2)
    assert sorted(found.indices[0].tolist()) == [0, 3]
    assert sorted(found.indices[1].tolist()) == [1, 4]
    with pytest.raises(ParameterError, match="got 4 vectors with rotations=3"):
        index.query(X, rotations=3)
    with pytest.raises(ParameterError, match="rotations: got 0"):
        index.query(X, rotations=0)
    with pytest.raises(ParameterError, match="rotations: got 2 with text"):
        index.query(text="dog", rotations=2)


def test_bad_images_are_named(index, tmp_path, capsys) -> None:
    with pytest.raises(ImageDecodeError, match="nowhere"):
        index.query("nowhere.jpg", rotations=4)
    index.save(tmp_path / "i")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no image")
    words = ["query", str(tmp_path / "i"), str(tmp_path / "bad.jpg"), str(PHOTOS[1])]
    assert main([*words, "--rotations", "2", "-k", "1"]) == 0
    shown = capsys.readouterr()
    assert PHOTOS[1].name in shown.out
    assert "bad.jpg: could not be read" in shown.err
