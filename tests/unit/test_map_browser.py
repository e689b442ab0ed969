"""The map in a real browser: move, draw around, label, export, keys, a phone."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.cli.main import main
from featx.files.kinds import kind_of
from featx.mapping import draw_map
from featx.mapping import drawing as drawing_module
from featx.store import write_features

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")
N, CLASSES = 90, ("apple", "pear", "plum")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason="needs a browser and its driver: apt-get install -y chromium chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three kinds of picture, thirty of each."""
    root = tmp_path_factory.mktemp("map")
    (root / "photos").mkdir()
    rng = np.random.default_rng(0)
    paths, labels = [], []
    for i in range(N):
        labels.append(CLASSES[i % 3])
        paths.append(str(root / "photos" / f"{labels[-1]} {i:02}, ripe.png"))
        Image.new("RGB", (300, 200), [(200, 30, 30), (60, 180, 60), (90, 40, 160)][i % 3]).save(
            paths[-1]
        )
    X = np.eye(3, 20)[np.arange(N) % 3] * 5 + rng.normal(size=(N, 20)) * 0.5
    write_features(root / "f.h5", X, paths=paths, labels=labels)
    draw_map(root / "f.h5", root / "map.html", workers=0)
    return root


@pytest.fixture(scope="module")
def driver(folder):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    (folder / "saved").mkdir()
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "saved")})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, folder):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False},
    )
    driver.get((folder / "map.html").as_uri())
    wait_for(lambda: state(driver)["nDrawn"])
    yield driver
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def wait_for(test, seconds: float = 30):
    end = time.monotonic() + seconds
    while not (found := test()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def state(driver) -> dict:
    return driver.execute_script("featxMap.frame(); return featxMap.state()")


def at(driver, row: int) -> tuple[float, float]:
    return tuple(driver.execute_script("return featxMap.at(arguments[0])", row))


def text(driver, name: str) -> str:
    return driver.find_element("id", name).text


def press(driver, name: str) -> None:
    driver.find_element("id", name).click()


def keys(driver, *words: str) -> None:
    driver.find_element("id", "plane").send_keys(*words)


def draw_around(driver, rows: list[int]) -> None:
    """Drag around the box that some points lie in."""
    from selenium.webdriver.common.action_chains import ActionChains

    plane = driver.find_element("id", "plane")
    points = np.array([at(driver, row) for row in rows])
    (left, top), (right, bottom) = points.min(axis=0) - 6, points.max(axis=0) + 6
    size = np.array([plane.size["width"], plane.size["height"]]) / 2
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    moves = [tuple(map(int, np.array(corner) - size)) for corner in corners]
    chain = ActionChains(driver, duration=20).move_to_element_with_offset(plane, *moves[0])
    chain.click_and_hold()
    for move in moves[1:]:
        chain.move_to_element_with_offset(plane, *move)
    chain.release().perform()


def saved(folder: Path, name: str) -> list[list[str]]:
    file = folder / "saved" / name
    wait_for(lambda: file.exists() and file.stat().st_size)
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines))
    file.unlink()
    return rows


def of_class(name: str) -> list[int]:
    return [i for i in range(N) if CLASSES[i % 3] == name]


def test_the_wheel_zooms_and_a_drag_moves(page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    plane = page.find_element("id", "plane")
    before = state(page)
    page.execute_script(
        "arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: -300, clientX: 400, "
        "clientY: 400, bubbles: true, cancelable: true}))", plane
    )  # fmt: skip
    assert state(page)["k"] > before["k"] * 1.3
    one = at(page, 0)
    ActionChains(page).move_to_element(plane).click_and_hold().move_by_offset(
        50, -30
    ).release().perform()
    np.testing.assert_allclose(np.subtract(at(page, 0), one), (50, -30), atol=1.5)
    press(page, "whole")
    wait_for(lambda: state(page)["k"] == 1)


def test_what_is_drawn_around_is_selected_labelled_and_saved(page, folder) -> None:
    press(page, "select")
    draw_around(page, of_class("pear"))
    assert text(page, "selected") == "30 selected"
    page.find_element("id", "label").send_keys("fruit, green")
    press(page, "give")
    assert text(page, "labels") == "Save 30 labels (CSV)"
    press(page, "labels")
    rows = saved(folder, "labels.csv")
    paths = {str(folder / "photos" / f"pear {i:02}, ripe.png") for i in of_class("pear")}
    assert rows[0] == ["path", "label"]
    assert {path for path, _ in rows[1:]} == paths
    assert {label for _, label in rows[1:]} == {"fruit, green"}
    # and a command takes it
    table = folder / "given.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    words = ["map", str(folder / "f.h5"), "--html", str(folder / "given.html"), "--quiet"]
    assert main([*words, "--labels", str(table)]) == 0
    assert kind_of(folder / "given.html")[0] == "map"


def test_a_selection_is_shown_alone_and_its_paths_saved(page, folder) -> None:
    press(page, "select")
    draw_around(page, of_class("plum"))
    press(page, "keep")
    assert text(page, "count") == "30 of 90 images shown"
    press(page, "clear")
    press(page, "paths")
    assert len(saved(folder, "paths.csv")) == 31
    press(page, "all")
    assert text(page, "count") == "90 images"


def test_words_and_labels_filter(page) -> None:
    page.find_element("id", "search").send_keys("APPLE 0")
    wait_for(lambda: text(page, "count") == "4 of 90 images shown")  # 00, 03, 06, 09
    press(page, "all")
    boxes = page.find_elements("css selector", "#classes input")
    boxes[0].click()
    assert text(page, "count") == "60 of 90 images shown"
    press(page, "none")
    assert text(page, "count") == "0 of 90 images shown"
    press(page, "every")
    assert text(page, "count") == "90 images"


def test_keys_do_what_the_mouse_does(page) -> None:
    from selenium.webdriver.common.keys import Keys

    one = at(page, 0)
    keys(page, Keys.ARROW_RIGHT)
    assert at(page, 0)[0] == pytest.approx(one[0] - 60, abs=1)
    keys(page, "0")
    wait_for(lambda: state(page)["x"] == 0)
    keys(page, "+", "+")
    assert state(page)["k"] == pytest.approx(2.25)
    keys(page, "0", "n", "n", " ")
    assert state(page)["nChosen"] == 1
    keys(page, "v")
    assert state(page)["nChosen"] == N
    keys(page, Keys.ESCAPE)
    assert state(page)["nChosen"] == 0
    keys(page, "n", Keys.ENTER)
    image = wait_for(lambda: page.find_elements("css selector", "#picture img"))[0]
    assert image.get_property("naturalWidth") == 300  # the file itself
    first = page.find_element("css selector", "dialog p span").text
    page.find_element("id", "after").click()
    assert page.find_element("css selector", "dialog p span").text != first
    page.find_element("id", "large").send_keys(Keys.ESCAPE)
    wait_for(lambda: not page.find_element("id", "large").is_displayed())


def test_a_click_opens_the_picture_under_it(page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    plane = page.find_element("id", "plane")
    x, y = at(page, 40)
    offset = int(x - plane.size["width"] / 2), int(y - plane.size["height"] / 2)
    ActionChains(page).move_to_element_with_offset(plane, *offset).perform()
    assert page.find_element("css selector", "#hint b").text == CLASSES[40 % 3]
    ActionChains(page).click().perform()
    assert CLASSES[40 % 3] in page.find_element("css selector", "dialog p").text


def test_a_phone_pinches_and_cuts_nothing_off(page, folder) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    page.execute_cdp_cmd(
        "Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2}
    )
    try:
        page.get((folder / "map.html").as_uri())
        wait_for(lambda: state(page)["nDrawn"])
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        before = state(page)["k"]
        for kind, apart in (
            ("touchStart", 40),
            ("touchMove", 60),
            ("touchMove", 90),
            ("touchEnd", 0),
        ):
            points = [{"x": 195 - apart, "y": 300}, {"x": 195 + apart, "y": 300}] if apart else []
            page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert state(page)["k"] > before * 1.5
    finally:
        page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_pictures_beside_the_page_are_loaded_and_missed(page, folder, monkeypatch) -> None:
    monkeypatch.setattr(drawing_module, "MAX_INSIDE", 10)
    draw_map(folder / "f.h5", folder / "beside.html", workers=0)
    page.get((folder / "beside.html").as_uri())
    assert wait_for(lambda: state(page)["nDrawn"]) >= 3  # one of each group finds room
    shutil.rmtree(folder / "beside_files")
    page.get((folder / "beside.html").as_uri())
    wait_for(lambda: "are not beside this page" in text(page, "note"))
    assert state(page)["nShown"] == N
    page.get_log("browser")  # the browser tells of the missing file, too
