"""Joining a CSV of labels to the paths of a store."""

from __future__ import annotations

import numpy as np
import pytest

from featx.errors import ManifestError
from featx.images import join_labels, read_labels

PATHS = ["/data/cats/1.jpg", "/data/cats/2.jpg", "/data/bobcats/1.jpg"]


def write(folder, text):
    csv = folder / "labels.csv"
    csv.write_text(text)
    return csv


def test_absolute_paths_match_and_the_rest_is_counted(tmp_path):
    csv = write(
        tmp_path,
        "path,label,tail\n/data/bobcats/1.jpg,bob,0\n/data/cats/1.jpg,cat,1\n/data/dog.jpg,dog,1\n",
    )
    joined = join_labels(PATHS, csv)
    np.testing.assert_array_equal(joined.rows, [0, 2])
    assert joined.labels == ("cat", "bob")
    assert joined.columns == {"tail": ("1", "0")}
    left = joined.coverage()
    assert (left.n_unlabelled, left.unlabelled) == (1, ("/data/cats/2.jpg",))
    assert (left.n_unused, left.unused) == (1, ("/data/dog.jpg",))


def test_paths_relative_to_the_csv_match(tmp_path):
    csv = write(tmp_path, "path,label\nx/1.jpg,one\n")
    joined = join_labels([str(tmp_path / "x" / "1.jpg")], csv)
    assert joined.labels == ("one",)


def test_suffixes_match_by_whole_folder_names(tmp_path):
    csv = write(tmp_path, "path,label\n./cats/1.jpg,cat\nbobcats/1.jpg,bob\n")
    joined = join_labels(PATHS, csv)
    np.testing.assert_array_equal(joined.rows, [0, 2])
    assert joined.labels == ("cat", "bob")


def test_a_suffix_of_several_images_is_refused_with_both(tmp_path):
    csv = write(tmp_path, "path,label\n1.jpg,cat\n2.jpg,cat\n")
    with pytest.raises(ManifestError, match=r"1 of its 2 paths.*'/data/cats/1.jpg', '/data/bob"):
        join_labels(PATHS, csv)


def test_two_rows_of_one_image_are_refused(tmp_path):
    csv = write(tmp_path, "path,label\ncats/1.jpg,a\n../cats/1.jpg,b\n")
    with pytest.raises(
        ManifestError, match=r"line 2 \('cats/1.jpg'\) and line 3 .*label 'a' and 'b'"
    ):
        join_labels(PATHS, csv)


def test_a_csv_in_which_nothing_fits_shows_both_sides(tmp_path):
    csv = write(tmp_path, "path,label\nimg/7.jpg,a\n")
    with pytest.raises(ManifestError, match=r"none of its 1 paths.*3 images.*img/7.*/data/cats/1"):
        join_labels(PATHS, csv)


def test_a_csv_without_label_has_columns_only(tmp_path):
    table = read_labels(write(tmp_path, "path,smiling,young\n1.jpg,1,0\n"))
    assert table.labels is None
    assert table.columns == {"smiling": ("1",), "young": ("0",)}
