"""Every kind of page that is written or served beside the search: looked at, and used by keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _browser import (
    needs_browser,
    serve_on_thread,
    show_in,
    size,
    start_browser,
    until,
    violations,
)
from PIL import Image

from featx import LabelSession
from featx.auditing.result import KINDS, PAIRS, Audit, Finding
from featx.mapping import draw_map
from featx.report import (
    Card,
    GalleryMatch,
    GalleryRow,
    Mistake,
    PictureMap,
    Report,
    ScatterPoint,
)
from featx.serve import ServeOptions, create_label_app
from featx.store import write_features

CLASSES = ("apple", "pear", "a plum with a long name")
LOOKS = ((1280, "light"), (390, "dark"), (390, "light"), (1280, "dark"))

pytestmark = [pytest.mark.slow, needs_browser]

SMALL_TEXTS = """
const found = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const text = walk.currentNode, parent = text.parentElement;
  if (!text.textContent.trim() || !parent.getClientRects().length) continue;
  if (parent.closest(".unseen, script, template, noscript")) continue;
  const svg = parent.closest("svg"), scale = svg?.viewBox.baseVal.width
    ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  if (parseFloat(getComputedStyle(parent).fontSize) * scale < 11.95) found.add(text.textContent);
}
return [...found];
"""


def make_report(paths: list[str], labels: list[str]) -> Report:
    """Return a report with every kind of section, in which every fourth label is wrong."""
    predicted = [CLASSES[(k + (k % 4 == 1)) % 3] for k in range(len(paths))]
    x, y = [1, 2, 5, 10], np.array([0.5, 0.7, 0.8, 0.9])
    steps = np.linspace(0, 1, 9)
    over = PictureMap("pear", np.eye(3))
    return (
        Report("Every kind of section", subtitle="28 images")
        .add_scores({"accuracy": 0.75}, intervals={"accuracy": (0.6, 0.9)}, title="Scores")
        .add_confusion_matrix(labels, predicted, CLASSES, paths=paths)
        .add_confusion_matrix([f"c{k % 45}" for k in range(90)], [f"c{k // 2}" for k in range(90)])
        .add_table(
            [["b", 9.5, None], ["a", 10.25, 1.0], ["c", -1.0, 2.0]],
            ["name", "value", "a column with a long heading"],
            title="Table",
        )
        .add_bars(["apple", "pear"], [0.5, 0.9], [(0.4, 0.6), (0.8, 1.0)], title="Bars")
        .add_curve(x, {"network": y, "pixels": y / 2}, {"network": np.stack([y - 0.1, y], 1)},
                   x_label="labels per class", y_label="accuracy", log_x=True, title="Curve")
        .add_scatter([ScatterPoint("small", 400, 0.9, 0.8, 0.95, "a"), ScatterPoint("big", 9, 1)],
                     x_label="images per second", y_label="accuracy", log_x=True, frontier=True)
        .add_precision_recall({"furry": (steps, 1 - steps**2)}, ap={"furry": 0.7})
        .add_cards([Card(paths[0], ("a line",), paths[1]), Card("gone.png")], title="Cards")
        .add_gallery([GalleryRow(paths[0], (GalleryMatch(paths[1], 0.1, True),), "query")])
        .add_mistakes([Mistake(paths[2], "pear", "apple", 0.9, (over, over))], title="Mistakes")
        .add_embedding_map(np.random.default_rng(0).normal(size=(28, 2)), labels, title="Map")
        .add_key_values({"command": "featx evaluate model.joblib features.h5 --html page.html"})
    )  # fmt: skip


def make_audit(paths: list[str]) -> Audit:
    """Return an audit with a finding of every kind."""
    findings = [
        Finding(paths[k], kind, 0.9, "apple", paths[k + 1] if kind in PAIRS else "pear")
        for k, kind in enumerate(KINDS)
    ]
    return Audit(tuple(findings), len(paths), len(paths), 1, (0, 3), notes=("No words.",))


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """The address of each page, over the same 28 pictures."""
    root = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    labels = [CLASSES[k % 3] for k in range(28)]
    paths = [str(root / f"{k:02} {label}.png") for k, label in enumerate(labels)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    X = np.eye(3, 20)[np.arange(28) % 3] * 5 + rng.normal(size=(28, 20))
    write_features(root / "f.h5", X.astype(np.float32), paths=paths, labels=labels)
    draw_map(root / "f.h5", root / "map.html", workers=0)
    report = make_report(paths, labels).save(root / "report.html")
    audit = make_audit(paths).to_report().save(root / "audit.html")
    session = LabelSession(root / "f.h5", root / "labels.csv", classes=CLASSES)
    options = ServeOptions(port=0, rate=0)
    served = serve_on_thread(
        create_label_app(session, options, out=str(root / "m.joblib")), options
    )
    return {
        "report": report.as_uri(),
        "audit": audit.as_uri(),
        "map": Path(root / "map.html").as_uri(),
        "label": served,
    }


@pytest.fixture(scope="module")
def driver():
    driver = start_browser()
    yield driver
    driver.quit()


def look(driver, width: int, scheme: str) -> None:
    size(driver, width, 844)
    show_in(driver, scheme)


@pytest.mark.parametrize("name", ["report", "audit", "map", "label"])
def test_a_page_keeps_nobody_out_and_cuts_nothing_off(driver, pages, name) -> None:
    driver.get(pages[name])
    if name == "label":
        until(driver, "return document.querySelectorAll('.card img[src]').length > 3")
    for width, scheme in LOOKS:
        look(driver, width, scheme)
        if (width, scheme) in LOOKS[:2]:  # the other two have the same colours and the same parts
            assert violations(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert driver.execute_script(SMALL_TEXTS) == []


def test_the_strip_of_a_phone_covers_no_framed_picture(driver, pages) -> None:
    """On a phone the classes stand at the bottom, over the pictures."""
    look(driver, 390, "light")
    driver.get("about:blank")
    driver.get(pages["label"])
    until(driver, "return document.querySelectorAll('.card img[src]').length > 3")
    covered = (
        "return document.querySelector('.card[aria-current=true]').getBoundingClientRect().bottom"
        " > document.getElementById('strip').getBoundingClientRect().top"
    )
    for _ in range(6):
        driver.switch_to.active_element.send_keys("\ue015")  # down
        assert not driver.execute_script(covered)


@pytest.fixture
def report(driver, pages):
    look(driver, 1280, "light")
    driver.get("about:blank")
    driver.get(pages["report"])
    driver.get_log("browser")
    yield driver
    assert [e for e in driver.get_log("browser") if e["level"] == "SEVERE"] == []


def press(driver, selector: str, key: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).focus()", selector)
    driver.switch_to.active_element.send_keys(key)


def text(driver, selector: str) -> str:
    return driver.execute_script(f"return document.querySelector({selector!r}).textContent")


def test_arrow_keys_tell_the_values_of_a_curve(report) -> None:
    told = []
    for key in ("\ue014", "\ue014", "\ue012", "\ue012"):  # right, right, left, left
        press(report, ".curve svg", key)
        told.append(text(report, ".curve .hint-box"))
    assert told[:3] == ["network at 1: 0.500", "network at 2: 0.700", "network at 1: 0.500"]
    assert told[3] == "pixels at 10: 0.450"
    press(report, ".curve svg", "\ue00c")  # Escape
    assert report.execute_script("return document.querySelector('.curve .hint-box').hidden")


def test_a_table_is_sorted_by_number_and_name(report) -> None:
    column = (
        "return [...document.querySelectorAll('.table tbody tr')].map(r => r.cells[0].textContent)"
    )
    assert report.execute_script(column) == ["b", "a", "c"]
    press(report, ".table th:nth-child(2) button", "\ue007")
    assert report.execute_script(column) == ["a", "b", "c"]  # 10.25 before 9.5: not as text
    press(report, ".table th:nth-child(2) button", "\ue007")
    assert report.execute_script(column) == ["c", "b", "a"]
    sorted_by = "return [...document.querySelectorAll('.table th')].map(h => h.ariaSort)"
    assert report.execute_script(sorted_by) == [None, "ascending", None]
    press(report, ".table th:nth-child(3) button", "\ue007")
    assert report.execute_script(column)[-1] == "b"  # without a value
    press(report, ".table th button", "\ue007")
    assert report.execute_script(column) == ["a", "b", "c"]


def test_a_cell_of_the_confusions_shows_its_pictures(report) -> None:
    seen = (
        "return [...document.querySelectorAll('.confusion .cell')].filter(c => c.offsetParent)"
        ".map(c => c.querySelector('b').textContent)"
    )
    assert report.execute_script(seen) == []
    press(report, ".confusion .wrong a", "\ue007")
    assert report.execute_script(seen) == ["apple predicted as pear"]
    names = "return [...document.querySelectorAll(':target img')].map(i => i.title)"
    found = report.execute_script(names)
    assert len(found) == int(text(report, ".confusion .wrong a"))
    assert all(name.endswith("apple.png") for name in found)
    press(report, ":target a", "\ue007")
    assert report.execute_script(seen) == []


def test_a_picture_opens_large_with_its_path_and_escape_closes_it(report) -> None:
    press(report, ".pictures .open", "\ue007")
    assert report.execute_script("return document.getElementById('large').open")
    assert text(report, "#large b").endswith("/00 apple.png")
    assert text(report, "#large p span") == "a line"
    report.switch_to.active_element.send_keys("\ue014")  # right
    assert text(report, "#large b").endswith("/01 pear.png")
    inside = (  # no part of it is cut off
        "const [i, f] = ['#large img', '#large .frame'].map(s =>"
        " document.querySelector(s).getBoundingClientRect());"
        "return [i.width > 400, i.top >= f.top, i.bottom <= f.bottom]"
    )
    assert report.execute_script(inside) == [True, True, True]
    report.switch_to.active_element.send_keys("\ue00c")  # Escape
    assert not report.execute_script("return document.getElementById('large').open")
    assert report.execute_script("return document.activeElement.className") == "open"


def test_a_map_zooms_by_button_and_key_and_its_points_stay_small(report) -> None:
    box = "return document.querySelector('svg.map').viewBox.baseVal.width"
    radius = "return document.querySelector('svg.map circle').getBoundingClientRect().width"
    whole, drawn = report.execute_script(box), report.execute_script(radius)
    press(report, ".zoom-bar button", "\ue007")
    assert report.execute_script(box) == pytest.approx(whole / 1.6)
    assert report.execute_script(radius) == pytest.approx(drawn, rel=0.02)
    press(report, "svg.map", "+")
    assert report.execute_script(box) == pytest.approx(whole / 1.6**2)
    press(report, "svg.map", "0")
    assert report.execute_script(box) == whole


def test_a_report_is_whole_without_its_script(report, pages) -> None:
    report.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        report.get(pages["report"] + "#s2-0-1")
        shown = report.find_elements("css selector", ".cell:target img")
        assert shown
        assert all(image.is_displayed() for image in shown)
        assert report.find_element("css selector", ".table th").text == "name"
    finally:
        report.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
