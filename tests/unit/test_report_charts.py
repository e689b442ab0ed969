"""Scatter plots, logarithmic axes and precision-recall lines lie where their ticks say."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from featx.errors import ParameterError
from featx.evaluation import FewLabelCurve, precision_recall_points
from featx.report import Report, ScatterPoint
from featx.report._axes import Axes, Axis, choose_log_ticks, make_axis
from featx.report._labels import Box, place_labels
from featx.report.scatter import on_frontier

NETS = [
    ScatterPoint("small", 400, 0.93, 0.92, 0.94, "embedded"),
    ScatterPoint("slow and worse", 100, 0.9, group="others"),
    ScatterPoint("large", 20, 0.98, group="others"),
    ScatterPoint("middle", 90, 0.96, 0.94, 0.97, "others"),
]


def scatter(points: Any = NETS, **options: Any) -> Report:
    return Report("x").add_scatter(points, x_label="images/s", y_label="accuracy", **options)


def scale(page: str, side: str) -> Any:
    """Return the line from a value (x: its logarithm where asked for by the caller) to a place."""
    anchor, at = ("middle", "x") if side == "x" else ("end", "y")
    found = re.findall(
        rf'<text x="([\d.]+)" y="([\d.]+)" text-anchor="{anchor}">([\d.e+-]+)<', page
    )
    return [(float(text), float(x if at == "x" else y)) for x, y, text in found]


def circles(page: str) -> np.ndarray:
    return np.array(re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page), dtype=float)


@pytest.mark.parametrize("log_x", [False, True])
def test_points_and_whiskers_lie_where_the_ticks_say(log_x: bool) -> None:
    page = scatter(log_x=log_x).to_html()
    marks = scale(page, "x")
    to = math.log if log_x else float
    x_line = np.polyfit([to(v) for v, _ in marks], [at for _, at in marks], 1)
    y_line = np.polyfit(*zip(*scale(page, "y"), strict=True), 1)
    places = circles(page)
    np.testing.assert_allclose(places[:, 0], np.polyval(x_line, [to(p.x) for p in NETS]), atol=0.3)
    y = np.polyval(y_line, [p.y for p in NETS]) - 4  # a text's baseline is below its tick
    np.testing.assert_allclose(places[:, 1], y, atol=0.3)
    spans = re.findall(r'class="span" x1="([\d.]+)" x2="[\d.]+" y1="([\d.]+)" y2="([\d.]+)"', page)
    expected = [(places[k, 0], *(np.polyval(y_line, [NETS[k].low, NETS[k].high]) - 4))
                for k in (0, 3)]  # fmt: skip
    np.testing.assert_allclose(np.array(spans, dtype=float), expected, atol=0.3)


def test_a_scatter_names_groups_and_values_and_the_json_has_them() -> None:
    report = scatter(log_x=True, frontier=True)
    page, section = report.to_html(), report.to_dict()["sections"][0]
    assert section["kind"] == "scatter"
    assert (section["x_label"], section["y_label"], section["log_x"]) == (
        "images/s", "accuracy", True,
    )  # fmt: skip
    assert section["points"][0] == {
        "name": "small", "x": 400.0, "y": 0.93, "low": 0.92, "high": 0.94, "group": "embedded",
        "is_on_frontier": True,
    }  # fmt: skip
    assert [p["is_on_frontier"] for p in section["points"]] == [True, False, True, True]
    assert section["points"][1]["low"] is None
    assert "<title>small: 400, 0.930 (0.920 to 0.940)</title>" in page
    assert [n for n in ("small", "slow and worse", "large", "middle")
            if f">{n}</text>" in page] == [p.name for p in NETS]  # fmt: skip
    assert page.count('class="point faint"') == 1
    legend = page[page.index('<figcaption class="legend">') :]
    assert re.findall(r"</i>([^<]+)</span>", legend) == [
        "embedded", "others", "no other point is higher in both",
    ]  # fmt: skip
    assert "</i>best buy</span>" in scatter(frontier="best buy").to_html()
    plain = scatter()
    assert plain.to_dict()["sections"][0]["points"][0]["is_on_frontier"] is None
    assert 'class="frontier"' not in plain.to_html()


def test_the_frontier_is_the_edge_of_what_can_be_had() -> None:
    page = scatter(frontier=True).to_html()
    (drawn,) = re.findall(r'class="frontier" points="([^"]+)"', page)
    stairs = np.array([pair.split(",") for pair in drawn.split()], dtype=float)
    small, _, large, middle = circles(page)
    corners = [large, (large[0], middle[1]), middle, (middle[0], small[1]), small]
    np.testing.assert_allclose(stairs[1:-1], corners)
    assert (np.diff(stairs[:, 0]) >= 0).all()
    assert (np.diff(stairs[:, 1]) >= 0).all()  # downwards


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_no_point_of_the_frontier_is_beaten_and_every_other_is(pairs: Any) -> None:
    got = on_frontier(np.array(pairs, dtype=float))
    for k, (x, y) in enumerate(pairs):
        is_beaten = any(a >= x and b >= y and (a, b) != (x, y) for a, b in pairs)
        assert got[k] == (not is_beaten)


@given(
    st.lists(st.tuples(st.floats(60, 460), st.floats(20, 250), st.integers(1, 30)), max_size=25)
)
def test_labels_cover_neither_each_other_nor_a_point_nor_the_axes(cases: Any) -> None:
    points = [(x, y) for x, y, _ in cases]
    labels = place_labels(["n" * k for _, _, k in cases], points, [], 52)
    boxes = [label.box for label in labels if label is not None]
    for k, box in enumerate(boxes):
        assert not any(box.meets(other) for other in boxes[k + 1 :])
        assert not any(box.meets(Box(x - 5, y - 5, x + 5, y + 5)) for x, y in points)
        assert box.left >= 52
        assert box.right <= 480
        assert 0 <= box.top < box.bottom <= 256
    if len(cases) == 1:
        assert len(boxes) == 1


def test_a_name_without_room_is_listed_below_whole() -> None:
    name = "a name of more than twenty-four characters"
    points = [ScatterPoint(f"{name} {k}", 1, 2) for k in range(12)]
    page = scatter([*points, ScatterPoint("apart", 2, 3)]).to_html()
    n_drawn = page.count('<text class="name"')
    (note,) = re.findall(r"Not named in the figure for want of room. (.*?)\.</p>", page)
    assert n_drawn + len(note.split("; ")) == 13
    assert all(re.fullmatch(rf"{name} \d+: 1.000, 2.000", entry) for entry in note.split("; "))
    assert ">apart</text>" in page
    assert ">a name of more than t…</text>" in page


@given(st.floats(1e-12, 1e12), st.floats(1, 1e12))
def test_log_ticks_are_round_and_span_what_is_drawn(low: float, ratio: float) -> None:
    found = choose_log_ticks(low, low * ratio)
    assert found == sorted(set(found))
    assert found[0] <= low * (1 + 1e-9)
    assert found[-1] >= low * ratio * (1 - 1e-9)
    assert 2 <= len(found) <= 13
    assert all(f"{tick:e}"[:8] in ("1.000000", "2.000000", "5.000000") for tick in found)


def test_ticks_of_a_learning_curve_are_the_measured_sizes_at_equal_ratios() -> None:
    sizes = (1, 2, 4, 8, 16)
    curve = FewLabelCurve(sizes, {"probe": np.linspace(0.5, 0.9, 15).reshape(5, 3)})
    report = Report("x").add_curve(curve.n_per_class, curve.mean, curve.intervals, log_x=True,
                                   x_label="labels per class", y_label=curve.scoring)  # fmt: skip
    marks = scale(report.to_html(), "x")
    assert [value for value, _ in marks] == list(sizes)
    steps = np.diff([at for _, at in marks])
    np.testing.assert_allclose(steps, steps.mean(), atol=0.2)
    np.testing.assert_allclose(circles(report.to_html())[:, 0], [at for _, at in marks])
    assert report.to_dict()["sections"][0]["log_x"] is True


@pytest.mark.parametrize("log_x", [False, True])
def test_texts_of_ticks_neither_run_together_nor_over_the_edge(log_x: bool) -> None:
    """Would catch "1000" cut at the right edge and "0.975" under the label of the axis."""
    x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 995, 1000, 123456]
    y = np.linspace(0.9, 0.975, len(x))
    page = Report("x").add_curve(x, {"a": y}, x_label="x", y_label="y", log_x=log_x).to_html()
    marks = scale(page, "x")
    ends = [(at - 4 * len(f"{v:g}"), at + 4 * len(f"{v:g}")) for v, at in marks]
    assert all(a[1] < b[0] for a, b in pairwise(ends))
    assert ends[-1][1] <= 480
    (left,) = {float(v) for v in re.findall(r'<line class="axis" x1="([\d.]+)"', page)}
    widest = max(len(f"{v:g}") for v, _ in scale(page, "y"))
    assert left - 8 - 7.5 * widest >= 20  # the label ends at 19


def test_an_axis_of_one_value_has_it_in_the_middle() -> None:
    axes = Axes(Axis(3.0, 3.0, (3.0,)), make_axis([0.5], name="y"))
    assert axes.x.share(3) == 0.5
    assert 0.2 < axes.y.share(0.5) < 0.8
    for value in (0.0, -7.0, 1e9):
        axis = make_axis([value], name="y")
        assert axis.low <= value < axis.high


def test_precision_lies_over_recall_and_the_json_has_every_point() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(5000) < 0.3).astype(float)
    precision, recall, _ = precision_recall_curve(truth, truth + rng.normal(size=5000))
    thin = precision_recall_points(truth, rng.normal(size=5000))
    report = Report("x").add_precision_recall(
        {"good": (recall, precision), "chance": thin}, ap={"good": 0.61234}
    )
    page, section = report.to_html(), report.to_dict()["sections"][0]
    assert section["curves"][0] == {
        "name": "good", "recall": recall.tolist(), "precision": precision.tolist(), "ap": 0.61234,
    }  # fmt: skip
    assert section["curves"][1]["ap"] is None
    lines = [np.array([pair.split(",") for pair in points.split()], dtype=float)
             for points in re.findall(r'<polyline points="([^"]+)"', page)]  # fmt: skip
    assert [len(line) for line in lines] == [400, len(thin[0])]
    x_line = np.polyfit(*zip(*scale(page, "x"), strict=True), 1)
    y_line = np.polyfit(*zip(*scale(page, "y"), strict=True), 1)
    np.testing.assert_allclose(lines[1][:, 0], np.polyval(x_line, thin[0]), atol=0.3)
    np.testing.assert_allclose(lines[1][:, 1], np.polyval(y_line, thin[1]) - 4, atol=0.3)
    assert [v for v, _ in scale(page, "y")] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ">good 0.612</text>" in page
    assert ">chance</text>" in page
    tips = re.findall(r"<title>good: precision ([\d.]+) at recall ([\d.]+)</title>", page)
    assert len(tips) == 21
    known = {(round(p, 3), round(r, 3)) for p, r in zip(precision, recall, strict=True)}
    assert {(float(p), float(r)) for p, r in tips} <= known


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: scatter([]), r"points: got none"),
        (lambda: scatter([("a", 1, 2)]), r"points: got tuple, expected ScatterPoint"),
        (lambda: scatter([ScatterPoint("a", 1, math.nan)]), r"points: value nan at \(0, 1\)"),
        (lambda: scatter([ScatterPoint("a", 1, 2, low=1)]), r"point 'a': interval is \(1, None\)"),
        (lambda: scatter([ScatterPoint("a", 1, 2, 3, 1)]), r"point 'a': interval is \(3, 1\)"),
        (
            lambda: scatter([ScatterPoint("a", 1, 2, 1, math.inf)]),
            r"point 'a': interval is \(1, inf\), expected",
        ),
        (
            lambda: scatter([ScatterPoint("a", 0, 2)], log_x=True),
            r"points, x: found 0, expected values above 0 on a log axis",
        ),
        (
            lambda: Report("x").add_curve([0, 1], {"a": [1, 2]}, x_label="", y_label="",
                                          log_x=True),
            r"x: found 0, expected values above 0",
        ),
        (lambda: Report("x").add_precision_recall({}), r"curves: got none"),
        (
            lambda: Report("x").add_precision_recall({"a": ([0], [1])}, ap={"b": 1}),
            r"ap: got 'b', expected 'a'",
        ),
        (
            lambda: Report("x").add_precision_recall({"a": ([0], [1], [2])}),
            r"curves\['a'\]: got 3 arrays, expected \(recall, precision\)",
        ),
        (
            lambda: Report("x").add_precision_recall({"a": ([], [])}),
            r"curves\['a'\]: got no points",
        ),
        (
            lambda: Report("x").add_precision_recall({"a": ([0, 1], [1])}),
            r"precision of curves\['a'\]: got shape \(1,\)",
        ),
        (
            lambda: Report("x").add_precision_recall({"a": ([0, 1], [1, 1.5])}),
            r"curves\['a'\]: precision from 1 to 1.5, expected 0 to 1",
        ),
        (
            lambda: Report("x").add_precision_recall({"a": ([1, 0.5, 0.7], [0, 0.5, 1])}),
            r"curves\['a'\]: recall rises and falls.*precision may have been given first",
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_value(call: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        call()


def test_numbers_of_numpy_are_plain_in_the_json() -> None:
    points = [ScatterPoint("a", np.float32(1), np.int64(2), np.float64(1), np.float64(3))]
    report = scatter(points).add_precision_recall(
        {"a": (np.float32([0, 1]), [1, 0])}, ap={"a": np.float32(0.5)}
    )
    scattered, curves = json.loads(json.dumps(report.to_dict()))["sections"]
    assert scattered["points"][0]["high"] == 3
    assert curves["curves"][0]["ap"] == 0.5
