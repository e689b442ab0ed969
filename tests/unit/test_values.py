"""What is missing, and what is one value however it is written."""

from __future__ import annotations

import decimal
import unicodedata

import numpy as np
import pytest

from featx._values import (
    as_text,
    as_texts,
    float_array,
    frame_columns,
    is_frame,
    is_missing,
    plain_values,
    require_known,
)
from featx.errors import FeatxWarning, ParameterError

pd = pytest.importorskip("pandas")
arrow = pytest.importorskip("pyarrow")

MISSING = [
    None, float("nan"), np.float32("nan"), np.datetime64("NaT"), pd.NA, pd.NaT, np.ma.masked,
    decimal.Decimal("nan"), "", "  ", "nan", "NaN", "<NA>", " NaT ",
]  # fmt: skip


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_what_pandas_takes_as_missing_is_no_text(value) -> None:
    assert is_missing(value)
    assert as_text(value) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" cat\t", "cat"), (b"cat", "cat"), (np.bytes_(b"cat"), "cat"), (np.str_("cat"), "cat"),
        (1, "1"), (1.0, "1"), (np.float32(1), "1"), (np.int8(1), "1"), ("1.0", "1"),
        ("-1.00", "-1"), (-0.0, "0"), (0.5, "0.5"), ("01", "01"), ("1.0.0", "1.0.0"),
        ("v1.0", "v1.0"), (True, "True"), (np.bool_(False), "False"), ("none", "none"),
        ("0", "0"), (0, "0"), (False, "False"), ("None of these", "None of these"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_has_one_text(value, text) -> None:
    assert as_text(value) == text


def test_both_unicode_forms_of_a_label_are_one() -> None:
    both = [unicodedata.normalize(form, "été") for form in ("NFC", "NFD")]
    assert both[0] != both[1]
    assert len({as_text(text) for text in both}) == 1


def columns() -> list:
    values = ["cat", None, "dog"]
    return [
        values, tuple(values), np.array(values, object), pd.Series(values, index=[5, 5, 7]),
        pd.Series(values, dtype="category"), pd.Series(values, dtype="string"),
        pd.Index(values), arrow.array(values), arrow.chunked_array([values]),
        np.array([b"cat", b"", b"dog"]), np.array(["cat", np.nan, "dog"]), (v for v in values),
    ]  # fmt: skip


@pytest.mark.parametrize("values", columns(), ids=lambda v: type(v).__name__)
def test_a_column_of_any_kind_gives_the_same_texts(values) -> None:
    assert as_texts(values, "labels") == ["cat", "", "dog"]


def test_numbers_beside_missing_ones_are_those_without_decimals() -> None:
    for dtype in ("Int64", "float64", "object"):
        assert as_texts(pd.Series([1, None, 3], dtype=dtype), "labels") == ["1", "", "3"]


@pytest.mark.parametrize("word", ["NA", "N/A", "NULL", "None"])
def test_a_word_that_could_be_a_class_is_missing_with_a_warning(word) -> None:
    with pytest.warns(FeatxWarning, match=rf"labels: '{word}' is taken as missing.*another word"):
        assert as_texts(["cat", f" {word}"], "labels") == ["cat", ""]


@pytest.mark.parametrize("values", ["cat", {"a.png": "cat"}, pd.DataFrame({"label": ["cat"]})])
def test_what_is_no_column_is_refused(values) -> None:
    with pytest.raises(ParameterError, match=r"labels: got .*, expected a list, an array or one"):
        plain_values(values, "labels")


def test_frames_have_columns_and_a_named_index_is_one() -> None:
    frame = pd.DataFrame({"path": ["a"], "label": [1.0]})
    expected = {"path": ["a"], "label": [1.0]}
    for one in (
        frame,
        arrow.table(frame),
        frame.set_index("path"),
        frame.set_index("path", drop=False),
    ):
        assert is_frame(one)
        assert frame_columns(one) == expected
    assert not any(map(is_frame, (frame["path"], np.eye(2), [frame], {"path": []})))
    twice = pd.DataFrame([["a", "b"]], columns=["path", "path"])
    with pytest.raises(ParameterError, match="'path' more than once"):
        frame_columns(twice)


@pytest.mark.parametrize(
    "y",
    [
        ["a", None, "b"], ["a", np.nan, "b"], ["a", "", "b"], np.array(["a", "", "b"]),
        np.array([1.0, np.nan, 2]), pd.Series([1, None, 2]), pd.Series(["a", pd.NA, "b"]),
        pd.Series([1, None, 2], dtype="Int64"), pd.Series(["a", None, "b"], dtype="category"),
        np.array(["a", np.nan, "b"]),
    ],
    ids=repr,
)  # fmt: skip
def test_a_label_that_is_needed_is_asked_for_by_its_row(y) -> None:
    with pytest.raises(ParameterError, match=r"y: sample 1 has no label .*1 of 3.*leave"):
        require_known(y)


def test_numbers_are_read_from_every_kind_of_column() -> None:
    for values in ([1, None, 0], [1.0, np.nan, 0], ["1", "", "0.0"], pd.array([1, None, 0])):
        np.testing.assert_array_equal(float_array(values), [1, np.nan, 0])
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [True, False]})
    np.testing.assert_array_equal(float_array(frame), [[1, 1], [np.nan, 0]])
    with pytest.raises(ValueError, match="row 1 has 'maybe', which is no number"):
        float_array([["0", "1"], ["0", "maybe"]])


def test_labels_that_are_known_come_back_as_an_array() -> None:
    for y in (["NA", "None"], [1, 2], [1.5, 2.0], [True, False], pd.Series(["x", "y"])):
        np.testing.assert_array_equal(require_known(y), np.asarray(y))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_short_numbers_have_the_digits_that_a_csv_has(dtype):
    column = pd.Series([0.1, 1.0, np.nan], dtype=dtype)
    for values in (column, column.to_numpy(), list(column.to_numpy())):
        assert as_texts(values, "a") == ["0.1", "1", ""]
    assert as_texts(frame_columns(column.to_frame("a"))["a"], "a") == ["0.1", "1", ""]
