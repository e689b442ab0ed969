"""What is refused and with which words, values that are no numbers, and numbers as text."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from featx.errors import ParameterError
from featx.report import GalleryMatch, GalleryRow, Mistake, Report
from featx.report._axes import choose_ticks
from featx.report._section import as_text

NAN, INF = math.nan, math.inf


def curve(x: Any, curves: Any, intervals: Any = None) -> Report:
    return Report("x").add_curve(x, curves, intervals, x_label="x", y_label="y")


REFUSED = {
    "thumbnail size": (lambda: Report("x", thumbnail_px=8), "thumbnail_px: got 8, expected 16"),
    "row of a table": (
        lambda: Report("x").add_table([[1, 2], [3]], ["a", "b"]),
        r"rows\[1\]: got 1 values, expected 2",
    ),
    "score without name": (
        lambda: Report("x").add_scores({"map": 1}, intervals={"mop": (0, 1)}),
        r"intervals: got 'mop', expected 'map'\. Did you mean",
    ),
    "score interval upside down": (
        lambda: Report("x").add_scores({"map": 0.5}, intervals={"map": (0.9, 0.1)}),
        r"intervals\['map'\]: got \(0.9, 0.1\), expected \(low, high\)",
    ),
    "score interval of three": (
        lambda: Report("x").add_scores({"map": 0.5}, intervals={"map": (0, 1, 2)}),
        r"intervals\['map'\]: got \(0, 1, 2\), expected \(low, high\)",
    ),
    "predictions": (
        lambda: Report("x").add_confusion_matrix(["a", "b"], ["a"]),
        "y_pred: got 1 values, expected 2, one for each of y_true",
    ),
    "unknown label": (
        lambda: Report("x").add_confusion_matrix(["a"], ["pear"], ["a", "pears"]),
        "labels: 'pear' is in y_true or y_pred.*2 labels given. Did you mean 'pears'",
    ),
    "label twice": (
        lambda: Report("x").add_confusion_matrix(["a"], ["a"], ["a", "a"]),
        r"labels: found duplicates in \['a', 'a'\]",
    ),
    "names of bars": (lambda: Report("x").add_bars(["a"], [1, 2]), "names: got 1 values.*2"),
    "bar below zero": (lambda: Report("x").add_bars(["a"], [-0.5]), "values: found -0.5"),
    "bar that is text": (lambda: Report("x").add_bars(["a"], ["many"]), r"values:.*\['many'\]"),
    "bar not measured": (
        lambda: Report("x").add_bars(["a", "b"], [1, NAN]), r"values: value nan at \(1,\)",
    ),
    "bar intervals": (
        lambda: Report("x").add_bars(["a"], [1], [(0, 1), (0, 1)]),
        r"intervals: got shape \(2, 2\), expected \(1, 2\)",
    ),
    "bar interval upside down": (
        lambda: Report("x").add_bars(["a", "b"], [1, 1], [(0, 1), (1, 0.5)]),
        r"intervals: interval 1 is \(1.0, 0.5\), expected \(low, high\)",
    ),
    "limit of zero": (lambda: Report("x").add_bars(["a"], [1], limit=0), "limit: got 0"),
    "limit not a number": (lambda: Report("x").add_bars(["a"], [1], limit=NAN), "limit: got nan"),
    "curve of no points": (lambda: curve([], {"a": []}), "curves: got 0 points and 1 curves"),
    "curve's length": (
        lambda: curve([1, 2], {"a": [1]}), r"curves\['a'\]: got shape \(1,\), expected \(2,\)",
    ),
    "curve to infinity": (lambda: curve([1, 2], {"a": [1, INF]}), r"\['a'\]: value inf at \(1,\)"),
    "curve of no such name": (
        lambda: curve([1], {"a": [1]}, {"b": [(0, 1)]}), r"intervals: got 'b', expected 'a'",
    ),
    "curve interval upside down": (
        lambda: curve([1], {"a": [1]}, {"a": [(2, 1)]}), r"intervals\['a'\]: interval 0 is \(2.0",
    ),
    "map of no points": (
        lambda: Report("x").add_embedding_map(np.empty((0, 2))), r"points: got shape \(0, 2\)",
    ),
    "map in space": (
        lambda: Report("x").add_embedding_map([[1, 2, 3]]), r"points: got shape \(1, 3\)",
    ),
    "map not measured": (
        lambda: Report("x").add_embedding_map([[0, 0], [0, NAN]]), r"points: value nan at \(1, 1",
    ),
    "map labels": (
        lambda: Report("x").add_embedding_map([[0, 0]], ["a", "b"]), "labels: got 2 values.*1",
    ),
    "map paths": (
        lambda: Report("x").add_embedding_map([[0, 0]], None, []), "paths: got 0 values.*1",
    ),
    "gallery of strings": (lambda: Report("x").add_gallery(["a"]), "rows: got str, expected Gal"),
    "mistake of a pair": (lambda: Report("x").add_mistakes([("a", 1)]), "mistakes: got tuple"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_its_value(case: str) -> None:
    call, match = REFUSED[case]
    with pytest.raises(ParameterError, match=match):
        call()


def test_json_holds_no_nan_where_the_page_says_nan(tmp_path: Path) -> None:
    report = Report("x").add_scores({"a": NAN}, intervals={"a": (NAN, INF)})
    report.add_table([[np.float32("nan"), -INF]], ["a", "b"])
    report.add_key_values({"nested": {"deep": [NAN, np.int64(3)]}})
    report.add_gallery([GalleryRow(b"", (GalleryMatch(b"", NAN),), np.int64(7))])
    report.add_mistakes([Mistake(b"", "a", "b", NAN)])
    page = report.save(tmp_path / "r.html")

    def refuse(constant: str) -> None:
        pytest.fail(f"found {constant}")

    text = report.save(tmp_path / "r.json").read_text(encoding="utf-8")
    scores, table, values, gallery, mistakes = json.loads(text, parse_constant=refuse)["sections"]
    assert scores["scores"] == [{"name": "a", "value": None, "low": None, "high": None}]
    assert table["rows"] == [[None, None]]
    assert values["values"] == {"nested": {"deep": [None, 3]}}
    assert gallery["rows"][0]["matches"][0]["distance"] is None
    assert gallery["rows"][0]["label"] == 7
    assert mistakes["mistakes"][0]["score"] is None
    cells = '<td class="n" data-v="">nan</td><td class="n" data-v="">-inf</td>'
    for shown in ("<dd>nan<small>nan to inf", cells):
        assert shown in page.read_text(encoding="utf-8")


@example(2e-14, 0.5, 5)
@given(st.floats(1e-15, 1e15), st.floats(-50, 50), st.integers(2, 10))
def test_ticks_are_round_and_span_what_is_drawn(span: float, shift: float, n: int) -> None:
    low, high = span * shift, span * shift + span
    found = np.array(choose_ticks(low, high, n))
    steps = np.diff(found)
    step = steps.mean()
    np.testing.assert_allclose(steps, step, rtol=1e-3)
    assert found[0] <= low + step * 1e-6
    assert found[-1] >= high - step * 1e-6
    assert 2 <= len(found) <= n + 3
    leading = step / 10.0 ** math.floor(math.log10(step * 1.0001))
    assert min(abs(leading - m) for m in (1, 2, 2.5, 5)) < 1e-3


@example(999.7, 1)
@given(st.floats(1e-3, 1e15), st.sampled_from([-1, 1]))
def test_a_shown_number_is_the_number_to_three_digits(size: float, sign: int) -> None:
    shown = as_text(sign * size)
    assert re.fullmatch(r"-?\d{1,3}(,\d{3})*(\.\d+)?", shown)
    assert float(shown.replace(",", "")) == pytest.approx(sign * size, rel=5.1e-3, abs=5.1e-4)
