"""Pages of the tasks: what stands in them, nothing hostile, nothing from outside."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from featx.evaluation import FewLabelCurve
from featx.report import Report
from featx.tasks import comparison_report
from featx.tasks.classifier import Predictions
from featx.tasks.comparison import Comparison, ComparisonRow, Figure
from pipelines.protocols import Rankings, TaskResult, curve_report, task_report

VOID = {"meta", "img", "br", "hr", "link", "input"}
HOSTILE = (
    "<script>alert('a')</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><object data=x>&amp;</object>",
    "{{ 7 * 7 }} http://evil.example/x.png",
)
NONE = np.empty((0, 2), np.float32)  # features: none, so no map of them
ACTIVE = {"iframe", "object", "embed", "link", "base"}
ADDRESSES = {"href", "xlink:href", "src", "srcset", "action", "formaction", "poster", "data"}


class Page(HTMLParser):
    """Headings, all text, and every element with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.headings: list[str] = []
        self.text, self.style = "", ""
        self.open: list[str] = []
        self.feed(page.replace("<wbr>", ""))  # where the names of files may break
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("h1", "h2"):
            self.headings.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if {"h1", "h2"} & set(self.open):
            self.headings[-1] += data


def saved(report: Report, folder: Path) -> tuple[Page, dict]:
    """Save the page, check that it is closed to the outside, and return it with its JSON."""
    path = report.save(folder / "page.html")
    page = Page(path.read_text())
    for tag, attrs in page.elements:
        assert tag not in ACTIVE
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ADDRESSES:
                assert value.startswith(("#", "data:image/"))
            if name == "style":
                assert "url(" not in value
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert [tag for tag, _ in page.elements].count("script") == 1
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    return page, json.loads(report.save(folder / "page.json").read_text())


def titles(found: dict) -> list[str]:
    return [section["title"] for section in found["sections"]]


def pictures(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    paths = []
    for i, name in enumerate(names):
        path = folder / name.replace("/", "_")
        Image.new("RGB", (40, 30), (50 + 9 * i, 80, 120)).save(path, "PNG")
        paths.append(str(path))
    return tuple(paths)


def classes(paths: tuple[str, ...], names: tuple[str, ...] = HOSTILE, n: int = 12) -> Predictions:
    """Of every fifth image another class is predicted."""
    true = np.arange(n) % len(names)
    predicted = np.where(np.arange(n) % 5 == 1, (true + 1) % len(names), true)
    scores = np.full((n, len(names)), 0.1)
    scores[np.arange(n), predicted] = np.linspace(0.5, 0.9, n)
    known = np.array(names)
    return Predictions(paths, known[true], known[predicted], scores, names, NONE)


def outcome(details, *, task="fine_grained", value=0.75, preset="plain", **changes) -> TaskResult:
    fields = {
        "task": task,
        "dataset": HOSTILE[0],
        "preset": preset,
        "backbone": HOSTILE[1],
        "protocol": HOSTILE[2],
        "figures": {"accuracy": Figure(value, value - 0.1, value + 0.1), "map": Figure(0.5)},
        "fingerprints": ("0123abcd",),
        "counts": {"train": 4, "test": 12, "failed": 1, "leaks": 0},
        "costs": {"images_per_second": 12.5, "fit_seconds": 0.25},
        "splits": ({"train": [0], "test": [1]},),
        "details": details,
    }
    return TaskResult(**{**fields, **changes})


@pytest.fixture
def shown(tmp_path) -> tuple[str, ...]:
    return pictures(tmp_path, [f"{i}{HOSTILE[i % 4]}.png" for i in range(12)])


def test_a_page_of_classes_has_figures_confusions_and_mistakes(shown, tmp_path) -> None:
    page, found = saved(
        task_report([outcome(classes(shown))], command=f"run {HOSTILE[3]}"), tmp_path
    )
    assert page.headings[0] == f"{HOSTILE[0]}: fine grained"
    assert f"{HOSTILE[1]}, plain" in titles(found)
    for heading in ("Accuracy by class", "Most confident mistakes", "Versions and settings"):
        assert heading in page.headings
    for text in (*HOSTILE, "0.750", "0123abcd", "images that could not be read"):
        assert text in page.text
    assert [s["kind"] for s in found["sections"]].count("confusion") == 1
    # Every fifth of twelve was wrong: the second, seventh and twelfth. All twelve are in cells.
    assert sum(tag == "img" for tag, _ in page.elements) == 3 + 12


def test_the_surest_mistake_comes_first(shown) -> None:
    details = classes(shown)
    found = task_report([outcome(details)]).to_dict()
    (section,) = [s for s in found["sections"] if s["title"] == "Most confident mistakes"]
    sureness = [m["score"] for m in section["mistakes"]]
    assert sureness == sorted(sureness, reverse=True)
    wrong = np.array([1, 6, 11])
    assert sureness == pytest.approx(details.scores.max(axis=1)[wrong][::-1].tolist())


def test_bars_hold_the_share_of_each_class_told_right_from_low_to_high(shown) -> None:
    details = classes(shown)
    found = task_report([outcome(details)]).to_dict()
    (section,) = [s for s in found["sections"] if s["title"] == "Accuracy by class"]
    expected = {n: np.mean(details.y_pred[details.y_true == n] == n) for n in HOSTILE}
    assert {bar["name"]: bar["value"] for bar in section["bars"]} == pytest.approx(expected)
    values = [bar["value"] for bar in section["bars"]]
    assert values == sorted(values)
    assert len(set(values)) > 1


def test_test_images_are_laid_out_by_their_features(shown, tmp_path) -> None:
    details = classes(shown)
    rng = np.random.RandomState(0)
    spots = np.eye(4)[np.arange(12) % 4] * 9 + rng.rand(12, 4) * 0.01
    near = dataclasses.replace(details, vectors=spots.astype(np.float32))
    _, found = saved(task_report([outcome(near)]), tmp_path)
    (section,) = [s for s in found["sections"] if s["title"].startswith("Map of the test images")]
    points = np.array(section["points"])
    labels = np.array(section["labels"])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert labels.tolist() == details.y_true.tolist()
    assert (labels[apart.argmin(axis=1)] == labels).all()


def test_without_a_mistake_there_is_no_gallery_of_mistakes(shown) -> None:
    details = classes(shown)
    right = dataclasses.replace(details, y_pred=details.y_true)
    assert "Most confident mistakes" not in titles(task_report([outcome(right)]).to_dict())


def test_of_very_many_classes_the_hardest_forty_are_shown(shown) -> None:
    names = tuple(f"class {i:02}" for i in range(60))
    details = classes(tuple(shown[i % 12] for i in range(120)), names, n=120)
    found = titles(task_report([outcome(details)]).to_dict())
    assert "Accuracy of the 40 hardest classes" in found


def test_several_results_stand_side_by_side_and_the_best_is_shown(shown, tmp_path) -> None:
    results = [
        outcome(classes(shown), value=0.5, preset="plain", fingerprints=("aaaa",)),
        outcome(
            classes(shown), value=0.9, preset="best", fingerprints=("bbbb",),
            costs={"images_per_second": None, "fit_seconds": 1.0},
        ),
    ]  # fmt: skip
    page, found = saved(task_report(results), tmp_path)
    assert "All results" in page.headings
    assert f"{HOSTILE[1]}, best" in page.headings
    assert "aaaa, bbbb" in page.text
    (table,) = [s for s in found["sections"] if s["title"] == "All results"]
    assert "Images per second is empty where the features existed already" in page.text
    assert len(table["rows"]) == 2
    assert table["rows"][0][1:3] == ["plain", 0.5]


def test_a_result_without_intervals_still_makes_bars(shown) -> None:
    figures = {"accuracy": Figure(0.5)}
    results = [outcome(classes(shown), figures=figures, preset=p) for p in ("plain", "best")]
    assert "Accuracy" in titles(task_report(results).to_dict())


@pytest.mark.parametrize("task", ["attributes", "classification"])
def test_a_page_of_attributes_shows_average_precision_and_curves(shown, tmp_path, task) -> None:
    rng = np.random.RandomState(0)
    truth = (rng.rand(12, 4) < 0.5).astype(float)
    truth[:2] = [[0] * 4, [1] * 4]
    truth[5, :3] = np.nan
    truth[:, 3] = np.where(np.arange(12) < 6, np.nan, 0)  # without a yes: no value, no curve
    scores = rng.rand(12, 4)
    details = Predictions(shown, truth, (scores > 0.5).astype(float), scores, HOSTILE, NONE)
    page, found = saved(task_report([outcome(details, task=task)]), tmp_path)
    assert "Average precision by attribute" in page.headings
    assert "Precision and recall, easy to hard" in page.headings
    (section,) = [s for s in found["sections"] if s["title"] == "Average precision by attribute"]
    values = []
    for column in range(3):
        known = ~np.isnan(truth[:, column])
        values.append(average_precision_score(truth[known, column], scores[known, column]))
    order = np.argsort(values)[::-1]
    assert [bar["name"] for bar in section["bars"]] == [HOSTILE[i] for i in order]
    assert [bar["value"] for bar in section["bars"]] == pytest.approx(sorted(values)[::-1])
    for name in HOSTILE[:3]:
        assert name in page.text


def test_labels_of_a_set_that_is_also_one_of_attributes_make_a_page_of_classes(shown) -> None:
    found = titles(task_report([outcome(classes(shown), task="attributes")]).to_dict())
    assert "Accuracy by class" in found


def test_a_page_of_rankings_goes_from_the_worst_query_to_the_best(shown, tmp_path) -> None:
    precisions = np.array([0.9, 0.1, 0.5])
    details = Rankings(
        queries=shown[:3],
        database=shown[3:],
        indices=np.array([[0, 1], [2, 3], [4, 5]]),
        distances=np.array([[0.1, 0.2]] * 3, dtype=np.float32),
        is_right=np.array([[True, False]] * 3),
        average_precision=precisions,
    )
    page, _ = saved(task_report([outcome(details, task="retrieval")]), tmp_path)
    assert "Queries, lowest average precision first" in page.headings
    places = [page.text.index(f"average precision {value:.2f}") for value in sorted(precisions)]
    assert places == sorted(places)
    assert sum(tag == "img" for tag, _ in page.elements) == 3 + 6


def test_the_page_of_a_comparison_has_a_plot_a_table_and_what_nothing_beats(tmp_path) -> None:
    rows = tuple(
        ComparisonRow(
            HOSTILE[i], "penultimate", "none", 64, Figure(0.9 - i / 10, 0.5, 0.95), rate,
            (rate, rate), 1.0, f"f{i}", is_on_frontier=best,
        )
        for i, (rate, best) in enumerate([(10.0, True), (5.0, False), (80.0, True)])
    )  # fmt: skip
    found = Comparison(rows, n_images=30, n_classes=3, n_folds=5, n_failed=2, answer=HOSTILE[3])
    page, numbers = saved(comparison_report(found, command="featx compare"), tmp_path)
    assert page.headings[0] == "Comparison of networks"
    assert page.headings[1:] == [
        "Which to choose", "Accuracy against speed", "All results",
        "Versions and settings",
    ]  # fmt: skip
    assert HOSTILE[3] in page.text
    assert "30 images of 3 classes, 5 folds" in page.text
    assert "f0, f1, f2" in page.text
    assert "featx compare" in page.text
    for name in HOSTILE[:3]:
        assert name in page.text
    scatter, table = numbers["sections"][1:3]
    # The plot finds the frontier by itself.
    assert [p["is_on_frontier"] for p in scatter["points"]] == [True, False, True]
    assert [row[-1] for row in table["rows"]] == ["yes", "", "yes"]


def test_the_page_of_a_curve_has_plot_table_and_what_more_would_buy(tmp_path) -> None:
    scores = np.array([[0.25, 0.5], [0.5, 0.75], [0.75, 1.0]])
    curve = FewLabelCurve((1, 2, 5), {HOSTILE[0]: scores, "svm": scores / 2})
    page, found = saved(
        curve_report(curve, title=HOSTILE[1], notes=[HOSTILE[2], "svm: 0.9"], command=HOSTILE[3]),
        tmp_path,
    )
    assert page.headings == [
        HOSTILE[1], "Score by labels per class", "Mean over draws", "What more labels would give",
        "Versions and settings",
    ]  # fmt: skip
    for text in HOSTILE:
        assert text in page.text
    (table,) = [s for s in found["sections"] if s["title"] == "Mean over draws"]
    assert table["rows"] == [[1, 0.375, 0.1875], [2, 0.625, 0.3125], [5, 0.875, 0.4375]]


def test_a_curve_of_a_single_draw_has_no_interval_and_without_notes_no_estimate() -> None:
    curve = FewLabelCurve((1, 2), {"svm": np.array([[0.25], [0.5]])})
    found = curve_report(curve, title="few").to_dict()
    assert titles(found) == [
        "Score by labels per class",
        "Mean over draws",
        "Versions and settings",
    ]
