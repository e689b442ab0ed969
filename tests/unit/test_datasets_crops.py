"""Images cut to their boxes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featx.errors import ImageDecodeError, ManifestError, ParameterError, StoreWriteError
from featx.evaluation import Relevance
from pipelines.datasets import ImageDataset, RetrievalDataset, write_crops
from pipelines.datasets.crops import _corners


def noise(path: Path, width: int = 20, height: int = 12, **options) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def birds(paths, boxes, **changes) -> ImageDataset:
    labels = [f"bird {i}" for i in range(len(paths))]
    return ImageDataset("birds", "fine_grained", paths, labels, boxes=boxes, **changes)


def pixels_of(path: str) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_crops_have_the_pixels_of_their_boxes_and_keep_the_rest(tmp_path):
    pixels = noise(tmp_path / "a.png")
    dataset = birds((str(tmp_path / "a.png"),) * 2, [[3, 2, 9, 8], [0, 0, 20, 12]])
    dataset = dataclasses.replace(dataset, split=["train", "test"])
    crops = write_crops(dataset, tmp_path / "crops")
    np.testing.assert_array_equal(pixels_of(crops.paths[0]), pixels[2:8, 3:9])
    np.testing.assert_array_equal(pixels_of(crops.paths[1]), pixels)
    assert crops.boxes is None
    assert crops.labels.tolist() == ["bird 0", "bird 1"]
    assert crops.split.tolist() == ["train", "test"]
    assert crops.manifest().paths == crops.paths
    assert all(Path(path).is_absolute() for path in crops.paths)


def test_boxes_grow_about_their_centre_and_stop_at_the_border(tmp_path):
    pixels = noise(tmp_path / "a.png")
    dataset = birds((str(tmp_path / "a.png"),) * 2, [[8, 4, 12, 8], [0, 6, 4, 12]])
    crops = write_crops(dataset, tmp_path / "crops", enlarge=1.5)
    # 4 x 4 px about (10, 6) become 6 x 6; 4 x 6 about (2, 9) would reach from -1 to 5 and 4.5 to
    # 13.5, of which 4.5 rounds to 4.
    np.testing.assert_array_equal(pixels_of(crops.paths[0]), pixels[3:9, 7:13])
    np.testing.assert_array_equal(pixels_of(crops.paths[1]), pixels[4:12, 0:5])


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    starts=st.tuples(st.floats(-5, 70), st.floats(-5, 70)),
    spans=st.tuples(st.floats(0.01, 70), st.floats(0.01, 70)),
    enlarge=st.floats(0.1, 3),
)
def test_a_crop_lies_in_its_image_and_has_pixels(size, starts, spans, enlarge):
    box = [*starts, starts[0] + spans[0], starts[1] + spans[1]]
    corners = _corners(box, enlarge, size)
    if corners is not None:
        left, top, right, bottom = corners
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
    if all(a >= 0 and b <= n for a, b, n in zip(box[:2], box[2:], size, strict=True)):
        assert corners is not None


def test_boxes_are_of_the_upright_image(tmp_path):
    """An EXIF orientation of 6 turns a quarter clockwise: the first column comes on top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = noise(tmp_path / "a.png", exif=exif)
    crops = write_crops(birds((str(tmp_path / "a.png"),), [[0, 0, 12, 1]]), tmp_path / "crops")
    np.testing.assert_array_equal(pixels_of(crops.paths[0])[0], stored[::-1, 0])


def test_crops_that_are_there_are_not_written_again(tmp_path):
    noise(tmp_path / "a.png")
    dataset = birds((str(tmp_path / "a.png"),), [[0, 0, 5, 5]])
    (first,) = write_crops(dataset, tmp_path / "crops").paths
    os.utime(first, ns=(1, 1))
    assert write_crops(dataset, tmp_path / "crops").paths == (first,)
    assert Path(first).stat().st_mtime_ns == 1


def test_other_settings_never_meet_an_old_crop(tmp_path):
    noise(tmp_path / "a.png")
    dataset = birds((str(tmp_path / "a.png"),), [[4, 4, 8, 8]])
    found = {write_crops(dataset, tmp_path / "c", enlarge=factor).paths for factor in (1.0, 1.5)}
    moved = dataclasses.replace(dataset, boxes=[[4, 4, 8, 9]])
    found.add(write_crops(moved, tmp_path / "c").paths)
    os.utime(tmp_path / "a.png", ns=(1, 1))
    found.add(write_crops(dataset, tmp_path / "c").paths)
    assert len(found) == 4
    assert len(list((tmp_path / "c").iterdir())) == 4


def test_equal_boxes_and_equal_names_have_files_of_their_own(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        noise(tmp_path / name / "1.png")
    paths = [str(tmp_path / name / "1.png") for name in ("x", "x", "y")]
    crops = write_crops(birds(paths, [[0, 0, 5, 5]] * 3), tmp_path / "crops")
    assert len(set(crops.paths)) == 3
    # A subset meets the files of the whole.
    again = write_crops(birds(paths[2:], [[0, 0, 5, 5]]), tmp_path / "crops")
    assert again.paths == crops.paths[2:]


def test_of_a_retrieval_set_the_queries_are_cut(tmp_path):
    pixels = noise(tmp_path / "q.png")
    database = (str(tmp_path / "q.png"),)
    relevance = Relevance((np.array([0]),), (np.array([], dtype=int),))
    dataset = RetrievalDataset("r", database, database, [[1.4, 0, 5.6, 3]], {"default": relevance})
    crops = write_crops(dataset, tmp_path / "crops")
    assert crops.database == database
    assert crops.query_boxes is None
    assert crops.protocols == {"default": relevance}
    np.testing.assert_array_equal(pixels_of(crops.queries[0]), pixels[0:3, 1:6])


def test_what_cannot_be_cut_is_refused(tmp_path):
    noise(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    with pytest.raises(ManifestError, match=r"'birds': has no boxes"):
        write_crops(birds((path,), None), tmp_path / "crops")
    with pytest.raises(ManifestError, match=r"a.png': its box \[30.*lies outside its 20 x 12 px"):
        write_crops(birds((path,), [[30, 0, 40, 5]]), tmp_path / "crops")
    with pytest.raises(ParameterError, match=r"enlarge: got 0, expected a number above 0"):
        write_crops(birds((path,), [[0, 0, 5, 5]]), tmp_path / "crops", enlarge=0)
    with pytest.raises(ImageDecodeError, match=r"image '.*gone.png': No such file"):
        write_crops(birds((str(tmp_path / "gone.png"),), [[0, 0, 5, 5]]), tmp_path / "crops")
    (tmp_path / "bad.jpg").write_text("<html>")
    with pytest.raises(ImageDecodeError, match=r"image '.*bad.jpg': not a JPEG"):
        write_crops(birds((str(tmp_path / "bad.jpg"),), [[0, 0, 5, 5]]), tmp_path / "crops")
    with pytest.raises(StoreWriteError, match=r"folder '.*a.png': "):
        write_crops(birds((path,), [[0, 0, 5, 5]]), path)


def test_a_crop_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    noise(tmp_path / "a.png")

    def full(self, target, *_, **__):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StoreWriteError, match=r"crop '.*': No space left on device"):
        write_crops(birds((str(tmp_path / "a.png"),), [[0, 0, 5, 5]]), tmp_path / "crops")
    assert list((tmp_path / "crops").iterdir()) == []
