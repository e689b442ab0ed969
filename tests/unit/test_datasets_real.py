"""Real sets of photographs, which are not in the repository."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from featx.images import decode_image
from pipelines.datasets import ImageDataset, RetrievalDataset, read_dataset


@pytest.fixture
def read(shared_assets: Path):
    def read_one(name: str, folder: str) -> ImageDataset | RetrievalDataset:
        path = shared_assets / "datasets" / folder
        if not path.is_dir():
            pytest.skip(f"the photographs of {folder} are not at {path} (set FEATX_ASSETS)")
        return read_dataset(name, path)

    return read_one


@pytest.mark.parametrize(
    ("name", "folder", "text"),
    [
        ("caltech101", "caltech101", "'caltech101', classification: 1500 images, 100 classes)"),
        ("scene15", "scene15", "scenes: 750 images, 15 classes; train 375, test 375)"),
        ("image_folder", "flowers12", "960 images, 12 classes; train 720, test 240)"),
        ("image_folder", "cats_dogs", "classification: 440 images, 2 classes)"),
        ("celeba", "celeba", "attributes: 3000 images, 40 attributes)"),
        ("paired_folders", "smvs_dvd", "60 queries in 100 images; default)"),
    ],
)
def test_a_real_set_is_read_whole(read, name, folder, text):
    dataset = read(name, folder)
    assert repr(dataset).endswith(text)
    paths = dataset.paths if isinstance(dataset, ImageDataset) else dataset.database
    assert min(decode_image(paths[0]).size) > 50


def test_scenes_and_flowers_have_as_many_of_each_class(read):
    for name, folder, sizes in (
        ("scene15", "scene15", {25}),
        ("image_folder", "flowers12", {60, 20}),
    ):
        dataset = read(name, folder)
        counts = Counter(zip(dataset.split.tolist(), dataset.labels.tolist(), strict=True))
        assert set(counts.values()) == sizes


def test_the_first_face_has_the_attributes_that_its_line_says(read):
    dataset = read("celeba", "celeba")
    assert Path(dataset.paths[0]).name == "000001.jpg"
    present = [dataset.attribute_names[i] for i in np.flatnonzero(dataset.attributes[0])]
    assert present[:3] == ["Arched_Eyebrows", "Attractive", "Brown_Hair"]
    assert present[-2:] == ["Wearing_Lipstick", "Young"]


def test_each_photograph_of_a_cover_has_one_reference(read):
    dataset = read("paired_folders", "smvs_dvd")
    for query, right in zip(dataset.queries, dataset.protocols["default"].positives, strict=True):
        assert [Path(dataset.database[row]).stem for row in right] == [Path(query).stem]
