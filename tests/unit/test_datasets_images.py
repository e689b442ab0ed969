"""What a data set holds, and reading one by name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import ManifestError, ParameterError
from featx.evaluation import Relevance
from pipelines.datasets import ImageDataset, RetrievalDataset, list_datasets, read_dataset

PATHS = ("/d/0.jpg", "/d/1.jpg", "/d/2.jpg")


def pictures(**changes):
    given_values = {
        "labels": ["cat", "dog", "cat"],
        "split": ["train", "test", "val"],
        "boxes": [[0, 0, 4, 3], [1, 1, 2, 2], [0, 1, 5, 6]],
        "attributes": [[1, 0], [np.nan, 1], [0, 0]],
        "attribute_names": ("furry", "wet"),
    }
    return ImageDataset("pets", "attributes", PATHS, **{**given_values, **changes})


def test_rows_take_several_splits_together_and_all_without_a_name():
    dataset = pictures()
    np.testing.assert_array_equal(dataset.rows("val", "train"), [0, 2])
    np.testing.assert_array_equal(dataset.rows(), [0, 1, 2])
    unsplit = pictures(split=["train", "", ""])
    np.testing.assert_array_equal(unsplit.rows(""), [1, 2])


def test_a_split_that_is_not_there_names_those_that_are():
    with pytest.raises(ParameterError, match=r"no split 'tset'.*'test' \(1 images\).*mean 'test'"):
        pictures().rows("tset")
    with pytest.raises(ParameterError, match=r"no split 'train', expected one of '' \(3 images\)"):
        ImageDataset("p", "scenes", PATHS, labels=["a", "b", "c"]).rows("train")


def test_a_subset_keeps_what_belongs_together():
    part = pictures().subset([2, 0])
    assert part.paths == ("/d/2.jpg", "/d/0.jpg")
    assert part.labels.tolist() == ["cat", "cat"]
    assert part.split.tolist() == ["val", "train"]
    np.testing.assert_array_equal(part.attributes, [[0, 0], [1, 0]])
    np.testing.assert_array_equal(part.boxes, [[0, 1, 5, 6], [0, 0, 4, 3]])
    assert part.attribute_names == ("furry", "wet")
    by_mask = pictures().subset(np.array([False, True, False]))
    assert by_mask.paths == ("/d/1.jpg",)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
def test_a_subset_has_the_manifest_of_its_rows(rows):
    whole = pictures().manifest().subset(rows)
    assert pictures().subset(rows).manifest() == whole


def test_the_manifest_has_labels_and_a_column_an_attribute():
    manifest = pictures().manifest()
    assert manifest.paths == PATHS
    assert manifest.labels == ("cat", "dog", "cat")
    assert manifest.columns == {"furry": ("1", "", "0"), "wet": ("0", "1", "0")}


def test_a_set_with_attributes_only_has_a_manifest_without_labels():
    assert pictures(labels=None).manifest().labels is None


def test_several_objects_of_an_image_have_no_manifest_before_they_are_cut_out():
    objects = ImageDataset(
        "o", "attributes", (PATHS[0],) * 2, ["a", "b"], boxes=[[0, 0, 1, 1], [0, 0, 2, 2]]
    )
    with pytest.raises(ManifestError, match=r"1 of its 2 rows are further objects.*write_crops"):
        objects.manifest()


def test_the_text_of_a_set_says_what_it_has():
    assert repr(pictures()) == (
        "ImageDataset('pets', attributes: 3 images, 2 classes, 2 attributes; "
        "train 1, val 1, test 1; boxes)"
    )
    bare = ImageDataset("p", "scenes", PATHS, labels=["a", "b", "c"])
    assert repr(bare) == "ImageDataset('p', scenes: 3 images, 3 classes)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["cat"]}, r"labels has the shape \(1,\), expected \(3,\)"),
        ({"labels": ["cat", "", ""]}, r"2 of 3 images have no label, the first is '/d/1.jpg'"),
        ({"split": ["train", "test", "tes"]}, r"split: got 'tes'.*mean 'test'"),
        ({"split": ["train"]}, r"split has the shape \(1,\)"),
        ({"boxes": [[0, 0, 1, 1]]}, r"boxes has the shape \(1, 4\), expected \(3, 4\)"),
        (
            {"boxes": [[0, 0, 1, 1], [5, 0, 5, 1], [0, 0, 1, 1]]},
            r"\[5.0, 0.0, 5.0, 1.0\] in row 1, expected left < right",
        ),
        ({"boxes": np.full((3, 4), np.nan)}, r"\[nan, nan, nan, nan\] in row 0"),
        ({"attributes": [[1, 0]]}, r"attributes has the shape \(1, 2\), expected \(3, 2\)"),
        ({"attributes": [[1, 0], [-1, 0], [0, 0]]}, r"'furry' of image 1 is -1.0, expected 1, 0"),
        ({"attribute_names": ("wet", "wet")}, r"attribute 'wet' occurs twice"),
        ({"attributes": None}, r"2 attribute names without attributes"),
        (
            {"labels": None, "attributes": None, "attribute_names": ()},
            r"neither labels nor attributes",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ManifestError, match=message):
        pictures(**changes)


def test_paths_and_tasks_that_do_not_fit_are_refused():
    with pytest.raises(ManifestError, match=r"task: got 'scene', expected .*mean 'scenes'"):
        ImageDataset("p", "scene", PATHS, labels=["a"] * 3)
    with pytest.raises(ManifestError, match=r"got no paths"):
        ImageDataset("p", "scenes", (), labels=[])
    with pytest.raises(ManifestError, match=r"'x.jpg', expected absolute paths"):
        ImageDataset("p", "scenes", ("x.jpg",), labels=["a"])
    with pytest.raises(ManifestError, match=r"'/d/0.jpg' occurs 2 times"):
        ImageDataset("p", "scenes", (PATHS[0],) * 2, labels=["a", "a"])


@pytest.mark.parametrize(
    ("positives", "junk", "message"),
    [
        ([[3]], [[]], r"'default': positives of query 0 has the rows 3 to 3, expected 0 to 2"),
        ([[0]], [[-1]], r"junk of query 0 has the rows -1 to -1"),
        ([[0], [1]], [[]], r"got positives of 2 queries, expected 1"),
    ],
)
def test_rows_that_the_database_lacks_are_refused(positives, junk, message):
    relevance = Relevance(*(tuple(map(np.array, rows)) for rows in (positives, junk)))
    with pytest.raises(ManifestError, match=message):
        RetrievalDataset("r", PATHS, PATHS[:1], None, {"default": relevance})


def test_a_retrieval_set_needs_a_protocol_and_distinct_images():
    with pytest.raises(ManifestError, match=r"got no protocol, expected at least 'default'"):
        RetrievalDataset("r", PATHS, PATHS, None, {})
    with pytest.raises(ManifestError, match=r"an image is twice in the database"):
        RetrievalDataset("r", PATHS[:1] * 2, PATHS, None, {})
    with pytest.raises(ManifestError, match=r"query_boxes has the shape \(1, 4\)"):
        RetrievalDataset("r", PATHS, PATHS, [[0, 0, 1, 1]], {})


def test_an_unknown_set_names_the_nearest(tmp_path):
    with pytest.raises(ParameterError, match=r"got 'flower102', expected .*mean 'flowers102'"):
        read_dataset("flower102", tmp_path)


def test_an_unknown_option_names_those_of_the_set(tmp_path):
    with pytest.raises(
        ParameterError, match=r"option: got 'partiton', expected 'partition'.*mean 'partition'"
    ):
        read_dataset("sun397", tmp_path, partiton=2)
    with pytest.raises(ParameterError, match=r"'voc2007': option: got 'year', expected none"):
        read_dataset("voc2007", tmp_path, year=2007)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sun397", {"partition": 11}, "partition=11, expected 1 to 10"),
        ("flowers17", {"partition": 0}, "partition=0, expected 1 to 3"),
        ("flowers17", {"partition": True}, "partition=True, expected 1 to 3"),
        ("cub200", {"task": "attribute"}, "task: got 'attribute'.*mean 'attributes'"),
        ("apascal", {"test": "accross"}, "test: got 'accross'.*mean 'across'"),
        ("caltech101", {"background": 1}, "background=1, expected True or False"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(tmp_path, name, options, message):
    with pytest.raises(ParameterError, match=message):
        read_dataset(name, tmp_path, **options)


def test_a_folder_that_is_not_there_names_the_nearest(tmp_path):
    (tmp_path / "flowers").mkdir()
    with pytest.raises(ManifestError, match=r"found nothing, expected a folder.*'flowers'\?"):
        read_dataset("flowers102", tmp_path / "flower")
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match=r"'voc2007' in .*file': found a file"):
        read_dataset("voc2007", tmp_path / "file")


@pytest.mark.parametrize("card", list_datasets(), ids=lambda card: card.name)
def test_every_set_says_what_an_empty_folder_lacks(card, tmp_path):
    with pytest.raises(ManifestError, match=r"found no(thing| )"):
        read_dataset(card.name, tmp_path)
    assert "\n" not in str(card)
    assert card.layout
    assert card.source


def test_reading_a_set_imports_no_torch(tmp_path):
    code = "import sys, pipelines.datasets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
