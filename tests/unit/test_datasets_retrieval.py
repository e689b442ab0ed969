"""Sets to search in: each read from a small tree of its true layout."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featx.errors import ManifestError
from featx.evaluation import mean_average_precision_score, recall_at_k
from pipelines.datasets import read_dataset
from pipelines.datasets._pickle import read_plain_pickle


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(folder / name, "JPEG")


def write_truth(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)


def stems(paths: tuple[str, ...]) -> list[str]:
    return [Path(path).stem for path in paths]


def rows(lists: tuple[np.ndarray, ...]) -> list[list[int]]:
    return [found.tolist() for found in lists]


OXFORD = ["all_souls_000013", "all_souls_000026", "ashmolean_000001", "oxford_002904"]


def test_oxford5k_reads_boxes_and_lists(tmp_path):
    write_images(tmp_path / "oxbuild_images", *(f"{name}.jpg" for name in OXFORD))
    write_truth(
        tmp_path / "gt_files_170407",
        all_souls_1_query="oxc1_all_souls_000013 136.5 34.1 648.5 955.7\n",
        all_souls_1_good="all_souls_000013\n",
        all_souls_1_ok="all_souls_000026\n",
        all_souls_1_junk="oxford_002904\n",
        ashmolean_1_query="oxc1_ashmolean_000001 1 2 3 4\n",
        ashmolean_1_good="ashmolean_000001\n",
        ashmolean_1_ok="",
        ashmolean_1_junk="",
    )
    dataset = read_dataset("oxford5k", tmp_path)
    assert stems(dataset.database) == OXFORD
    assert stems(dataset.queries) == ["all_souls_000013", "ashmolean_000001"]
    np.testing.assert_array_equal(dataset.query_boxes, [[136.5, 34.1, 648.5, 955.7], [1, 2, 3, 4]])
    relevance = dataset.protocols["default"]
    assert rows(relevance.positives) == [[0, 1], [2]]
    assert rows(relevance.junk) == [[3], []]
    expected = "RetrievalDataset('oxford5k': 2 queries, with boxes in 4 images; default)"
    assert repr(dataset) == expected


def test_paris6k_leaves_the_broken_files_out(tmp_path):
    write_images(
        tmp_path / "paris", "defense/paris_defense_000605.jpg", "louvre/paris_louvre_000001.jpg"
    )
    (tmp_path / "paris" / "louvre" / "paris_louvre_000136.jpg").write_text("<html>302 Found")
    write_truth(
        tmp_path,
        defense_1_query="paris_defense_000605 84.3 2.1 627.5 751.2\n",
        defense_1_good="paris_defense_000605\n",
        defense_1_ok="paris_louvre_000136\n",
        defense_1_junk="paris_louvre_000001\n",
    )
    dataset = read_dataset("paris6k", tmp_path)
    assert stems(dataset.database) == ["paris_defense_000605", "paris_louvre_000001"]
    assert rows(dataset.protocols["default"].positives) == [[0]]
    assert rows(dataset.protocols["default"].junk) == [[1]]


def test_sculptures6k_searches_in_the_half_that_is_asked_for(tmp_path):
    names = [f"Rodin_Stanford_{i:04}" for i in range(3)]
    write_images(tmp_path, *(f"test/{name}.jpg" for name in names), "train/Moore_0000.jpg")
    write_truth(
        tmp_path / "gt",
        thinker_1_query=f"{names[1]} 5 6 70 80\n",
        thinker_1_good=f"{names[1]}\n{names[2]}\n",
        thinker_1_ok="",
        thinker_1_junk=f"{names[0]}\n",
    )
    found = read_dataset("sculptures6k", tmp_path)
    assert stems(found.database) == names
    assert stems(found.queries) == names[1:2]
    assert found.query_boxes.tolist() == [[5, 6, 70, 80]]
    assert rows(found.protocols["default"].positives) == [[1, 2]]
    assert rows(found.protocols["default"].junk) == [[0]]
    with pytest.raises(ManifestError, match=r"no image 'Rodin_Stanford_0001', which thinker_1"):
        read_dataset("sculptures6k", tmp_path, part="train")


def test_a_ground_truth_that_does_not_fit_its_images_is_refused(tmp_path):
    write_images(tmp_path, "all_souls_000013.jpg")
    with pytest.raises(ManifestError, match=r"found no file \*_query.txt at any depth"):
        read_dataset("oxford5k", tmp_path)
    write_truth(tmp_path, all_souls_1_query="oxc1_all_souls_000013 1 2 3 4\n")
    with pytest.raises(ManifestError, match=r"all_souls_1_query.txt without all_souls_1_good.txt"):
        read_dataset("oxford5k", tmp_path)
    write_truth(
        tmp_path, all_souls_1_good="all_souls_000099", all_souls_1_ok="", all_souls_1_junk=""
    )
    with pytest.raises(ManifestError, match=r"found 1 images, without 'all_souls_000099'"):
        read_dataset("oxford5k", tmp_path)
    write_truth(tmp_path, all_souls_1_query="oxc1_all_souls_000099 1 2 3 4\n")
    with pytest.raises(
        ManifestError, match=r"no image 'all_souls_000099', which all_souls_1_query"
    ):
        read_dataset("oxford5k", tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path):
    write_images(tmp_path, "a/x_1.jpg", "b/x_1.jpg")
    with pytest.raises(ManifestError, match=r"found both '.*a/x_1.jpg' and '.*b/x_1.jpg'"):
        read_dataset("oxford5k", tmp_path)


TRUTH = {
    "imlist": ["c", "a", "b", "d"],
    "qimlist": ["q", "r"],
    "gnd": [
        {"bbx": [1.5, 2.0, 30.0, 40.0], "easy": [2, 0], "hard": [3], "junk": [1]},
        {"bbx": [0, 0, 5, 5], "easy": [], "hard": [1], "junk": []},
    ],
}


def as_arrays(truth):
    entries = [{key: np.array(value) for key, value in entry.items()} for entry in truth["gnd"]]
    for entry in entries:
        for part in ("easy", "hard", "junk"):
            entry[part] = entry[part].astype(np.int64)
    return {**truth, "gnd": entries}


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5, "json"])
@pytest.mark.parametrize("make", [lambda truth: truth, as_arrays], ids=["lists", "arrays"])
def test_revisited_sets_have_three_protocols(tmp_path, name, protocol, make):
    write_images(tmp_path / "jpg", *(f"{x}.jpg" for x in "abcdqr"), "unlisted.jpg")
    if protocol == "json":
        (tmp_path / f"gnd_{name}.json").write_text(json.dumps(TRUTH))
    else:
        (tmp_path / f"gnd_{name}.pkl").write_bytes(pickle.dumps(make(TRUTH), protocol))
    dataset = read_dataset(name, tmp_path)
    assert stems(dataset.database) == ["c", "a", "b", "d"]
    assert stems(dataset.queries) == ["q", "r"]
    np.testing.assert_array_equal(dataset.query_boxes, [[1.5, 2, 30, 40], [0, 0, 5, 5]])
    # Radenovic et al. 2018, section 3.3: what is neither easy nor hard for a protocol is ignored.
    expected = {
        "easy": ([[0, 2], []], [[1, 3], [1]]),
        "medium": ([[0, 2, 3], [1]], [[1], []]),
        "hard": ([[3], [1]], [[0, 1, 2], []]),
    }
    found = {key: (rows(r.positives), rows(r.junk)) for key, r in dataset.protocols.items()}
    assert found == expected


class Malicious:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, protocol):
    touched = tmp_path / "touched"
    attack = {**TRUTH, "more": Malicious(os.system, f"touch {touched}")}
    (tmp_path / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(attack, protocol))
    with pytest.raises(
        ManifestError, match=r"gnd_roxford5k.pkl that cannot be read: it asks for "
    ):
        read_dataset("roxford5k", tmp_path)
    assert not touched.exists()


@pytest.mark.parametrize(
    "value",
    [
        Malicious(eval, "1"),
        Malicious(getattr, "a", "b"),
        Malicious(np.fromfile, "/etc/passwd"),
        Malicious(np.load, "x"),
        np.array([{}], dtype=object),
        np.array(["text"]),
        np.array([(1, 2.0)], dtype="i4,f8"),
        np.random.default_rng(0),
        {1, 2}.__class__,
        Path("x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_plain_values_and_arrays_of_numbers_are_read(value):
    with pytest.raises(pickle.UnpicklingError, match=r"asks for|an array of|damaged"):
        read_plain_pickle(pickle.dumps(value))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1, 258], dtype=">i2"),
        np.array([True, False]),
        np.empty((0,)),
        np.float32(1.5),
        np.int64(-7),
    ],
    ids=["int", "fortran", "big-endian", "bool", "empty", "float scalar", "int scalar"],
)
def test_arrays_are_read_as_numpy_would(array, protocol):
    assert read_plain_pickle(pickle.dumps({"x": array}, protocol)) == {"x": array.tolist()}


def test_an_array_written_by_python_2_is_read():
    """Python 2 has byte strings where Python 3 has bytes, and the old name of NumPy's core."""
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b"
        b"\x87R(K\x01K\x02\x85cnumpy\ndtype\nq\x03U\x02i2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff"
        b"\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x05\x00\xff\x00tb."
    )
    assert read_plain_pickle(data) == [5, 255]


# An array of the shape (10**12, 0).
LONG_AND_EMPTY = (
    b"cnumpy.core.multiarray\n_reconstruct\n)R(I1\n(I1000000000000\nI0\ntcnumpy\ndtype\n"
    b"(Vf8\ntRI00\nV\ntb."
)


@pytest.mark.parametrize(
    "data",
    [
        b"]r\xff\xff\xff\xff.",  # a memo of 2**32 places
        b"]" + b"(" * 10**5 + b"l" * 10**5 + b".",
        LONG_AND_EMPTY,
        b"\x80\x05\x96" + (2**30).to_bytes(8, "little") + b"short.",
        b"\x80\x05\x96" + b"\xff" * 8 + b".",
    ],
    ids=["memo", "deep", "long and empty", "bytearray", "endless bytearray"],
)
def test_a_crafted_pickle_takes_no_more_memory_than_it_is_long(data):
    tracemalloc.start()
    try:
        with contextlib.suppress(pickle.UnpicklingError):
            read_plain_pickle(data)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_what_a_pickle_asks_for_is_named_in_one_line():
    with pytest.raises(
        pickle.UnpicklingError, match=r"^it asks for a b\.c d, which would run code$"
    ):
        read_plain_pickle(b"\x80\x04\x8c\x03a\nb\x8c\x03c\nd\x93.")


@given(st.binary(max_size=200))
def test_random_bytes_give_an_error_of_pickles_or_a_value(data):
    with contextlib.suppress(pickle.UnpicklingError):
        read_plain_pickle(data)


@given(st.data())
def test_a_flipped_byte_never_calls_anything_else(data):
    good = bytearray(pickle.dumps(as_arrays(TRUTH), data.draw(st.integers(0, 5))))
    where = data.draw(st.integers(0, len(good) - 1))
    good[where] = data.draw(st.integers(0, 255))
    with contextlib.suppress(pickle.UnpicklingError):
        read_plain_pickle(bytes(good))


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ([1], r"found list in gnd_roxford5k.json, expected imlist, qimlist and gnd"),
        ({"imlist": []}, r"found \['imlist'\]"),
        ({**TRUTH, "imlist": [1]}, r"found something else than names"),
        ({**TRUTH, "gnd": TRUTH["gnd"][:1]}, r"2 queries with another number of entries"),
        ({**TRUTH, "gnd": [{}, {}]}, r"no box of query 0"),
        ({**TRUTH, "gnd": [TRUTH["gnd"][0], {"bbx": [0, 0, 1, 1]}]}, r"no row numbers of query 1"),
        ({**TRUTH, "imlist": ["z", "a", "b", "d"]}, r"found 5 of 6 images, without 'z'"),
    ],
)
def test_a_revisited_ground_truth_of_another_shape_is_refused(tmp_path, truth, message):
    write_images(tmp_path / "jpg", *(f"{x}.jpg" for x in "abcdqr"))
    (tmp_path / "gnd_roxford5k.json").write_text(json.dumps(truth))
    with pytest.raises(ManifestError, match=message):
        read_dataset("roxford5k", tmp_path)


def test_a_damaged_json_is_refused(tmp_path):
    (tmp_path / "gnd_rparis6k.json").write_text("{")
    with pytest.raises(ManifestError, match=r"gnd_rparis6k.json that cannot be read: Expecting"):
        read_dataset("rparis6k", tmp_path)


def test_holidays_queries_end_in_00_and_leave_themselves_out(tmp_path):
    names = ("100000", "100001", "100002", "100100", "100101")
    write_images(tmp_path / "jpg", *(f"{name}.jpg" for name in names))
    dataset = read_dataset("holidays", tmp_path)
    assert stems(dataset.database) == list(names)
    assert stems(dataset.queries) == ["100000", "100100"]
    relevance = dataset.protocols["default"]
    assert rows(relevance.positives) == [[1, 2], [4]]
    assert rows(relevance.junk) == [[0], [3]]
    ranking = [[0, 2, 1, 3, 4], [3, 4, 0, 1, 2]]
    assert mean_average_precision_score(ranking, relevance.positives, junk=relevance.junk) == 1


def test_other_names_among_the_holidays_are_refused(tmp_path):
    write_images(tmp_path, "100001.jpg")
    with pytest.raises(ManifestError, match=r"no image whose number ends in 00"):
        read_dataset("holidays", tmp_path)
    write_images(tmp_path, "beach.jpg")
    with pytest.raises(ManifestError, match=r"found the image '.*beach.jpg'"):
        read_dataset("holidays", tmp_path)


def test_ukbench_queries_count_themselves(tmp_path):
    write_images(tmp_path / "ukbench" / "full", *(f"ukbench{i:05d}.jpg" for i in range(8)))
    write_images(tmp_path / "ukbench" / "thumbnails", "ukbench00000.th.jpg")
    dataset = read_dataset("ukbench", tmp_path)
    assert dataset.queries == dataset.database
    relevance = dataset.protocols["default"]
    assert rows(relevance.positives) == [[0, 1, 2, 3]] * 4 + [[4, 5, 6, 7]] * 4
    assert rows(relevance.junk) == [[]] * 8
    ranking = [[0, 1, 2, 3]] * 8
    assert recall_at_k(ranking, relevance.positives, k=4, convention="share") == 0.5


def test_a_ukbench_with_a_gap_is_refused(tmp_path):
    write_images(tmp_path, *(f"ukbench{i:05d}.jpg" for i in (0, 1, 2, 3, 4, 5, 7)))
    with pytest.raises(
        ManifestError, match=r"3 images of object 1, expected four, from ukbench00004"
    ):
        read_dataset("ukbench", tmp_path)


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    n_objects=st.integers(1, 3),
)
def test_positives_and_junk_never_overlap(sizes, n_objects, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for group, size in enumerate(sizes):
        for i in range(size):
            (folder / "holidays").mkdir(exist_ok=True)
            (folder / "holidays" / f"{100000 + 100 * group + i}.jpg").touch()
    (folder / "ukbench").mkdir()
    for i in range(4 * n_objects):
        (folder / "ukbench" / f"ukbench{i:05d}.jpg").touch()
    for name in ("holidays", "ukbench"):
        dataset = read_dataset(name, folder / name)
        relevance = dataset.protocols["default"]
        for query, right, junk in zip(
            dataset.queries, relevance.positives, relevance.junk, strict=True
        ):
            assert not set(right) & set(junk)
            own = dataset.database.index(query)
            assert own in (junk if name == "holidays" else right)
    holidays = read_dataset("holidays", folder / "holidays")
    found = [len(right) for right in holidays.protocols["default"].positives]
    assert found == [size - 1 for size in sizes]


@pytest.mark.parametrize("query_folder", ["query", "queries"])
def test_paired_folders_join_equal_names(tmp_path, query_folder):
    write_images(tmp_path / query_folder, "a/2.jpg", "7.jpg")
    write_images(tmp_path / "reference", "1.jpg", "a/2.jpeg", "7.jpg", "b/7.jpg")
    dataset = read_dataset("paired_folders", tmp_path)
    names = [
        Path(path).relative_to(tmp_path / "reference").as_posix() for path in dataset.database
    ]
    assert names == ["1.jpg", "7.jpg", "a/2.jpeg", "b/7.jpg"]
    assert stems(dataset.queries) == ["7", "2"]
    assert rows(dataset.protocols["default"].positives) == [[1], [2]]
    assert rows(dataset.protocols["default"].junk) == [[], []]


def test_a_query_without_a_reference_is_refused(tmp_path):
    write_images(tmp_path, "query/8.jpg", "reference/7.jpg")
    with pytest.raises(ManifestError, match=r"found no reference for the query '8'"):
        read_dataset("paired_folders", tmp_path)
    write_images(tmp_path / "half", "query/8.jpg")
    with pytest.raises(ManifestError, match=r"found query, expected the folder reference or ref"):
        read_dataset("paired_folders", tmp_path / "half")
