"""Sets of classes and attributes: each read from a small tree of its true layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from featx.errors import ManifestError
from pipelines.datasets import ImageDataset, read_dataset

VOC = (  # noqa: SIM905
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(folder / name, "JPEG")


def write_texts(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names_of(dataset: ImageDataset, folder: Path) -> list[str]:
    return [Path(path).relative_to(folder).as_posix() for path in dataset.paths]


def test_image_folder_takes_labels_from_nested_folders(tmp_path):
    write_images(tmp_path, "b/x/1.jpg", "a/1.jpg", "a/2.jpg")
    dataset = read_dataset("image_folder", tmp_path)
    assert names_of(dataset, tmp_path) == ["a/1.jpg", "a/2.jpg", "b/x/1.jpg"]
    assert dataset.labels.tolist() == ["a", "a", "b/x"]
    assert dataset.split.tolist() == ["", "", ""]


@pytest.mark.parametrize(
    ("folders", "labels", "split"),
    [
        (("test/a", "train/a"), ["a", "a"], ["test", "train"]),
        (("test/a", "train/b", "val/c"), ["a", "b", "c"], ["test", "train", "val"]),
        (("train/a", "val/a"), ["a", "a"], ["train", "val"]),
        (("extra/a", "test/a", "train/a"), ["extra/a", "test/a", "train/a"], [""] * 3),
        (("train/a",), ["train/a"], [""]),
    ],
    ids=lambda value: "+".join(value),
)
def test_first_folders_are_a_split_only_where_there_are_no_others(
    tmp_path, folders, labels, split
):
    write_images(tmp_path, *(f"{folder}/1.jpg" for folder in folders))
    dataset = read_dataset("image_folder", tmp_path)
    assert dataset.labels.tolist() == labels
    assert dataset.split.tolist() == split


def test_image_folder_refuses_images_without_a_class(tmp_path):
    write_images(tmp_path, "1.jpg")
    with pytest.raises(ManifestError, match=r"found 1 images and no folders"):
        read_dataset("image_folder", tmp_path)
    write_images(tmp_path, "a/1.jpg")
    with pytest.raises(
        ManifestError, match=r"1 of 2 images have no label, the first is '.*/1.jpg"
    ):
        read_dataset("image_folder", tmp_path)


def test_caltech101_leaves_the_background_out(tmp_path):
    write_images(
        tmp_path / "101_ObjectCategories",
        "BACKGROUND_Google/image_0001.jpg",
        "Faces_easy/image_0001.jpg",
        "ant/image_0001.jpg",
    )
    assert read_dataset("caltech101", tmp_path).labels.tolist() == ["Faces_easy", "ant"]
    inside = read_dataset("caltech101", tmp_path / "101_ObjectCategories", background=True)
    assert inside.labels.tolist() == ["BACKGROUND_Google", "Faces_easy", "ant"]
    assert inside.task == "classification"


def test_caltech256_leaves_clutter_and_strays_out(tmp_path):
    write_images(
        tmp_path,
        "001.ak47/001_0001.jpg",
        "056.dog/056_0001.jpg",
        "056.dog/greg/vision309/056_0002.jpg",
        "257.clutter/257_0001.jpg",
    )
    assert read_dataset("caltech256", tmp_path).labels.tolist() == ["001.ak47", "056.dog"]
    assert len(read_dataset("caltech256", tmp_path, clutter=True)) == 3


def write_voc(root: Path, splits: dict[str, list[str]], special: dict[str, str]) -> None:
    for split, names in splits.items():
        write_images(root / "JPEGImages", *(f"{name}.jpg" for name in names))
        for label in VOC:
            lines = [special.get(f"{label} {name}", f"{name} -1") for name in names]
            write_texts(
                root, **{f"ImageSets__Main__{label}_{split}": "".join(f"{x}\n" for x in lines)}
            )


def test_voc2007_has_unknown_where_an_object_is_difficult(tmp_path):
    splits = {"train": ["000012"], "val": ["000005"], "test": ["000001", "000002"]}
    special = {
        "chair 000005": "000005  0",  # two blanks before what has no sign, as VOC writes it
        "bottle 000005": "000005  1",
        "person 000001": "000001  1",
    }
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", splits, special)
    dataset = read_dataset("voc2007", tmp_path)
    assert [Path(path).stem for path in dataset.paths] == ["000012", "000005", "000001", "000002"]
    assert dataset.split.tolist() == ["train", "val", "test", "test"]
    assert dataset.attribute_names == tuple(VOC)
    expected = np.zeros((4, 20))
    expected[1, VOC.index("chair")] = np.nan
    expected[1, VOC.index("bottle")] = expected[2, VOC.index("person")] = 1
    np.testing.assert_array_equal(dataset.attributes, expected)
    assert dataset.attributes.dtype == np.float32
    assert dataset.labels is None
    assert dataset.manifest().columns["chair"] == ("0", "", "0", "0")


def test_voc2012_needs_no_test(tmp_path):
    write_voc(tmp_path, {"train": ["2008_000008"], "val": ["2008_000002"]}, {})
    assert read_dataset("voc2012", tmp_path).split.tolist() == ["train", "val"]
    with pytest.raises(ManifestError, match=r"file ImageSets/Main/aeroplane_test.txt.*VOCtest"):
        read_dataset("voc2007", tmp_path)


def test_voc_lists_that_disagree_are_refused(tmp_path):
    write_voc(tmp_path, {"train": ["1"], "val": ["2"]}, {"bird 2": "3 -1"})
    with pytest.raises(ManifestError, match=r"other images in bird_val.txt than in aeroplane_val"):
        read_dataset("voc2012", tmp_path)
    write_voc(tmp_path, {"val": ["2"]}, {"bird 2": "2 7"})
    with pytest.raises(ManifestError, match=r"found 7 in bird_val.txt, expected 1, 0 or -1"):
        read_dataset("voc2012", tmp_path)


def test_mit67_takes_the_listed_images(tmp_path):
    write_images(tmp_path / "Images", "bar/a b.jpg", "bar/c.jpg", "airport_inside/d.jpg")
    write_texts(
        tmp_path, TrainImages="bar/a b.jpg\r\nairport_inside/d.jpg", TestImages="bar/c.jpg"
    )
    dataset = read_dataset("mit67", tmp_path)
    assert names_of(dataset, tmp_path / "Images") == [
        "bar/a b.jpg", "airport_inside/d.jpg", "bar/c.jpg",
    ]  # fmt: skip
    assert dataset.labels.tolist() == ["bar", "airport_inside", "bar"]
    assert dataset.split.tolist() == ["train", "train", "test"]
    assert dataset.task == "scenes"


def test_an_image_that_a_list_names_must_be_there(tmp_path):
    write_images(tmp_path / "Images", "bar/1.jpg")
    write_texts(tmp_path, TrainImages="bar/1.jpg\n", TestImages="bar/2.jpg\n")
    with pytest.raises(ManifestError, match=r"found 1 of 2 images, .* such as '.*/bar/2.jpg'"):
        read_dataset("mit67", tmp_path)
    write_texts(tmp_path, TestImages="\n")
    with pytest.raises(ManifestError, match=r"found TestImages.txt without lines"):
        read_dataset("mit67", tmp_path)


@pytest.mark.parametrize(
    ("lists", "images"), [("", ""), ("Partitions", "SUN397"), ("SUN397", "SUN397")]
)
def test_sun397_reads_a_partition_wherever_its_lists_were_unpacked(tmp_path, lists, images):
    names = ("a/abbey/sun_1.jpg", "a/abbey/sun_2.jpg", "b/bakery/shop/sun_3.jpg")
    write_images(tmp_path / images, *names)
    write_texts(
        tmp_path / lists,
        Training_01=f"/{names[0]}\n/{names[2]}\n",
        Testing_01=f"/{names[1]}\n",
        Training_10=f"/{names[1]}\n",
        Testing_10=f"/{names[0]}\n",
    )
    dataset = read_dataset("sun397", tmp_path)
    assert names_of(dataset, tmp_path / images) == [names[0], names[2], names[1]]
    assert dataset.labels.tolist() == ["abbey", "bakery/shop", "abbey"]
    assert dataset.split.tolist() == ["train", "train", "test"]
    tenth = read_dataset("sun397", tmp_path, partition=10)
    assert names_of(tenth, tmp_path / images) == [names[1], names[0]]
    with pytest.raises(ManifestError, match=r"the file Training_02.txt"):
        read_dataset("sun397", tmp_path, partition=2)


def test_a_sun397_list_of_other_paths_is_refused(tmp_path):
    write_texts(tmp_path, Training_01="abbey/sun_1.jpg\n", Testing_01="x\n")
    with pytest.raises(ManifestError, match=r"'abbey/sun_1.jpg' in Training_01.txt, expected LET"):
        read_dataset("sun397", tmp_path)


def test_scene15_has_no_split_unless_its_copy_has(tmp_path):
    write_images(tmp_path / "whole", "CALsuburb/image_0001.jpg", "bedroom/image_0001.jpg")
    whole = read_dataset("scene15", tmp_path / "whole")
    assert whole.labels.tolist() == ["CALsuburb", "bedroom"]
    assert whole.split.tolist() == ["", ""]
    write_images(tmp_path / "halves", "train/bedroom/1.jpg", "test/bedroom/2.jpg")
    halves = read_dataset("scene15", tmp_path / "halves")
    assert halves.split.tolist() == ["test", "train"]
    assert (whole.task, halves.name) == ("scenes", "scene15")


CUB = {
    "images": "1 001.Black_footed_Albatross/a.jpg\n2 002.Laysan_Albatross/b.jpg\n",
    "classes": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
    "image_class_labels": "2 2\n1 1\n",
    "train_test_split": "1 0\n2 1\n",
    "bounding_boxes": "1 60.0 27.0 325.0 304.0\n2 139.0 30.0 153.0 264.0\n",
    # The second line has a field too many, as some of the real file have.
    "attributes__image_attribute_labels": (
        "1 1 0 1 27.7\n1 2 1 4 0 1.5\n2 1 1 3 5.1\n2 2 0 2 5.1\n"
    ),
}


def write_cub(root: Path, **changes: str) -> None:
    write_images(root / "images", "001.Black_footed_Albatross/a.jpg", "002.Laysan_Albatross/b.jpg")
    write_texts(root, **{**CUB, **changes})


def test_cub200_has_species_split_and_boxes(tmp_path):
    write_cub(tmp_path / "CUB_200_2011")
    dataset = read_dataset("cub200", tmp_path)
    assert dataset.labels.tolist() == ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    assert dataset.split.tolist() == ["test", "train"]
    # Left and top, width and height become left, top, right, bottom.
    np.testing.assert_array_equal(dataset.boxes, [[60, 27, 385, 331], [139, 30, 292, 294]])
    assert (dataset.task, dataset.attributes) == ("fine_grained", None)


@pytest.mark.parametrize("place", ["attributes", "CUB_200_2011__attributes__attributes"])
def test_cub200_attributes_are_unknown_where_not_visible(tmp_path, place):
    write_cub(tmp_path / "CUB_200_2011")
    write_texts(tmp_path, **{place: "1 has_bill_shape::dagger\n2 has_bill_shape::hooked\n"})
    for folder in (tmp_path, tmp_path / "CUB_200_2011"):
        dataset = read_dataset("cub200", folder, task="attributes")
        assert dataset.attribute_names == ("has_bill_shape::dagger", "has_bill_shape::hooked")
        np.testing.assert_array_equal(dataset.attributes, [[np.nan, 1], [1, 0]])
        assert dataset.task == "attributes"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_test_split": "1 0\n"}, r"no image 2 in train_test_split.txt"),
        ({"image_class_labels": "1 1\n2 9\n"}, r"class 9 in image_class_labels.txt"),
        (
            {"bounding_boxes": "1 60.0 27.0\n"},
            r"'1 60.0 27.0' in line 1 of .*fields int float flo",
        ),
        (
            {"images": "one a.jpg\n"},
            r"'one a.jpg' in line 1 of images.txt, expected the fields int",
        ),
        (
            {"attributes__image_attribute_labels": "1 9 1 4 1.0\n"},
            r"other numbers in image_attribute_labels.txt",
        ),
        (
            {"attributes__image_attribute_labels": "1 9\n"},
            r"image_attribute_labels.txt that cannot",
        ),
    ],
)
def test_cub200_lists_that_do_not_fit_are_refused(tmp_path, changes, message):
    write_cub(tmp_path, attributes__attributes="1 a\n2 b\n")
    write_cub(tmp_path, **changes)
    with pytest.raises(ManifestError, match=message):
        read_dataset("cub200", tmp_path, task="attributes")


def write_flowers17(root: Path) -> None:
    write_images(root / "jpg", *(f"image_{i:04d}.jpg" for i in (1, 80, 81, 1360)))
    parts = {"trn1": [1360.0, 1.0], "val1": [80.0], "tst1": [81.0]}
    parts |= {"trn3": [81.0], "val3": [1.0], "tst3": [80.0, 1360.0]}
    savemat(root / "datasplits.mat", parts)


def test_flowers17_classes_are_the_eighties_of_its_numbers(tmp_path):
    write_flowers17(tmp_path)
    dataset = read_dataset("flowers17", tmp_path)
    assert [Path(path).stem[6:] for path in dataset.paths] == ["0001", "0080", "0081", "1360"]
    assert dataset.labels.tolist() == ["1", "1", "2", "17"]
    assert dataset.split.tolist() == ["train", "val", "test", "train"]
    third = read_dataset("flowers17", tmp_path, partition=3)
    assert third.split.tolist() == ["val", "test", "train", "test"]
    with pytest.raises(ManifestError, match=r"\['trn1', .*\] in datasplits.mat, .* 'trn2'"):
        read_dataset("flowers17", tmp_path, partition=2)


def test_flowers102_has_the_split_that_is_published(tmp_path):
    write_images(tmp_path / "jpg", *(f"image_{i:05d}.jpg" for i in range(1, 5)))
    savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[77, 77, 3, 102]], np.uint8)})
    parts = {"trnid": [[3]], "valid": [[1]], "tstid": [[4, 2]]}
    savemat(tmp_path / "setid.mat", parts)
    dataset = read_dataset("flowers102", tmp_path)
    assert names_of(dataset, tmp_path) == [f"jpg/image_0000{i}.jpg" for i in range(1, 5)]
    assert dataset.labels.tolist() == ["77", "77", "3", "102"]
    assert dataset.split.tolist() == ["val", "test", "train", "test"]
    assert repr(dataset) == (
        "ImageDataset('flowers102', fine_grained: 4 images, 3 classes; train 1, val 1, test 2)"
    )


def test_flowers102_files_that_do_not_fit_are_refused(tmp_path):
    savemat(tmp_path / "imagelabels.mat", {"labels": [[1, 2]]})
    savemat(tmp_path / "setid.mat", {"trnid": [[1]], "valid": [[2]], "tstid": [[3]]})
    with pytest.raises(ManifestError, match=r"image 3 in its split, expected 1 to 2"):
        read_dataset("flowers102", tmp_path)
    savemat(tmp_path / "setid.mat", {"trnid": [[1.5]], "valid": [[2]], "tstid": [[1]]})
    with pytest.raises(ManifestError, match=r"float64 in 'trnid' of setid.mat, expected whole"):
        read_dataset("flowers102", tmp_path)
    (tmp_path / "setid.mat").write_bytes(b"<html>404 not found</html>" * 20)
    with pytest.raises(
        ManifestError, match=r"setid.mat that cannot be read .*MATLAB file; unpack"
    ):
        read_dataset("flowers102", tmp_path)
    (tmp_path / "setid.mat").unlink()
    with pytest.raises(
        ManifestError,
        match=r"'flowers102' in .*: found imagelabels.mat, expected the file setid.mat; unpack "
        r"what robots.ox.ac.uk/~vgg/data/flowers/102 publishes",
    ):
        read_dataset("flowers102", tmp_path)


def test_oxford_pets_take_the_breed_from_the_name(tmp_path):
    names = ("Abyssinian_100", "american_bulldog_7", "american_bulldog_8")
    write_images(tmp_path / "images", *(f"{name}.jpg" for name in names))
    write_texts(
        tmp_path,
        annotations__trainval="Abyssinian_100 1 1 1\namerican_bulldog_7 2 2 1\n",
        annotations__test="american_bulldog_8 2 2 1\n",
    )
    dataset = read_dataset("oxford_pets", tmp_path)
    assert dataset.labels.tolist() == ["Abyssinian", "american_bulldog", "american_bulldog"]
    assert dataset.split.tolist() == ["train", "train", "test"]
    write_texts(tmp_path, annotations__test="american_bulldog_8 2\n")
    with pytest.raises(ManifestError, match=r"'american_bulldog_8 2' in line 1 of test.txt"):
        read_dataset("oxford_pets", tmp_path)


CELEBA = "2\nBald Smiling \n000001.jpg -1  1\n000002.jpg  1 -1\n"


@pytest.mark.parametrize("images", ["images", "img_align_celeba", "Img/img_align_celeba"])
def test_celeba_attributes_are_one_and_zero(tmp_path, images):
    write_images(tmp_path / images, "000001.jpg", "000002.jpg")
    write_texts(tmp_path, list_attr_celeba=CELEBA)
    dataset = read_dataset("celeba", tmp_path)
    assert dataset.attribute_names == ("Bald", "Smiling")
    np.testing.assert_array_equal(dataset.attributes, [[0, 1], [1, 0]])
    assert dataset.split.tolist() == ["", ""]
    write_texts(tmp_path, Eval__list_eval_partition="000001.jpg 2\n000002.jpg 1\n")
    assert read_dataset("celeba", tmp_path).split.tolist() == ["test", "val"]


@pytest.mark.parametrize(
    ("text", "partition", "message"),
    [
        (CELEBA.replace("2\n", "3\n", 1), "", r"2 images in list_attr.*first line says '3'"),
        (CELEBA.replace(" -1\n", "\n"), "", r"'000002.jpg  1' in line 4 .*2 times 1 or -1"),
        (CELEBA.replace("-1  1", "-1  0"), "", r"line 3 of list_attr_celeba.txt"),
        (CELEBA, "000001.jpg 0\n", r"None for '000002.jpg' in list_eval_partition.txt"),
        (CELEBA, "000001.jpg 0\n000002.jpg 5\n", r"found 5 for '000002.jpg'"),
    ],
)
def test_celeba_lists_that_do_not_fit_are_refused(tmp_path, text, partition, message):
    write_images(tmp_path / "images", "000001.jpg", "000002.jpg")
    write_texts(tmp_path, list_attr_celeba=text)
    if partition:
        write_texts(tmp_path, list_eval_partition=partition)
    with pytest.raises(ManifestError, match=message):
        read_dataset("celeba", tmp_path)


def write_apascal(root: Path, **changes: str) -> None:
    write_images(root / "VOCdevkit/VOC2008/JPEGImages", "2008_1.jpg", "2008_2.jpg")
    write_images(root / "ayahoo_test_images", "bag_5.jpg")
    texts = {
        "attribute_names": "2D Boxy\nOccluded\n",
        "apascal_train": "2008_1.jpg person 1 1 4 6 0 1\n2008_1.jpg dog 3 2 8 5 1 0\n",
        "apascal_test": "2008_2.jpg car 2 2 7 5 1 1\n",
        "ayahoo_test": "bag_5.jpg bag 3 3 3 3 0 0\n",
    }
    write_texts(
        root, **{f"attribute_data__{name}": text for name, text in {**texts, **changes}.items()}
    )


def test_apascal_has_a_row_an_object(tmp_path):
    write_apascal(tmp_path)
    dataset = read_dataset("apascal", tmp_path)
    assert [Path(path).stem for path in dataset.paths] == ["2008_1", "2008_1", "2008_2"]
    assert dataset.labels.tolist() == ["person", "dog", "car"]
    assert dataset.attribute_names == ("2D Boxy", "Occluded")
    np.testing.assert_array_equal(dataset.attributes, [[0, 1], [1, 0], [1, 1]])
    # PASCAL counts from 1 and includes the last pixel.
    np.testing.assert_array_equal(dataset.boxes, [[0, 0, 4, 6], [2, 1, 8, 5], [1, 1, 7, 5]])
    assert dataset.split.tolist() == ["train", "train", "test"]


def test_apascal_tests_on_other_classes_with_ayahoo(tmp_path):
    write_apascal(tmp_path)
    across = read_dataset("apascal", tmp_path, test="across")
    assert across.subset(across.rows("test")).labels.tolist() == ["bag"]
    # A box without an area keeps its pixel.
    np.testing.assert_array_equal(across.boxes[-1], [2, 2, 3, 3])
    both = read_dataset("apascal", tmp_path, test="all")
    assert both.labels[both.rows("test")].tolist() == ["car", "bag"]


@pytest.mark.parametrize(
    "line",
    [
        "2008_1.jpg person 1 1 4 6 0",
        "2008_1.jpg person 1 1 4 6 0 2",
        "2008_1.jpg person x 1 4 6 0 1",
    ],
    ids=["short", "two", "word"],
)
def test_an_apascal_line_that_does_not_fit_is_refused(tmp_path, line):
    write_apascal(tmp_path, apascal_test=line)
    with pytest.raises(ManifestError, match=r"in line 1 of apascal_test.txt.*2 times 0 or 1"):
        read_dataset("apascal", tmp_path)


def test_a_list_that_is_no_text_is_refused(tmp_path):
    write_images(tmp_path / "images", "a.jpg")
    (tmp_path / "images.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match=r"images.txt that cannot be read .*0xff"):
        read_dataset("cub200", tmp_path)


def test_a_list_of_names_with_a_byte_order_mark_is_read(tmp_path):
    write_images(tmp_path / "Images", "bar/1.jpg", "bar/2.jpg")
    (tmp_path / "TrainImages.txt").write_bytes(b"\xef\xbb\xbfbar/1.jpg\n")
    write_texts(tmp_path, TestImages="bar/2.jpg")
    assert read_dataset("mit67", tmp_path).labels.tolist() == ["bar", "bar"]


NINE = "1 -1 0 -1 1 -1 -1 0 1"


def test_h3d_reads_people_by_their_boxes_and_leaves_out_who_has_none(tmp_path):
    root = tmp_path / "attributes_dataset"
    write_images(root, "train/00001.jpg", "train/00002.jpg", "test/00001.jpg")
    write_texts(
        root,
        train__labels=f"00001.jpg 11 21 30 40.5 {NINE}\n00002.jpg NaN NaN NaN NaN {NINE}\n",
        test__labels="00001.jpg 0.4 1 2 3 -1 -1 -1 -1 -1 -1 -1 -1 -1\n",
    )
    people = read_dataset("h3d", tmp_path)
    assert names_of(people, root) == ["train/00001.jpg", "test/00001.jpg"]
    assert people.split.tolist() == ["train", "test"]
    assert people.boxes.tolist() == [[10, 20, 40, 60.5], [0, 0, 2, 3]]
    assert people.attribute_names[0] == "is_male"
    assert people.attribute_names[8] == "has_long_pants"
    nan = np.nan
    np.testing.assert_array_equal(people.attributes[0], [1, 0, nan, 0, 1, 0, 0, nan, 1])
    np.testing.assert_array_equal(people.attributes[1], np.zeros(9))


@pytest.mark.parametrize(
    "line", [f"a.jpg 1 2 3 {NINE}", f"a.jpg 1 2 3 4 {NINE} 1", "a.jpg 1 2 3 4 2 1 1 1 1 1 1 1 1"]
)
def test_a_line_of_h3d_of_another_form_is_named(tmp_path, line):
    write_images(tmp_path, "train/a.jpg", "test/a.jpg")
    write_texts(tmp_path, train__labels=line, test__labels=f"a.jpg 1 2 3 4 {NINE}")
    with pytest.raises(ManifestError, match=r"in line 1 of train/labels.txt, expected file, left"):
        read_dataset("h3d", tmp_path)
