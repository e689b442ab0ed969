"""The page in a real browser: pick, drop, click, keys, phone, and no word to another host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from _browser import needs_browser, serve_on_thread, size, start_browser, until

import featx
from featx.demo import sample_data_dir
from featx.estimators import save_model
from featx.serve import ServeOptions, open_service

TOKEN = "s3cret-and-long"

pytestmark = [pytest.mark.slow, needs_browser]

# What a drop and a paste are to the page; a driver cannot make the real ones.
HAND_OVER = """
const [kind, base64] = arguments;
const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
const event = kind === "drop"
  ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
  : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server on a thread of this process, with a token."""
    from featx.serve import create_app

    root = tmp_path_factory.mktemp("browser")
    folders = [sample_data_dir() / "objects" / name for name in ("apple", "car")]
    store = featx.extract(folders, root / "f.h5", workers=0, progress=False)
    labels = [Path(p).parent.name for p in store.paths]
    featx.RetrievalIndex().fit(store, labels=labels).save(root / "index")
    clf = featx.LinearProbeClassifier().fit(store[:], labels)
    save_model(clf, root / "model", recipe=store.recipe)
    options = ServeOptions(port=0, token=TOKEN, rate=0)
    service = open_service(str(root / "index"), model=str(root / "model"), options=options)
    return serve_on_thread(create_app(service), options)


@pytest.fixture(scope="module")
def driver():
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, address):
    size(driver, 1280, 900)
    driver.get("about:blank")
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    driver.get(f"{address}#token={TOKEN}")
    until(driver, "return document.querySelectorAll('#begin .card img[src]').length > 0")
    yield driver
    errors = [e["message"] for e in driver.get_log("browser") if e["level"] != "DEBUG"]
    assert errors == []
    assert hosts(driver) <= {address}


def hosts(driver) -> set[str]:
    """Return where the page's requests went."""
    messages = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    sent = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    web = [url for url in sent if not url.startswith(("blob:", "data:", "about:", "chrome:"))]
    return {"/".join(url.split("/")[:3]) + "/" for url in web}


def text(driver, selector: str) -> str:
    return driver.execute_script(f"return document.querySelector({selector!r})?.innerText ?? ''")


def rows(driver) -> list[int]:
    script = "return [...document.querySelectorAll('#found .card')].map((c) => +c.dataset.row)"
    return driver.execute_script(script)


def shown(driver, caption: str) -> None:
    """Wait for the answer to a question and its pictures."""
    until(driver, f"return document.getElementById('caption').innerText === {caption!r}")
    until(
        driver,
        "return [...document.querySelectorAll('#found:not([hidden]) .card img')]"
        ".every((i) => i.naturalWidth > 0)",
    )


def image(name: str = "apple/apple_03.jpg") -> Path:
    return sample_data_dir() / "objects" / name


def pick(driver, path: Path) -> None:
    driver.find_element("id", "file").send_keys(str(path))


def test_a_picked_image_shows_its_copy_neighbours_and_label(page) -> None:
    pick(page, image())
    shown(page, "apple_03.jpg")
    assert rows(page)[0] == 3
    assert len(rows(page)) == 12
    assert "0.000" in text(page, "#copies .card")
    assert text(page, "#scores .chosen").split()[0] == "apple"
    assert "%" in text(page, "#scores .chosen")
    assert "token" not in page.current_url


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_dropped_or_pasted_image_is_asked(page, kind) -> None:
    import base64

    page.execute_script(HAND_OVER, kind, base64.b64encode(image().read_bytes()).decode())
    shown(page, "dropped.jpg")
    assert rows(page)[0] == 3


def test_a_click_asks_with_that_image_and_back_goes_back(page) -> None:
    pick(page, image())
    shown(page, "apple_03.jpg")
    first = rows(page)
    page.execute_script("document.querySelectorAll('#others .card')[1].click()")
    shown(page, f"apple · row {first[2]}" if first[2] < 14 else f"car · row {first[2]}")
    assert first[2] not in rows(page)
    page.back()
    shown(page, "apple_03.jpg")
    assert rows(page) == first
    page.back()
    until(page, "return document.getElementById('found').hidden")


def test_a_label_filters_the_neighbours(page) -> None:
    pick(page, image())
    shown(page, "apple_03.jpg")
    page.execute_script(
        "const s = document.getElementById('label'); s.value = 'car';"
        "s.dispatchEvent(new Event('change'))"
    )
    until(
        page,
        "return [...document.querySelectorAll('#found .what')]"
        ".every((w) => w.innerText === 'car')",
    )
    assert len(rows(page)) == 12


def test_keys_alone_suffice(page) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> None:
        for key in keys:
            ActionChains(page).send_keys(key).perform()

    focus = "return +document.activeElement.dataset.row"
    press("/")
    assert page.execute_script("return document.activeElement.id") == "file"
    pick(page, image())
    shown(page, "apple_03.jpg")
    order = rows(page)
    press(Keys.ARROW_DOWN)
    assert page.execute_script(focus) == order[0]
    press(Keys.ARROW_DOWN)
    assert page.execute_script(focus) == order[1]
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert page.execute_script(focus) == order[2]
    press(Keys.END)
    assert page.execute_script(focus) == order[-1]
    press(Keys.HOME, Keys.ARROW_RIGHT, Keys.ENTER)
    until(page, f"return document.getElementById('caption').innerText.endsWith('row {order[1]}')")
    until(page, "return document.activeElement.matches('.card')")
    assert page.execute_script(focus) == rows(page)[0]


def test_a_bad_file_is_refused_in_words(page, tmp_path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"<script>alert(1)</script>")
    (tmp_path / "notes.txt").write_text("x")
    pick(page, tmp_path / "notes.txt")
    until(
        page,
        "return document.getElementById('problem').innerText === 'notes.txt is not an image.'",
    )
    pick(page, tmp_path / "bad.jpg")
    until(
        page, "return document.getElementById('problem').innerText.startsWith('image: not a JPEG')"
    )
    log = page.get_log("browser")  # the browser notes the status, and that is all
    assert [("422" in e["message"]) for e in log if e["level"] != "DEBUG"] == [True]


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_down_only(page, width) -> None:
    size(page, width, 844)
    for _ in ("before", "after"):
        wide = page.execute_script("return document.documentElement.scrollWidth")
        assert wide == width
        small = page.execute_script(
            "return [...document.querySelectorAll('main button, main select, main .drop label')]"
            ".filter((e) => e.offsetParent && !e.closest('.same'))"
            ".every((e) => e.offsetHeight >= 44)"
        )
        assert small, "something to tap is less than 44 px high"
        pick(page, image())
        shown(page, "apple_03.jpg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(page, scheme) -> None:
    """WCAG AA: 4.5 to 1 for text, measured on the colours that the browser computed."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    pick(page, image())
    shown(page, "apple_03.jpg")
    colours = page.execute_script(
        "const c = (s, p) => getComputedStyle(document.querySelector(s))[p];"
        "const card = c('.query', 'backgroundColor'), paper = c('body', 'backgroundColor');"
        "return [['body', paper], ['h2', paper], ['.subtitle', paper], ['footer', paper],"
        " ['.caption', card], ['#scores li', card], ['#scores li:last-child', card],"
        " ['#others .what', card], ['#others .far', card], ['#others .where', card],"
        " ['.drop b', card]]"
        ".map(([s, b]) => [s, c(s, 'color'), b])"
    )
    low = {s: contrast(front, back) for s, front, back in colours if contrast(front, back) < 4.5}
    assert low == {}
    assert (luminance(colours[0][2]) < 0.1) == (scheme == "dark")


def luminance(colour: str) -> float:
    parts = [int(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(front: str, back: str) -> float:
    high, low = sorted((luminance(front), luminance(back)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_without_the_token_the_page_asks_for_it(driver, address) -> None:
    driver.get("about:blank")
    driver.get(address)
    until(driver, "return !document.getElementById('unlock').hidden")
    driver.find_element("id", "token").send_keys("wrong\n")
    until(driver, "return document.getElementById('unlock').innerText.includes('not the token')")
    driver.find_element("id", "token").clear()
    driver.find_element("id", "token").send_keys(f"{TOKEN}\n")
    until(driver, "return !document.getElementById('main').hidden")
    assert driver.get_cookies() == []
    assert driver.execute_script("return localStorage.length + sessionStorage.length") == 0
