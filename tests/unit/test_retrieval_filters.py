"""Filters in text, and what an index keeps beside its vectors."""

from __future__ import annotations

import hashlib
import operator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import featx
from featx import RetrievalIndex
from featx.demo import sample_data_dir
from featx.errors import ParameterError

PRICES = ["5", "20", "20.0", "", "7.5", "1e2"]
COLOURS = ["red", "blue", "red", "green", "", "caf\udce9"]
COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@pytest.fixture(scope="module", params=["memory", "file"])
def index(request, tmp_path_factory):
    made = RetrievalIndex().fit(
        np.eye(6) + 1,
        ids=list("abcdef"),
        labels=["x", "y"] * 3,
        metadata={"price": PRICES, "colour": COLOURS, "size": range(6), "a<b": list("mnmnmn")},
    )
    if request.param == "memory":
        return made
    path = tmp_path_factory.mktemp("filters") / "index"
    made.save(path)
    return RetrievalIndex.load(path, mmap=True)


def found(index, where) -> str:
    return "".join(sorted(index.query(np.ones(6), k=6, filter=where).ids))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("price<=20", "abce"),
        ("price<20", "ae"),
        ("price>=20", "bcf"),
        ("price>99.5", "f"),
        (" price > 7.5", "bcf"),
        (["price>=7.5", "price<=20"], "bce"),
        (["price<=20", "colour=red"], "ac"),
        (["colour=red", "colour=blue"], "abc"),
        (("colour=red", "colour=blue", "label=x"), "ac"),
        ("colour!=red", "bdef"),
        (["colour!=red", "colour!=blue"], "def"),
        ("colour=", "e"),
        ("colour=caf\\xe9", "f"),
        ("a<b=m", "ace"),
        ("size=3", "d"),
        ("size<=1", "ab"),
        ("id=c", "c"),
    ],
    ids=str,
)
def test_conditions_in_text_choose_rows(index, where, expected) -> None:
    assert found(index, where) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("prize<=20", "filter column: got 'prize'.*Did you mean 'price'"),
        ("price<=cheap", "filter price<=cheap: got 'cheap', expected a number"),
        ("price<=nan", "filter price<=nan: got nan, expected a finite number"),
        ("colour>3", "filter: column 'colour' has '.*', expected numbers alone"),
        ("price", "filter: got 'price', expected COLUMN=VALUE or a range"),
        ("<=3", "filter: got '<=3', expected COLUMN=VALUE or a range"),
        ("price<1", "filter: no row of the index fits 'price<1'"),
        (
            ["price>5", "colour=bleu"],
            "no row .*Did you mean 'blue'.* colour is one of '', 'blue',",
        ),
    ],
)
def test_wrong_conditions_are_named(index, where, message) -> None:
    with pytest.raises(ParameterError, match=message):
        found(index, where)


@given(
    st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=1, max_size=20),
    st.floats(-1e6, 1e6),
    st.sampled_from(list(COMPARE)),
)
def test_a_range_is_what_python_compares(values, limit, sign) -> None:
    index = RetrievalIndex().fit(np.ones((len(values), 1)), metadata={"v": values})
    fitting = [i for i, v in enumerate(values) if v is not None and COMPARE[sign](v, limit)]
    if not fitting:
        with pytest.raises(ParameterError, match="no row of the index fits"):
            index.query([1.0], filter=f"v{sign}{limit!r}")
    else:
        answer = index.query([1.0], k=99, filter=f"v{sign}{limit!r}")
        assert sorted(answer.ids.tolist()) == fitting


def test_an_index_keeps_the_digests_of_its_images(tmp_path) -> None:
    folder = sample_data_dir() / "objects" / "apple"
    with featx.extract(folder, tmp_path / "f.h5", workers=0, progress=False) as store:
        index = RetrievalIndex().fit(store)
    index.add(index.vectors([0]), ids=["new"], digests=["0" * 64])
    index.add(index.vectors([1]), ids=["newer"])
    index.save(tmp_path / "index")
    kept = RetrievalIndex.load(tmp_path / "index").remove([index.ids_[1]])
    names = [Path(name) for name in kept.ids_[:-2]]
    expected = [hashlib.sha256(name.read_bytes()).hexdigest() for name in names]
    assert kept.digests_.tolist() == [*expected, "0" * 64, ""]
    assert RetrievalIndex().fit(np.eye(2)).digests_ is None


def test_a_label_is_changed_alone() -> None:
    index = RetrievalIndex().fit(np.eye(3), ids=list("abc"), labels=["x", "x", "x"])
    before = index.labels_
    index.relabel(["c", "a"], ["long label", None])
    assert index.labels_.tolist() == ["", "x", "long label"]
    assert before.tolist() == ["x"] * 3
    with pytest.raises(ParameterError, match="ids: got 'd'"):
        index.relabel("d", "y")
    with pytest.raises(ParameterError, match="labels: got 1, expected one for each of 2"):
        index.relabel(["a", "b"], ["y"])
    with pytest.raises(ParameterError, match="relabel: the index has no labels"):
        RetrievalIndex().fit(np.eye(2)).relabel(0, "y")
