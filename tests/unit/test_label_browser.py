"""The labelling page in a real browser: 40 pictures by keyboard alone, then a model."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import featx
from featx.demo import sample_data_dir
from featx.estimators import load_model

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")
WAIT_S = 60
SIZES = {"desk": (1280, 900), "phone": (390, 844)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason="needs a browser and its driver: apt-get install -y chromium chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Features of photographs whose folders say what they are; the page does not see that."""
    folder = tmp_path_factory.mktemp("label")
    classes = sorted(path.name for path in (sample_data_dir() / "objects").iterdir())[:4]
    folders = [sample_data_dir() / "objects" / name for name in classes]
    return featx.extract(folders, folder / "f.h5", workers=0, progress=False)


@pytest.fixture
def server(store, tmp_path):
    """`featx label` in a process of its own; yields its address, the label file and the model."""
    labels, model = tmp_path / "labels.csv", tmp_path / "labels.model"
    words = ["label", store.path, "--labels", str(labels), "--json"]
    command = [sys.executable, "-m", "featx", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["address"], labels, model
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 0


@pytest.fixture(scope="module")
def driver():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def until(driver, script, *arguments):
    end = time.monotonic() + WAIT_S
    while not (found := driver.execute_script(script, *arguments)):
        assert time.monotonic() < end, script
        time.sleep(0.05)
    return found


def open_page(driver, address, size="desk"):
    width, height = SIZES[size]
    driver.set_window_size(width, height)
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get(address)
    until(driver, "return document.querySelectorAll('.card img[src]').length > 3")


def press(driver, *keys):
    for key in keys:
        driver.switch_to.active_element.send_keys(key)


CURRENT = """
const card = document.querySelector('.card[aria-current="true"]:not(.given)');
return !document.body.classList.contains('busy') && card
  ? card.querySelector('img').title : null;
"""


def test_forty_pictures_are_labelled_by_keyboard_alone_and_a_model_trained(driver, server, store):
    from selenium.webdriver.common.keys import Keys

    address, labels, model = server
    truth = {Path(p).name: Path(p).parent.name for p in store.paths}
    assert len(truth) == len(store)  # else a name would not say which image is meant
    open_page(driver, address)
    names: list[str] = []
    for done in range(40):
        name = truth[until(driver, CURRENT)]
        if name in names:
            press(driver, str(names.index(name) + 1))
        else:
            press(driver, "/", name, Keys.ENTER)
            names.append(name)
        until(driver, "return document.getElementById('n-labels').textContent === arguments[0]",
              str(done + 1))  # fmt: skip
        with labels.open(newline="") as file:  # on the disk before the page says so
            assert len(list(csv.DictReader(file))) == done + 1
    until(driver, "return document.getElementById('accuracy-value').textContent.endsWith('%')")
    driver.find_element("css selector", "#train").send_keys(Keys.ENTER)
    until(driver, "return document.getElementById('trained').textContent.startsWith('Saved')")

    with labels.open(newline="") as file:
        given = {Path(row["path"]).name: row["label"] for row in csv.DictReader(file)}
    assert given == {name: truth[name] for name in given}
    saved = load_model(model)
    rows = [row for row, p in enumerate(store.paths) if Path(p).name not in given]
    expected = [truth[Path(store.paths[row]).name] for row in rows]
    assert saved.model.score(store[rows], expected) > 0.8
    errors = [e["message"] for e in driver.get_log("browser") if e["level"] == "SEVERE"]
    assert errors == []


def test_keys_undo_skip_accept_and_strike_out(driver, server, store):
    from selenium.webdriver.common.keys import Keys

    address, labels, _ = server
    truth = {Path(p).name: Path(p).parent.name for p in store.paths}
    open_page(driver, address)
    n_labels = "return document.getElementById('n-labels').textContent === arguments[0]"
    for done in range(8):
        press(driver, "/", truth[until(driver, CURRENT)], Keys.ENTER)
        until(driver, n_labels, str(done + 1))
    press(driver, "u")
    until(driver, n_labels, "7")
    press(driver, " ")  # skipped: no label
    press(driver, Keys.ENTER)  # accepts the guess
    until(driver, n_labels, "8")
    press(driver, "-")  # none of these
    until(driver, n_labels, "9")
    press(driver, "l")  # a page of likely images
    until(driver, "return document.getElementById('grid-title').textContent.startsWith('Likely')")
    until(driver, "return document.querySelectorAll('.card').length === 24")
    press(driver, " ", Keys.ARROW_RIGHT, " ", Keys.ENTER)  # all but two of 24
    until(driver, n_labels, "31")
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 31
    assert sum(row["label"] == "" for row in rows) == 1
    press(driver, "u")
    until(driver, n_labels, "9")


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_its_window(driver, server, size):
    address, *_ = server
    open_page(driver, address, size)
    wide = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
