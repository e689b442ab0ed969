"""The search page on somebody's site, in a real browser: addresses, filters, words, changes."""

from __future__ import annotations

import csv
import functools
import http.server
import shutil
import threading
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
from selenium.webdriver import ActionChains, Keys

import featx
from featx import RetrievalIndex
from featx.demo import sample_data_dir
from featx.retrieval import InstanceIndex
from featx.serve import ServeOptions, create_app, open_service

WRITE = "write-s3cret-and-long"
FOLDER = sample_data_dir() / "objects"

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """An index of 28 images with a price, a colour and a page each; one page is a script."""
    root = tmp_path_factory.mktemp("page")
    paths = sorted((FOLDER / "apple").glob("*.jpg")) + sorted((FOLDER / "car").glob("*.jpg"))
    with (root / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "price", "colour", "page"])
        for i, path in enumerate(paths):
            page = "javascript:alert(1)" if i == 3 else f"https://shop.example/{i}"
            writer.writerow([path, path.parent.name, i, ("red", "green")[i % 2], page])
    with featx.extract(root / "images.csv", root / "f.h5", workers=0, progress=False) as store:
        RetrievalIndex().fit(store).save(root / "index")
    return root


def serve(root: Path, **options) -> str:
    chosen = ServeOptions(**({"port": 0, "rate": 0, "link_column": "page"} | options))
    return serve_on_thread(create_app(open_service(str(root / "index"), options=chosen)), chosen)


@pytest.fixture(scope="module")
def address(root) -> str:
    return serve(root)


@pytest.fixture(scope="module")
def driver():
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, address):
    size(driver, 1280, 900)
    open_page(driver, address)
    return driver


def open_page(driver, address: str) -> None:
    driver.get("about:blank")
    driver.get(address)
    until(driver, "return document.getElementById('main')?.hidden === false")


def ids(driver) -> list[int]:
    return driver.execute_script(
        "return [...document.querySelectorAll('#found:not([hidden]) .card')]"
        ".map(c => +c.dataset.row)"
    )


def answered(driver, caption: str) -> None:
    until(driver, f"return document.getElementById('caption').innerText === {caption!r}")
    until(driver, "return !document.body.classList.contains('busy')")


def text(driver, selector: str) -> str:
    return driver.execute_script(f"return document.querySelector({selector!r})?.innerText ?? ''")


def fill(driver, selector: str, value: str) -> None:
    script = (
        "const f = document.querySelector(arguments[0]); f.value = arguments[1];"
        "f.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    driver.execute_script(script, selector, value)


def click(driver, selector: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


# -- addresses ------------------------------------------------------------------------------------


def test_an_address_shows_the_same_to_somebody_else(page, address) -> None:
    page.find_element("id", "file").send_keys(str(FOLDER / "apple" / "apple_03.jpg"))
    answered(page, "apple_03.jpg")
    fill(page, "#label", "car")
    until(page, "return location.search.includes('label=car')")
    until(page, "return !document.body.classList.contains('busy')")
    fill(page, "#controls [data-operator='<=']", "20")
    until(page, "return location.search.includes('filter=price%3C%3D20')")
    until(page, "return !document.body.classList.contains('busy')")
    shown = ids(page)
    assert shown == sorted(shown, key=shown.index) != []
    assert all(14 <= row <= 20 for row in shown)
    shared = page.current_url
    open_page(page, shared)
    answered(page, "uploaded image")
    assert ids(page) == shown
    assert text(page, "#chips").startswith("price ≤ 20 ")
    until(page, "return document.getElementById('picture').naturalWidth > 0")
    assert "as long as the server keeps it" in text(page, "#share")


def test_back_and_forward_go_through_what_was_asked(page, address) -> None:
    open_page(page, f"{address}?of=5")
    answered(page, "apple · row 5")
    first = ids(page)
    click(page, "#others .card")
    until(page, "return location.search !== '?of=5'")
    until(page, "return !document.body.classList.contains('busy')")
    second, where = ids(page), page.current_url
    page.back()
    answered(page, "apple · row 5")
    assert ids(page) == first
    page.forward()
    until(page, f"return location.href === {where!r}")
    until(page, "return !document.getElementById('caption').innerText.endsWith('row 5')")
    until(page, "return !document.body.classList.contains('busy')")
    assert ids(page) == second


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?of=" + "0" * 64, "no longer in the collection"),
        ("?of=upload-" + "0" * 64, "nor an upload that the server still keeps"),
        ("?of=upload", "choose the picture again"),
        ("?of=3&filter=prize<3", "Did you mean 'price'?"),
    ],
)
def test_an_address_that_leads_nowhere_says_why(page, address, query, says) -> None:
    open_page(page, address + query)
    until(page, "return !document.getElementById('problem').hidden")
    assert says in text(page, "#problem")


def test_what_no_address_can_name_is_asked_all_the_same(page, address) -> None:
    open_page(page, f"{address}?of=../../etc&open=javascript:1")
    assert text(page, "#problem") == ""
    assert not page.execute_script("return document.getElementById('begin').hidden")


# -- filters, words -------------------------------------------------------------------------------


def test_filters_are_set_shown_and_taken_away(page, address) -> None:
    open_page(page, f"{address}?of=3&filter=colour!=red")
    answered(page, "apple · row 3")
    fill(page, "#controls [data-operator='>=']", "20")
    until(page, "return document.querySelectorAll('#chips .chip').length === 2")
    until(page, "return !document.body.classList.contains('busy')")
    assert sorted(ids(page)) == [21, 23, 25, 27]
    fill(page, "#controls select", "red")
    until(page, "return !document.getElementById('none').hidden")
    assert text(page, "#none") == "Nothing fits these filters."
    page.execute_script("document.querySelectorAll('#chips .chip')[0].click()")
    until(page, "return document.querySelectorAll('#chips .chip').length === 2")
    until(page, "return document.getElementById('none').hidden")
    assert sorted(ids(page)) == [20, 22, 24, 26]


def test_words_are_asked_alone_and_with_a_picture(page) -> None:
    page.find_element("id", "text").send_keys("car" + Keys.ENTER)
    answered(page, "“car”")
    assert all(row >= 14 for row in ids(page)[:5])
    assert "text=car" in page.current_url
    open_page(page, page.current_url + "&of=3")
    answered(page, "apple · row 3 · “car”")
    click(page, "#without")
    answered(page, "“car”")
    page.back()
    answered(page, "apple · row 3 · “car”")
    page.find_element("id", "text").send_keys("x" + Keys.ENTER)
    until(page, "return !document.getElementById('problem').hidden")
    assert "carx" in text(page, "#problem")


# -- large pictures -------------------------------------------------------------------------------


def test_a_picture_opens_large_by_keys_alone(page, address) -> None:
    open_page(page, f"{address}?of=5")
    answered(page, "apple · row 5")
    shown = ids(page)
    keys = ActionChains(page)
    keys.send_keys(Keys.ARROW_DOWN, "o").perform()
    until(page, "return document.getElementById('large').open")
    until(page, "return document.getElementById('large-picture').naturalWidth > 0")
    assert text(page, "#large-place") == "1 of 12"
    assert text(page, "#large-title").endswith(f"row {shown[0]}")
    ActionChains(page).send_keys(Keys.ARROW_RIGHT).perform()
    until(page, "return document.getElementById('large-place').innerText === '2 of 12'")
    ActionChains(page).send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT).perform()
    until(page, "return document.getElementById('large-place').innerText === '12 of 12'")
    shared = page.current_url
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    until(page, "return !document.getElementById('large').open && location.search === '?of=5'")
    assert page.execute_script("return document.activeElement.matches('.card, .zoom')")
    open_page(page, shared)
    until(page, "return document.getElementById('large').open")
    assert text(page, "#large-place") == "12 of 12"
    click(page, "#large-ask")
    until(page, "return !document.getElementById('large').open")
    answered(page, text(page, "#large-title"))
    page.back()
    until(page, "return document.getElementById('large').open")


def test_a_link_leads_to_a_web_page_and_never_to_a_script(page, address) -> None:
    open_page(page, f"{address}?of=5&k=100&open=4")
    until(page, "return document.getElementById('large').open")
    link = "return document.querySelector('#large-link a')?.href ?? null"
    assert page.execute_script(link) == "https://shop.example/4"
    open_page(page, f"{address}?of=5&k=100&open=3")
    until(page, "return document.getElementById('large').open")
    assert page.execute_script(link) is None
    assert "javascript:alert(1)" in text(page, "#large-facts")
    links = page.execute_script("return [...document.querySelectorAll('a')].map(a => a.protocol)")
    assert "javascript:" not in links
    assert links.count("https:") > 20


def test_a_match_of_instances_is_outlined(driver, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, scene in zip(paths, pixels.repeat(20, 1).repeat(20, 2), strict=True):
        Image.fromarray(scene).save(path)
    InstanceIndex().fit(paths).save(tmp_path / "index")
    part = tmp_path / "part.png"
    Image.open(paths[1]).crop((0, 0, 160, 240)).save(part)  # its left half
    open_page(driver, serve(tmp_path, link_column=None))
    driver.find_element("id", "file").send_keys(str(part))
    answered(driver, "part.png")
    until(driver, "return !!document.querySelector('.region polygon[points]')")
    assert ids(driver)[0] == 1
    assert text(driver, "#others .far").split()[2:] == ["features", "agree"]
    assert text(driver, "#others li:last-child .far").split()[1:] == ["not", "verified"]
    outlines = driver.execute_script(
        "return [...document.querySelectorAll('#others .card')]"
        ".map(c => c.querySelector('polygon')?.getAttribute('points') ?? null)"
    )
    assert outlines[1:] == [None, None]
    corners = np.array([[float(v) for v in p.split(",")] for p in outlines[0].split()])
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [[0, 0], [144, 216]], atol=4)
    in_query = driver.execute_script(
        "return document.querySelector('#query-frame polygon').getAttribute('points')"
    )
    corners = np.array([[float(v) for v in p.split(",")] for p in in_query.split()])
    np.testing.assert_allclose(corners.max(0) - corners.min(0), [160, 240], atol=6)
    click(driver, "#others .zoom")
    until(driver, "return !!document.querySelector('#large .region polygon[points]')")
    assert "features agree" in text(driver, "#large-facts")


# -- a collection that changes --------------------------------------------------------------------


def test_a_replaced_index_is_noticed_and_shown(driver, root, tmp_path) -> None:
    shutil.copy(root / "index", tmp_path / "index")
    open_page(driver, serve(tmp_path) + "?of=5")
    answered(driver, "apple · row 5")
    shown = driver.execute_script("return document.querySelector('#others .what').innerText")
    gone = ids(driver)[0]
    index = RetrievalIndex.load(tmp_path / "index")
    index.remove([index.ids_[gone]]).save(tmp_path / "index")
    script = (
        "document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));"
        "return !document.getElementById('notice').hidden"
    )
    until(driver, script)
    assert "The collection has changed." in text(driver, "#notice")
    click(driver, "#reload")
    # its number is another's nowhere: what is asked by it is gone, too
    until(driver, "return !document.getElementById('problem').hidden")
    assert text(driver, "#about").startswith("27 images")
    assert driver.execute_script("return document.getElementById('notice').hidden")
    assert shown


def test_images_are_added_relabelled_and_removed_on_the_page(driver, root, tmp_path) -> None:
    shutil.copy(root / "index", tmp_path / "index")
    open_page(driver, serve(tmp_path, writable=True, write_token=WRITE))
    click(driver, "#manage summary")
    assert not driver.find_element("id", "add").is_displayed()
    driver.find_element("id", "write-token").send_keys("wrong-and-long\n")
    driver.find_element("id", "add-file").send_keys(str(FOLDER / "chair" / "chair_00.jpg"))
    driver.find_element("id", "add-label").send_keys("chair\n")
    until(driver, "return document.getElementById('write-problem').innerText !== ''")
    assert driver.find_element("id", "write-form").is_displayed()
    driver.find_element("id", "write-token").send_keys(f"{WRITE}\n")
    driver.find_element("id", "add-file").send_keys(str(FOLDER / "chair" / "chair_00.jpg"))
    fill(driver, "#add-label", "chair")
    fill(driver, "#add-values [data-column='price']", "7.5")
    click(driver, "#add button")
    answered(driver, "chair · row 28")
    assert text(driver, "#about").startswith("29 images")
    assert driver.get_cookies() == []
    open_it = (  # without loading the page anew, which would forget the token
        "history.pushState({}, '', '/?of=0&k=100&open=28');"
        "dispatchEvent(new PopStateEvent('popstate'))"
    )
    driver.execute_script(open_it)
    until(driver, "return document.getElementById('large').open")
    assert "7.5" in text(driver, "#large-facts")
    fill(driver, "#new-label", "seat")
    click(driver, "#relabel button")
    until(
        driver,
        "return [...document.querySelectorAll('#label option')].some(o => o.value === 'seat')",
    )
    until(driver, "return !document.getElementById('large').open")
    driver.execute_script(open_it)
    until(driver, "return document.getElementById('large').open")
    click(driver, "#remove")
    assert driver.execute_script("return document.activeElement.id") == "keep"
    click(driver, "#really-remove")
    until(driver, "return document.getElementById('about').innerText.startsWith('28 images')")
    assert len(RetrievalIndex.load(tmp_path / "index").ids_) == 28


# -- another site ---------------------------------------------------------------------------------

OTHER_PAGE = """<!doctype html><title>shop</title><img id=picture><iframe id=frame></iframe>"""
ASK = """
const [server, done] = arguments;
fetch(`${server}api/neighbours/0?k=1`).then((r) => r.json())
  .then((a) => done(a.matches.length), (err) => done(`refused: ${err.message}`));
"""
SHOW = """
const [server, done] = arguments;
const image = document.getElementById("picture");
image.onload = () => done(image.naturalWidth);
image.onerror = () => done("refused");
image.src = `${server}thumbnails/0?${Math.random()}`;
"""
FRAME = """
const [server, done] = arguments;
const frame = document.getElementById("frame");
frame.onload = () => done(frame.contentDocument === null ? "other" : "refused");
frame.src = server;
"""


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """Two sites on this machine, which differ from the server and each other by their ports."""
    folder = tmp_path_factory.mktemp("shops")
    (folder / "index.html").write_text(OTHER_PAGE)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{server.server_port}" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


def test_pages_of_named_origins_ask_show_and_frame_and_others_do_not(driver, root, shops) -> None:
    friend, stranger = shops
    server = serve(root, cors_origins=(friend,))
    found = {}
    for shop in shops:
        driver.get(shop)
        found[shop] = [driver.execute_async_script(script, server) for script in (ASK, SHOW)]
    assert found[friend][0] == 1
    assert found[friend][1] > 50
    assert found[stranger][0].startswith("refused")
    assert found[stranger][1] == "refused"
    for shop in shops:
        driver.get(shop)
        driver.execute_async_script(FRAME, server)
        driver.switch_to.frame("frame")
        found[shop] = driver.execute_script("return document.title")
        driver.switch_to.default_content()
    assert "What looks like this?" in found[friend]
    assert "What looks like this?" not in found[stranger]


def test_the_snippet_of_the_documents_embeds_the_search(driver, root, shops, tmp_path) -> None:
    friend = shops[0]
    token = "reading-s3cret"
    server = serve(root, cors_origins=(friend,), token=token)
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
    snippet = page.partition("<!-- embed -->\n```html\n")[2].partition("```")[0]
    for name, value in (("https://search.shop.example", server.rstrip("/")),
                        ("THE-READING-TOKEN", token)):  # fmt: skip
        assert name in snippet
        snippet = snippet.replace(name, value)
    driver.get(friend)
    driver.execute_script(
        "document.open(); document.write(arguments[0]); document.close()", snippet
    )
    driver.find_element("css selector", "input[type=file]").send_keys(
        str(FOLDER / "car" / "car_01.jpg")
    )
    until(driver, "return document.querySelectorAll('#found img').length === 6")
    until(driver, "return [...document.querySelectorAll('#found img')].every(i => i.naturalWidth)")
    assert "€" in text(driver, "#found")
    hrefs = driver.execute_script(
        "return [...document.querySelectorAll('#found a')].map(a => a.getAttribute('href'))"
    )
    assert all(href.startswith("https://shop.example/") for href in hrefs)


# -- whoever uses it ------------------------------------------------------------------------------

STATES = ("", "?of=5", "?of=5&filter=price<=20", "?text=car", "?of=5&open=6", "?of=99999", "docs")


@pytest.mark.parametrize("state", STATES)
def test_nothing_keeps_anybody_out(driver, address, state) -> None:
    driver.get("about:blank")
    driver.get(address + state)
    if state != "docs":
        until(driver, "return document.getElementById('main')?.hidden === false")
    until(
        driver,
        "return document.querySelectorAll('.card, .problem:not([hidden]), .docs table').length",
    )
    driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    for width, scheme in ((1280, "light"), (390, "dark")):
        show_in(driver, scheme)
        size(driver, width, 844)
        assert violations(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
