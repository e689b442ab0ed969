"""Joining a CSV of labels to the paths of a store."""

from __future__ import annotations

import importlib
import unicodedata

import numpy as np
import pytest

from featx.errors import FeatxWarning, ManifestError
from featx.images import ImageManifest, attribute_labels, class_labels
from featx.images.join import join_labels
from featx.images.labels import read_labels

pd = pytest.importorskip("pandas")
arrow = pytest.importorskip("pyarrow")

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


WAYS = {
    "plain": b"path,label\na.png,cat\nb.png,\nc.png,1\n",
    "CRLF and blank lines": b"path,label\r\na.png,cat\r\nb.png,\r\nc.png,1.0\r\n\r\n , \r\n",
    "old Mac lines": b"path,label\ra.png,cat\rb.png,\rc.png,1\r",
    "spaces": b" path , label\n a.png, cat \nb.png,  \nc.png , 1\n",
    "quotes after spaces": b'"path", "label"\n"a.png", "cat"\n"b.png", ""\n"c.png", "1"\n',
    "capital letters": b"Path,LABEL\na.png,cat\nb.png,nan\nc.png,1.00\n",
    "pandas' index": b",path,label\n0,a.png,cat\n1,b.png,\n2,c.png,1\n",
    "an index read and written again": b"Unnamed: 0,path,label\n0,a.png,cat\n1,b.png,\n2,c.png,1",
    "empty columns at the end": b"path,label,,\na.png,cat,,\nb.png,,,\nc.png,1,,,,\n",
    "UTF-8 with a mark": "\ufeffpath,label\na.png,cat\nb.png,\nc.png,1\n".encode(),
    "Excel's Unicode text": "path\tlabel\r\na.png\tcat\r\nb.png\t\r\nc.png\t1\r\n".encode(
        "utf-16"
    ),
    "German Excel": b"path;label\r\na.png;cat\r\nb.png;\r\nc.png;1,0\r\n",
    "blank lines first": b"\r\n\npath,label\na.png,cat\nb.png,\nc.png,1\n",
    "Excel's first line": b"sep=;\r\npath;label\r\na.png;cat\r\nb.png;\r\nc.png;1\r\n",
    "rows twice": b"path,label\na.png,cat\na.png,\nb.png,\nc.png,1\n./c.png,1.0\n",
    "Windows": b"path,label\n.\\a.png,cat\n.\\b.png,\n.\\c.png,1\n",
    "missing in words": b"path,label\na.png,cat\nb.png,<NA>\nc.png,1\n",
}


@pytest.mark.parametrize("content", WAYS.values(), ids=WAYS)
def test_every_way_to_write_a_table_is_read_alike(tmp_path, content):
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    csv = tmp_path / "l.csv"
    csv.write_bytes(content)
    paths = [str(tmp_path / f"{name}.png") for name in "abc"]
    table = read_labels(csv)
    assert (list(table.paths), table.labels, table.columns) == (paths, ("cat", "", "1"), {})
    found = class_labels(ImageManifest.from_paths(paths), csv)
    assert (found.rows.tolist(), found.labels.tolist()) == ([0, 2], ["cat", "1"])
    manifest = ImageManifest.from_source(csv)
    assert (list(manifest.paths), manifest.labels) == (paths, ("cat", "", "1"))


FRAMES = {
    "pandas": lambda d: pd.DataFrame(d),
    "pandas categories": lambda d: pd.DataFrame(d).astype({"label": "category"}),
    "pandas with an index": lambda d: pd.DataFrame(d).set_index("path"),
    "pandas with other rows": lambda d: pd.DataFrame(d, index=[7, 7, 2]),
    "pyarrow": lambda d: arrow.table(pd.DataFrame(d)),
    "columns": lambda d: d,
    "columns as arrays": lambda d: {k: np.array(v, object) for k, v in d.items()},
    "capital letters": lambda d: {k.title(): v for k, v in d.items()},
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(
    "labels", [["cat", None, "dog"], [1, None, 2], [1.5, np.nan, 2.0], [" x ", "", "nan"]]
)
def test_a_frame_is_read_as_the_csv_that_pandas_writes_of_it(tmp_path, monkeypatch, frame, labels):
    monkeypatch.chdir(tmp_path)
    data = {"path": ["a.png", "x/b.png", "/c.png"], "label": labels}
    pd.DataFrame(data).to_csv("l.csv")
    expected, found = read_labels("l.csv"), read_labels(frame(data))
    assert (found.paths, found.labels) == (expected.paths, expected.labels)
    assert ImageManifest.from_source(frame(data)).labels == ImageManifest.from_csv("l.csv").labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", r"is an Excel workbook.*save it as 'CSV UTF-8'.*pandas"),
        (b"\xd0\xcf\x11\xe0rest", "is an Excel workbook"),
        (b"PAR1rest", "is a Parquet file"),
        (b"\x1f\x8brest", "is compressed with gzip"),
        (b"path,label\na.png,caf\xe9\n", "line 2: byte 20 is 0xe9, expected UTF-8"),
        (b"p\0a\0t\0h\0", "line 1: has a NUL"),
        (b"a.png,cat\nb.png,dog\n", r"'a.png', 'cat'\] as its first line.*'path,label' above"),
        (b"filename,label\na.png,cat\n", "expected one named 'path'.*Is it 'filename'"),
        (b"image;label\na.png;cat\n", r"\['image', 'label'\], expected one.*Is it 'image'"),
        (b",label\na.png,cat\n", "first column has no name.*call it 'path'"),
        (b"path,Path,label,Label\na,b,c,d\n", None),
        (b"path,label\na.png,cat,x\n", "line 2: got 3 fields, expected 2"),
        (b"path,label\na.png,cat\nNA,cat\n", "line 3: got the path 'NA'"),
        (b"path,label\na.png,cat\n./a.png,dog\n", "line 2.* and line 3.*'cat' and 'dog'"),
        (b"path,label,old\na.png,cat,1\na.png,,0\n", "line 2.* and line 3.*old '1' and '0'"),
        (b" \n", "is empty"),
        (b"sep=;\n\npath;label\n\na;b;c\n", "line 5: got 3 fields"),
    ],
)  # fmt: skip
def test_what_is_no_label_file_is_refused_with_its_row_and_what_to_do(tmp_path, content, message):
    csv = tmp_path / "l.csv"
    csv.write_bytes(content)
    if message is None:  # the names as featx writes them come first
        assert read_labels(csv).columns == {"Path": ("b",), "Label": ("d",)}
        return
    with pytest.raises(ManifestError, match=message):
        read_labels(csv)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"file": ["a.png"]}, r"data frame: got the columns \['file'\].*Is it 'file'"),
        ({"path": ["a.png", None]}, "data frame row 1: got the path None"),
        ({"path": ["a.png", 7]}, "data frame row 1: got the path 7"),
        ({"path": []}, "data frame: got no rows"),
        ({"path": ["a.png", "a.png"], "label": [1, 2]}, "row 0 .*row 1 .*'1' and '2'"),
    ],
)  # fmt: skip
def test_a_frame_that_is_no_label_table_is_refused(frame, message):
    with pytest.raises(ManifestError, match=message):
        read_labels(pd.DataFrame(frame, dtype=object))


def test_words_that_pandas_takes_as_missing_are_missing_and_told(tmp_path):
    csv = write(tmp_path, "path,label\na.png,NA\nb.png,cat\n")
    assert pd.read_csv(csv).label.isna().tolist() == [True, False]
    for source in (csv, pd.read_csv(csv, keep_default_na=False)):
        with pytest.warns(FeatxWarning, match="column 'label': 'NA' is taken as missing"):
            assert read_labels(source).labels == ("", "cat")


def test_rows_that_fit_no_image_are_counted_with_the_nearest(tmp_path):
    images = ImageManifest.from_paths(PATHS)
    csv = write(tmp_path, "path,label\ncats/1.JPG,a\ncats/2.jpg,b\n../x.jpg,c\nbobcats/1.jpg,\n")
    left = class_labels(images, csv).coverage
    assert left.to_dict() == {
        "n_unlabelled": 2,
        "unlabelled": ["/data/cats/1.jpg", "/data/bobcats/1.jpg"],
        "n_unused": 2,
        "unused": ["cats/1.JPG", "../x.jpg"],
        "nearest": "/data/cats/1.jpg",
        "labels_from": f"CSV {str(csv)!r}",
    }


NFC, NFD = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("stored", "written"), [(NFC, NFD), (NFD, NFC)])
def test_both_unicode_forms_of_a_path_are_one_image(tmp_path, stored, written):
    for folder in ("/absent", "/absent/Zoë"):  # a folder may have the other form
        paths = [f"{folder}/{stored}/1.jpg", f"{folder}/{stored}/2.jpg"]
        for prefix in (f"{folder}/", ""):
            csv = write(tmp_path, f"path,label\n{prefix}{written}/2.jpg,x\n")
            assert join_labels(paths, csv).rows.tolist() == [1]


def test_a_path_that_fits_as_it_is_written_is_preferred(tmp_path):
    csv = write(tmp_path, f"path,label\n/p/{NFD}.jpg,d\n/p/{NFC}.jpg,c\n")
    joined = join_labels([f"/p/{NFC}.jpg", f"/p/{NFD}.jpg"], csv)
    assert joined.labels == ("c", "d")
    alone = join_labels([f"/p/{NFC}.jpg"], csv)
    assert (alone.labels, alone.unused) == (("c",), (f"/p/{NFD}.jpg",))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("1 0", [1, 0]), ("1.0 0.0", [1, 0]), ("True False", [1, 0]), ("TRUE no", [1, 0]),
        ("1 0 - nan", [1, 0, np.nan, np.nan]), ("1 0 -1", [1, 0, np.nan]), ("1 -1", [1, 0]),
        ("1.0 0.0 -1.0", [1, 0, np.nan]), ("1 -1 -", [1, 0, np.nan]), ("-1 -1", [0, 0]),
    ],
)  # fmt: skip
def test_an_attribute_is_read_in_every_common_coding(tmp_path, values, expected):
    words = ["" if word == "-" else word for word in values.split()]
    images = ImageManifest.from_paths([f"/p/{i}.jpg" for i in range(len(words))])
    rows = "".join(f"{path},{word}\n" for path, word in zip(images.paths, words, strict=True))
    csv = write(tmp_path, "path,old\n" + rows)
    for source in (csv, pd.read_csv(csv)):
        found = attribute_labels(images, source)
        np.testing.assert_array_equal(found.values[:, 0], expected)
        assert found.names == ("old",)


def test_minus_one_means_the_same_whichever_rows_are_asked_for(tmp_path):
    csv = write(tmp_path, "path,old\n/a.jpg,1\n/b.jpg,-1\n/c.jpg,0\n")
    few = attribute_labels(ImageManifest.from_paths(["/a.jpg", "/b.jpg"]), csv)
    np.testing.assert_array_equal(few.values[:, 0], [1, np.nan])


def test_a_minus_one_that_may_mean_either_is_refused(tmp_path):
    csv = write(tmp_path, "path,old,tall\n/a.jpg,1,0\n/b.jpg,-1,1\n")
    images = ImageManifest.from_paths(["/a.jpg", "/b.jpg"])
    with pytest.raises(ManifestError, match=r"line 3: column 'old' has -1 and no 0.*'tall' has 0"):
        attribute_labels(images, csv)
    assert attribute_labels(images, csv, ["old"]).values.tolist() == [[1], [0]]
    csv = write(tmp_path, "path,old\n/a.jpg,1\n/b.jpg,maybe\n")
    with pytest.raises(ManifestError, match=r"line 3: column 'old' has 'maybe', expected 0, 1"):
        attribute_labels(images, csv)


def test_a_table_of_paths_alone_has_no_classes(tmp_path):
    csv = write(tmp_path, "path,class\n/a.jpg,x\n")
    with pytest.raises(ManifestError, match=r"expected one named 'label'.*Is it 'class'"):
        class_labels(ImageManifest.from_paths(["/a.jpg"]), csv)


def test_a_class_may_be_an_attribute_if_it_is_asked_for(tmp_path):
    csv = write(tmp_path, "path,label\n/a.jpg,1\n/b.jpg,0\n")
    images = ImageManifest.from_paths(["/a.jpg", "/b.jpg"])
    assert attribute_labels(images, csv, ["label"]).values.tolist() == [[1], [0]]
    with pytest.raises(ManifestError, match="expected one per attribute"):
        attribute_labels(images, csv)


@pytest.mark.parametrize(
    ("labels", "is_split"),
    [
        (["train/cat", "test/cat"], True), (["Training/cat", "VAL/dog"], True),
        (["train/cat", "test"], True), (["data/train/cat", "data/test/cat"], True),
        (["cat/train", "cat/test"], True), (["train2017/a", "val2017/a"], True),
        (["train_images", "test-images"], True), (["train", "cat"], False),
        (["train/cat", "train/dog"], False), (["a/train", "b/test"], False),
        (["trainer/cat", "tests/dog"], False),
    ],
)  # fmt: skip
def test_parts_of_a_data_set_that_became_classes_are_told(labels, is_split, recwarn):
    images = ImageManifest.from_paths([f"/p/{i}.jpg" for i in range(len(labels))], labels=labels)
    if is_split:
        with pytest.warns(FeatxWarning, match="are two classes, kept apart by .*store of its own"):
            class_labels(images)
    else:
        class_labels(images)
        assert not list(recwarn)


@pytest.mark.parametrize("source", [["cat", "dog"], pd.Series(["cat"]), None, 3])
def test_what_is_no_table_of_labels_is_refused(source):
    with pytest.raises(ManifestError, match=r"labels: got a .*expected a CSV, a data frame, or"):
        read_labels(source)


def test_each_text_of_a_table_is_looked_at_once(tmp_path, monkeypatch):
    seen = []
    for module in ("featx._values", "featx.images.join"):
        as_text = importlib.import_module(module).as_text
        monkeypatch.setattr(f"{module}.as_text", lambda v, f=as_text: (seen.append(v), f(v))[1])
    n = 300
    paths = [f"/p/{i}.jpg" for i in range(n)]
    yes = ["1", "0", "", " 1 ", "1.0", "0"] * (n // 6)
    table = {"path": paths, "label": ["cat", "dog"] * (n // 2), "a": yes, "b": yes}
    found = attribute_labels(ImageManifest.from_paths(paths), table)
    assert len(seen) < 30
    np.testing.assert_array_equal(found.values[:6, 1], [1, 0, np.nan, 1, 1, 0])
