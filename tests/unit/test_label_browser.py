"""The labelling page in a real browser: 40 pictures by keyboard alone, then a model."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
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


@contextmanager
def running(store, labels, *options):
    """Run `featx label` in a process of its own; yields its address."""
    words = ["label", store.path, "--labels", str(labels), "--json", *options]
    command = [sys.executable, "-m", "featx", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 0


@pytest.fixture
def server(store, tmp_path):
    """Yield the address of a server, the label file and the model."""
    with running(store, tmp_path / "labels.csv") as address:
        yield address, tmp_path / "labels.csv", tmp_path / "labels.model"


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
return !document.body.matches('.busy, .revising') && card
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
    until(driver, CURRENT)  # the next page
    press(driver, "u")
    until(driver, n_labels, "9")


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_its_window(driver, server, size):
    address, *_ = server
    open_page(driver, address, size)
    wide = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


N_MANY = 500


@pytest.fixture
def many_classes(store, tmp_path):
    """A server whose label file has 500 classes, nearly all of images that are elsewhere."""
    labels = tmp_path / "many.csv"
    rows = [(f"elsewhere/{i}.jpg", f"kind {i:03}") for i in range(N_MANY)]
    rows += [(path, f"kind {i:03}") for i, path in enumerate(store.paths[:2])]
    with labels.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    classes = ",".join(label for _, label in rows[:N_MANY])
    with running(store, labels, "--classes", classes) as address:
        yield address, labels


@pytest.mark.parametrize("size", SIZES)
def test_one_of_500_classes_is_found_by_typing(driver, many_classes, size):
    from selenium.webdriver.common.keys import Keys

    address, labels = many_classes
    open_page(driver, address, size)
    until(driver, CURRENT)
    listed = "return document.querySelectorAll('#names li').length"
    assert driver.execute_script(listed) == 9  # and not 500
    press(driver, "/", *"d 42")
    found = "return [...document.querySelectorAll('#found li')].map((li) => li.textContent)"
    names = driver.execute_script(found)
    assert names[0] == "kind 420"
    assert len(names) == 9  # eight that fit, and a new one
    assert driver.execute_script("return document.getElementById('names').hidden")
    press(driver, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)  # round from the new one
    until(driver, COUNTED, "3")
    assert given_last(labels) == "kind 421"
    press(driver, "/", *"KIND 07", Keys.ENTER)  # begins with it: taken at once
    until(driver, COUNTED, "4")
    assert given_last(labels) == "kind 070"
    wide = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def given_last(labels):
    with labels.open(newline="") as file:
        return list(csv.DictReader(file))[-1]["label"]


def test_attributes_are_switched_by_keyboard_and_a_model_trained(driver, store, tmp_path):
    from selenium.webdriver.common.keys import Keys

    # The first two classes have one attribute, the second and the third have the other.
    classes = sorted({Path(p).parent.name for p in store.paths})
    has = {c: (i < 2, i in (1, 2)) for i, c in enumerate(classes)}
    truth = {Path(p).name: has[Path(p).parent.name] for p in store.paths}
    labels, model = tmp_path / "a.csv", tmp_path / "a.model"
    with running(store, labels, "--attributes", "early,middle") as address:
        open_page(driver, address)
        for done in range(30):
            want = truth[until(driver, CURRENT)]
            for key, is_on in zip("12", want, strict=True):
                if driver.execute_script(PRESSED, int(key) - 1) != is_on:
                    press(driver, key)
            press(driver, Keys.ENTER)
            until(driver, COUNTED, str(done + 1))
        with labels.open(newline="") as file:
            rows = list(csv.DictReader(file))
        given = {Path(r["path"]).name: (r["early"] == "1", r["middle"] == "1") for r in rows}
        assert given == {name: truth[name] for name in given}
        until(driver, "return document.getElementById('accuracy-value').textContent.endsWith('%')")
        driver.find_element("css selector", "#train").send_keys(Keys.ENTER)
        said = until(driver, "const t = document.getElementById('trained').textContent; "
                     "return t.startsWith('Saved') ? t : null")  # fmt: skip
        assert "accuracy" in said
    saved = load_model(model)
    rows = [row for row, p in enumerate(store.paths) if Path(p).name not in given]
    expected = np.array([truth[Path(store.paths[row]).name] for row in rows])
    assert (saved.model.predict(store[rows]).astype(bool) == expected).mean() > 0.8


COUNTED = "return document.getElementById('n-labels').textContent === arguments[0]"
PRESSED = """
const button = document.querySelectorAll('#names button')[arguments[0]];
return button.getAttribute('aria-pressed') === 'true';
"""


def test_a_label_that_cannot_be_saved_is_not_shown_as_saved(driver, server):
    address, labels, _ = server
    open_page(driver, address)
    until(driver, CURRENT)
    labels.write_text("path,label\n")
    labels.chmod(0o444)
    press(driver, "/", "x", "\ue007")
    until(
        driver, "return document.getElementById('problem').textContent.includes('not be written')"
    )
    assert driver.execute_script("return document.querySelectorAll('.card.given').length") == 0
    assert driver.execute_script("return document.getElementById('n-labels').textContent") == "0"
    labels.chmod(0o644)
    press(driver, "/", "x", "\ue007")
    until(driver, "return document.getElementById('n-labels').textContent === '1'")
    assert given_last(labels) == "x"


def test_two_pages_show_each_others_labels(driver, server):
    address, labels, _ = server
    open_page(driver, address)
    row = int(until(driver, "return document.querySelector('.card img').dataset.row"))
    ask(address, "api/labels", {"labels": [{"row": row, "label": "by Ann"}]})  # another page
    until(driver, "return document.querySelectorAll('.card.given').length === 1")
    text = driver.execute_script("return document.querySelector('.card.given').textContent")
    assert "by Ann" in text
    assert "somebody else" in text
    assert given_last(labels) == "by Ann"


def ask(address, path, body):
    """Send what another page would send."""
    base, _, token = address.partition("#token=")
    request = urllib.request.Request(
        base + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def test_words_find_images_to_label(driver, server, store):
    """The box is reached by a key; what is found is labelled as what is suggested is."""
    from selenium.webdriver.common.keys import Keys

    address, labels, _ = server
    open_page(driver, address)
    press(driver, "w")
    assert driver.switch_to.active_element.get_attribute("id") == "words"
    press(driver, "cup", Keys.ENTER)
    until(driver, "return document.getElementById('grid-title').textContent.includes('“cup”')")
    name = until(driver, CURRENT)
    index = featx.RetrievalIndex().fit(store)
    assert name == Path(index.query(text="cup", k=1).ids[0]).name
    press(driver, "/", "cup", Keys.ENTER)
    until(driver, "return document.querySelectorAll('.card.given').length === 1")
    end = time.monotonic() + WAIT_S
    while not labels.is_file():
        assert time.monotonic() < end
        time.sleep(0.05)
    press(driver, "w", "qwertyuiop", Keys.ENTER)
    problem = until(driver, "return document.getElementById('problem').textContent")
    assert "'qwertyuiop'" in problem
    assert driver.execute_script("return document.querySelectorAll('.card').length") > 3
