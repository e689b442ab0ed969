"""Manifests: which images, in which order, with which labels."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import FeatxWarning, ManifestError
from featx.images import ImageManifest
from featx.images.inputs import as_sources

pd = pytest.importorskip("pandas")


@pytest.fixture
def tree(tmp_path):
    for name in ("b/2.JPG", "b/10.jpg", "a/deep/er/x.png", "a/notes.txt", ".hidden/y.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "._2.jpg").touch()
    (tmp_path / "b" / ".DS_Store").touch()
    return tmp_path


def test_a_folder_gives_sorted_images_with_nested_labels(tree):
    manifest = ImageManifest.from_source(tree)
    names = [os.path.relpath(p, tree) for p in manifest.paths]
    assert names == ["a/deep/er/x.png", "b/10.jpg", "b/2.JPG"]
    assert manifest.labels == ("a/deep/er", "b", "b")


def test_a_folder_without_subfolders_has_no_labels(tree):
    assert ImageManifest.from_folder(tree / "b").labels is None


def test_images_beside_labelled_folders_have_an_empty_label(tree):
    (tree / "z.jpg").touch()
    assert ImageManifest.from_folder(tree).labels == ("a/deep/er", "b", "b", "")


def test_the_same_source_written_relative_and_absolute_gives_the_same_paths(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert ImageManifest.from_source(".").paths == ImageManifest.from_source(tree).paths
    assert ImageManifest.from_source("b/").paths == ImageManifest.from_source("./b").paths


def test_symlinked_folders_are_followed_and_loops_are_survived(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "w.jpg").touch()
    (tree / "c").symlink_to(other)
    (other / "back").symlink_to(tree)
    (tree / "self").symlink_to(tree)
    (tree / "b" / "broken").symlink_to(tree / "nowhere")
    (tree / "b" / "ring").symlink_to(tree / "b" / "ring")
    manifest = ImageManifest.from_folder(tree)
    assert [os.path.relpath(p, tree) for p in manifest.paths][-1] == "c/w.jpg"
    assert len(manifest) == 4


def test_a_glob_gives_sorted_image_files_only(tree):
    found = ImageManifest.from_source(str(tree / "**" / "*"))
    assert [Path(p).name for p in found.paths] == ["x.png", "10.jpg", "2.JPG"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tree):
    odd = tree / "img[1].jpg"
    odd.touch()
    assert ImageManifest.from_source(odd).paths == (str(odd),)


def test_a_csv_gives_labels_and_columns_relative_to_itself(tree):
    csv = tree / "list.csv"
    csv.write_text('﻿path,label,smiling\nb/2.JPG,two,1\n\n/abs/absent.jpg,"a, b",0\n')
    manifest = ImageManifest.from_source(csv)
    assert manifest.paths == (str(tree / "b/2.JPG"), "/abs/absent.jpg")
    assert manifest.labels == ("two", "a, b")
    assert manifest.columns == {"smiling": ("1", "0")}


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_spreadsheets_delimiter_is_understood(tmp_path, delimiter):
    csv = tmp_path / "list.csv"
    csv.write_text(f"label{delimiter}path\nx{delimiter}1.jpg\n")
    assert ImageManifest.from_csv(csv).labels == ("x",)


def test_sources_keep_their_order_and_fill_what_one_lacks(tree):
    csv = tree / "list.csv"
    csv.write_text("path,tall\nq.jpg,1\n")
    manifest = ImageManifest.from_source([tree / "b", csv, str(tree / "absent.jpg"), tree / "a"])
    names = [os.path.relpath(p, tree) for p in manifest.paths]
    assert names == ["b/10.jpg", "b/2.JPG", "q.jpg", "absent.jpg", "a/deep/er/x.png"]
    assert manifest.labels == ("", "", "", "", "deep/er")
    assert manifest.columns == {"tall": ("", "", "1", "", "")}


def test_a_list_of_paths_keeps_order_and_labels():
    manifest = ImageManifest.from_source(["/z.jpg", "/a.jpg"], labels=[3, 1])
    assert manifest.paths == ("/z.jpg", "/a.jpg")
    assert manifest.labels == ("3", "1")


def test_a_missing_source_names_the_nearest_one(tree):
    (tree / "photos").mkdir()
    with pytest.raises(ManifestError, match=r"photoz.*not found.*Did you mean 'photos'"):
        ImageManifest.from_source(tree / "photoz")
    with pytest.raises(ManifestError, match=r"2.JPEG.*not found"):
        ImageManifest.from_source(tree / "b" / "2.JPEG")
    with pytest.raises(ManifestError, match=r"folder '.*nowhere' cannot be read"):
        ImageManifest.from_source([tree / "nowhere" / "photos"])


def test_sources_without_images_are_refused(tree):
    (tree / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"empty'.*no images"):
        ImageManifest.from_source(tree / "empty")
    with pytest.raises(ManifestError, match=r"\*\.bmp'.*matches no image files"):
        ImageManifest.from_source(str(tree / "*.bmp"))
    with pytest.raises(ManifestError, match="empty sequence"):
        ImageManifest.from_source([])
    with pytest.raises(ManifestError, match="empty path"):
        ImageManifest.from_source("")
    with pytest.raises(ManifestError, match=r"source\[1\]: got 7"):
        ImageManifest.from_source(["/a.jpg", 7])
    with pytest.raises(ManifestError, match=r"2.JPG'.*found a file"):
        ImageManifest.from_folder(tree / "b" / "2.JPG")


def test_duplicate_paths_are_refused_with_their_count(tree):
    with pytest.raises(ManifestError, match=r"2 images come twice: .*10.jpg' from folder .*b'"):
        ImageManifest.from_source([tree / "b", tree])
    with pytest.raises(ManifestError, match=r"2 paths occur more than once.*/a' 3 times"):
        ImageManifest.from_paths(["/a", "/b", "/a", "/b", "/a"])


def test_labels_of_another_length_are_refused(tree):
    with pytest.raises(ManifestError, match="got 2 values in 'labels' for 3 images"):
        ImageManifest.from_source(tree, labels=["x", "y"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.jpg,x\n", r"columns \['file', 'label'\], expected one named 'path'"),
        ("paht,label\na.jpg,x\n", "Did you mean 'paht'"),
        ("path,label\na.jpg\n", "line 2: got 1 fields, expected 2"),
        ("path,label\n,x\n", "line 2: got an empty path"),
        ("path,label\n", "no rows"),
        ("", "is empty"),
        ("path,path\na,b\n", "'path' more than once"),
        ('path\n"a.jpg\n', "line 2: unexpected end of data"),
    ],
)
def test_a_faulty_csv_is_refused_with_its_line(tmp_path, text, message):
    csv = tmp_path / "list.csv"
    csv.write_text(text)
    with pytest.raises(ManifestError, match=message):
        ImageManifest.from_source(csv)


def test_a_csv_that_is_no_text_is_refused(tmp_path):
    csv = tmp_path / "list.csv"
    csv.write_bytes(b"path\n\xff\xfe.jpg\n")
    with pytest.raises(ManifestError, match="byte 5 is 0xff, expected UTF-8"):
        ImageManifest.from_source(csv)
    with pytest.raises(ManifestError, match=r"lisst.csv.*not found.*Did you mean 'list.csv'"):
        ImageManifest.from_csv(tmp_path / "lisst.csv")


NAME = st.text("abcXYZ-_0 é", min_size=1, max_size=4).filter(lambda s: s.strip() == s)


@given(st.lists(st.lists(NAME, min_size=1, max_size=3), min_size=1, max_size=8, unique_by=tuple))
def test_every_image_is_found_once_in_sorted_order_with_its_folder(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("tree")
    expected = {}
    for parts in names:
        # A folder and an image may not share a name, so images alone have a suffix.
        path = root.joinpath(*parts[:-1], f"{parts[-1]}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        expected[str(path)] = "/".join(parts[:-1])
    manifest = ImageManifest.from_source(root)
    assert list(manifest.paths) == sorted(expected)
    labels = manifest.labels or ("",) * len(manifest)
    assert dict(zip(manifest.paths, labels, strict=True)) == expected


@given(st.data())
def test_a_subset_takes_rows_of_every_column(data):
    n = data.draw(st.integers(1, 20))
    paths = [f"/{i}.jpg" for i in range(n)]
    manifest = ImageManifest(tuple(paths), tuple(map(str, range(n))), {"c": tuple(paths)})
    rows = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
    part = manifest.subset(rows)
    assert part.paths == part.columns["c"] == tuple(paths[i] for i in rows)
    assert part.labels == tuple(str(i) for i in rows)
    mask = np.zeros(n, bool)
    mask[rows] = True
    assert manifest.subset(mask).paths == tuple(np.array(paths)[mask])


@pytest.mark.timeout(120)
def test_a_hundred_thousand_listed_paths_are_not_compared_in_pairs():
    """About 1 s; a comparison of all pairs would take hours."""
    manifest = ImageManifest.from_source([f"/data/{i}.jpg" for i in range(100_000)])
    assert len(manifest) == 100_000


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_beside_each_other_are_the_classes_of_the_folder_above(tmp_path, monkeypatch):
    touch(tmp_path, "p/cats/1.png", "p/dogs/1.png", "p/dogs/2.png", "p/x.png", "other/1.png")
    above = ImageManifest.from_source(tmp_path / "p").subset([0, 1, 2])
    monkeypatch.chdir(tmp_path / "p")
    for source in (
        ["cats", "dogs"],
        ["cats/", str(tmp_path / "p" / "dogs")],
        [Path("cats"), "dogs"],
    ):
        found = ImageManifest.from_source(source)
        assert (found.paths, found.labels) == (above.paths, ("cats", "dogs", "dogs"))
    assert ImageManifest.from_source(["x.png", "cats", "dogs"]).labels == (
        "",
        "cats",
        "dogs",
        "dogs",
    )
    for source in (["cats"], ["cats", "../other"], ["x.png", "cats"]):
        assert ImageManifest.from_source(source).labels is None


def test_class_folders_may_hold_folders_and_lie_in_two_places(tmp_path):
    touch(tmp_path, "p/cats/1.png", "p/cats/thumbs/1.png", "p/dogs/1.png", "p/notes/a.txt")
    above = ImageManifest.from_source(tmp_path / "p")
    with pytest.warns(FeatxWarning, match="notes': has no images and is left out"):
        found = ImageManifest.from_source(sorted((tmp_path / "p").iterdir()))
    assert (found.paths, found.labels) == (above.paths, above.labels)
    assert (found.labels, found.ignored) == (("cats", "cats/thumbs", "dogs"), {".txt": 1})
    touch(tmp_path, "q/cats/1.png", "q/dogs/1.png")
    folders = [tmp_path / name for name in ("p/dogs", "p/cats", "q/cats", "q/dogs")]
    labels = ("dogs", "cats", "cats/thumbs", "cats", "dogs")
    assert ImageManifest.from_source(folders).labels == labels
    with (
        pytest.warns(FeatxWarning, match="no images"),
        pytest.raises(ManifestError, match=r"folders without images.*ignored 1 file: .txt 1"),
    ):
        ImageManifest.from_source([tmp_path / "p" / "notes"])


def test_an_unreadable_folder_among_several_is_told_as_of_the_folder_above(tmp_path, monkeypatch):
    touch(tmp_path, "cats/1.png", "dogs/1.png", "mice/1.png")
    locked, scan = str(tmp_path / "dogs"), os.scandir

    def refuse_one(path):
        if path == locked:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse_one)
    found = ImageManifest.from_source([tmp_path / n for n in ("cats", "dogs", "mice")])
    above = ImageManifest.from_source(tmp_path)
    assert found == above
    assert found.unreadable == above.unreadable == {locked: "Permission denied"}


def test_what_is_no_source_is_refused(tmp_path):
    for source in (None, 3):
        with pytest.raises(ManifestError, match=rf"source: got {source}, expected a path"):
            ImageManifest.from_source(source)
    with pytest.raises(ManifestError, match=r"source\[0\]: got a dict, expected a path"):
        ImageManifest.from_source([{"path": ["a.png"]}])
    touch(tmp_path, "a.png")
    assert len(ImageManifest.from_source(os.fsencode(tmp_path))) == 1


def test_parts_of_a_data_set_named_one_by_one_keep_their_own_classes(tmp_path):
    touch(tmp_path, "train/cats/1.png", "test/cats/1.png", "flat/train/1.png", "flat/val/1.png")
    found = ImageManifest.from_source([tmp_path / "train", tmp_path / "test"])
    assert found.labels == ("cats", "cats")
    flat = tmp_path / "flat"
    assert ImageManifest.from_source([flat / "train", flat / "val"]).labels is None


def test_a_folder_named_like_a_missing_value_is_a_class(tmp_path):
    touch(tmp_path, "NA/1.png", "None/1.png", "nan/1.png", "1.0/1.png")
    assert ImageManifest.from_folder(tmp_path).labels == ("1.0", "NA", "None", "nan")


NFC, NFD = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("there", "written"), [(NFC, NFD), (NFD, NFC)])
def test_a_file_is_found_by_either_unicode_form_of_its_name(tmp_path, there, written):
    folder = tmp_path / "Zoë"  # as composed text, whatever the form of what lies in it
    touch(folder, f"{there}/{there} 1.png")
    path = str(folder / there / f"{there} 1.png")
    if os.path.lexists(folder / written):
        pytest.skip("this file system takes both forms for one")
    (folder / "l.csv").write_text(f"path,label\n{written}/{written} 1.png,x\n", encoding="utf-8")
    other = str(folder / written / f"{written} 1.png")
    for source in (folder / "l.csv", other, [other], str(folder / written), {"path": [other]}):
        assert ImageManifest.from_source(source).paths == (path,)
    assert ImageManifest.from_paths([other]).paths == (path,)
    assert as_sources([other]) == [path]
    touch(folder, f"{written}/{written} 1.png")  # both are there: each is itself
    assert ImageManifest.from_source([path, other]).paths == (path, other)
    assert ImageManifest.from_csv(folder / "l.csv").paths == (other,)


@pytest.mark.parametrize(("there", "written"), [(NFC, NFD), (NFD, NFC)])
def test_a_glob_finds_names_in_either_unicode_form(tmp_path, there, written):
    touch(tmp_path, f"{there}/{there} 1.png", f"{there}/{there} 2.png", f"{there}/x.png")
    every = set(ImageManifest.from_source(tmp_path).paths)
    for pattern, n in ((f"{written}/*.png", 3), (f"{written}/{written}*.png", 2)):
        found = ImageManifest.from_source(str(tmp_path / pattern))
        assert (len(found), set(found.paths) <= every, found.unreadable) == (n, True, {})


@pytest.mark.skipif(os.sep != "/", reason="the separator of Windows is no other form there")
def test_a_path_as_windows_writes_it_is_found(tmp_path):
    touch(tmp_path, "cats/1.png", "a\\b.png", "a/b.png")
    (tmp_path / "l.csv").write_text("path\ncats\\1.png\na\\b.png\n")
    found = ImageManifest.from_csv(tmp_path / "l.csv")
    assert [os.path.relpath(path, tmp_path) for path in found.paths] == ["cats/1.png", "a\\b.png"]


@pytest.mark.parametrize("name", ["l.tsv", "l.txt", "l.CSV"])
def test_a_text_file_of_paths_is_a_manifest(tmp_path, name):
    (tmp_path / name).write_text("path\tlabel\n1.jpg\tx\n")
    assert ImageManifest.from_source(tmp_path / name).labels == ("x",)
    (tmp_path / "l.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(ManifestError, match=r"l.xlsx'?: is an Excel workbook"):
        ImageManifest.from_source(tmp_path / "l.xlsx")


@pytest.mark.parametrize("labels", [["a", None], pd.Series(["a", pd.NA]), np.array(["a", ""])])
def test_missing_labels_of_a_list_are_none(labels):
    for manifest in (
        ImageManifest.from_paths(["/a.png", "/b.png"], labels=labels),
        ImageManifest.from_source(["/a.png", "/b.png"], labels=labels),
    ):
        assert manifest.labels == ("a", "")
    with pytest.raises(ManifestError, match="values in 'labels' that are no text"):
        ImageManifest(("/a.png",), labels=(None,))


def test_images_in_any_form_have_one_place_each(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    path = str(tmp_path / "a.png")
    manifest, places = ImageManifest.from_images([path, pixels, path, pixels + 1, pixels.copy()])
    assert places == [0, 1, 0, 2, 1]
    assert manifest.paths[0] == manifest.sources[0] == path
    assert all(name.startswith("memory:") for name in manifest.paths[1:])
    np.testing.assert_array_equal(manifest.sources[2], pixels + 1)
    assert manifest.subset([2]).sources[0] is manifest.sources[2]
