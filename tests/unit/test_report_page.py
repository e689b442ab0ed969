"""The page as a browser sees it: every section, the same numbers as the JSON, nothing hostile."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from featx.report import Card, GalleryMatch, GalleryRow, Mistake, Report, ScatterPoint

VOID = {"meta", "img", "br", "hr", "link", "input"}
URLS = {"href", "xlink:href", "src", "srcset", "action", "formaction", "poster", "data"}


class Page(HTMLParser):
    """Elements, the text of each section, and the rows of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.kinds: list[str] = []
        self.texts: list[list[str]] = []  # one list a section
        self.rows: list[list[str]] = []
        self.footer, self.style = "", ""
        self.open: list[str] = []
        self.feed(page.replace("<wbr>", ""))  # where the names of files may break
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert len(given) == len(attrs)
        self.elements.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.kinds.append(given["class"])
            self.texts.append([])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
        if "footer" in self.open:
            self.footer += data
        if "tr" in self.open and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if "section" in self.open and data.strip():
            self.texts[-1].append(data.strip())

    def every(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 30), "red").save(file, "PNG")
    return file.getvalue()


def test_a_name_breaks_behind_its_parts_and_a_command_between_its_words() -> None:
    report = Report("x").add_cards([Card("/a/my photos/best_of-<all>.jpg")])
    page = report.add_text("Type this:\n\n    featx audit --labels a.csv").to_html()
    parts = "my <wbr>photos/<wbr>best_<wbr>of-<wbr>&lt;all&gt;.jpg"
    assert f"<figcaption>{parts}</figcaption>" in page
    assert "<p>Type this:</p>" in page
    words = "".join(f"<span>{word}</span> " for word in ["featx", "audit", "--labels", "a.csv"])
    assert f"<pre><code>{words}</code></pre>" in page


def one_of_each(text: str, folder: Path) -> Report:
    """Return a report with every section, and `text` wherever a user's text can go."""
    file = folder / re.sub(r"[/\0]", "_", text)
    file.write_bytes(png())
    matches = (GalleryMatch(text, 0.25, True), GalleryMatch(file))
    return (
        Report(text, subtitle=text)
        .add_text(text, title=text)
        .add_scores({text: 0.5}, intervals={text: (0.25, 0.75)}, title=text)
        .add_table([[text, 1.5]], [text, "n"], title=text, caption=text)
        .add_key_values({text: text}, title=text)
        .add_confusion_matrix([text, "b"], ["b", "b"], [text, "b"], paths=[text, file], title=text)
        .add_confusion_matrix([text] * 45, [f"{text}{k}" for k in range(45)], title=text)
        .add_bars([text], [0.5], [(0.25, 0.75)], title=text)
        .add_curve([1], {text: [0]}, {text: [(0, 1)]}, x_label=text, y_label=text, title=text)
        .add_curve([1, 9], {text: [0, 1]}, x_label=text, y_label=text, log_x=True, title=text)
        .add_scatter([ScatterPoint(text, 1, 2, 1, 3, text)], x_label=text, y_label=text,
                     frontier=text, title=text)
        .add_scatter([ScatterPoint(text, 1, 2)] * 20, x_label=text, y_label=text)
        .add_precision_recall({text: ([0, 1], [1, 0.5])}, ap={text: 0.75}, title=text)
        .add_cards([Card(text, (text,)), Card(file, (text,), file)], title=text, note=text)
        .add_gallery([GalleryRow(file, matches, text), GalleryRow(text, ())], title=text)
        .add_mistakes([Mistake(text, text, text, 0.5), Mistake(file, text, text)], title=text)
        .add_embedding_map([[0, 1], [1, 0]], [text, text], [text, file], title=text)
    )  # fmt: skip


def test_a_caption_does_not_scroll_away_with_a_wide_table() -> None:
    """Inside the table it was as wide as that, and cut off on a phone."""
    page = Report("t").add_table([[1]], ["n"], caption="what n is").to_html()
    assert (
        page.index("what n is</p>")
        < page.index('<div class="scroll"')
        < page.index("<table class")
    )


def test_every_section_is_in_the_page_and_in_the_json_in_one_order(tmp_path: Path) -> None:
    report = one_of_each("plain", tmp_path)
    kinds = [section["kind"] for section in report.to_dict()["sections"]]
    adders = {name for name in dir(Report) if name.startswith("add_")}
    assert len(set(kinds)) == len(adders)
    assert Page(report.to_html()).kinds == kinds


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '"><img src=//evil.example/x onerror=alert(1)>',
        "' onload='alert(1)",
        "</style></title></svg><iframe src=javascript:alert(1)>",
        "<!-- ]]> {{ 7 * 7 }} {% raw %} &lt;b&gt; &#60;i&#62;",
        "javascript:alert(1)",
        "a\x00b\u202e\u2028\x1b[31m",
    ],
    ids=["script", "double quote", "single quote", "closing tags", "markup", "url", "controls"],
)
def test_no_label_or_path_leaves_its_place(tmp_path: Path, text: str) -> None:
    report = one_of_each(text, tmp_path)
    wide, narrow = "%@", ":;'|!()[]"  # names as wide find room in the same places of a figure
    harmless = "".join(
        c if c.isalnum() or c in " .," else "m" if c in wide else "i" if c in narrow else "x"
        for c in text
    )
    page, plain = Page(report.to_html()), Page(one_of_each(harmless, tmp_path).to_html())
    # The same elements and attributes as with a harmless text: nothing was opened or added.
    shape, expected = ([(t, sorted(a)) for t, a in p.elements] for p in (page, plain))
    assert shape == expected
    tags = [t for t, _ in page.elements]
    assert not {"iframe", "object", "embed", "base"} & set(tags)
    assert tags.count("script") == 1
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")]
        for name in URLS & set(attrs):
            assert re.match(r"data:image/jpeg;base64,[\w+/=]+$|#s\d+(-\d+-\d+)?$", attrs[name])
        assert not re.search(r"url\(|@import|expression", attrs.get("style", ""))
    assert page.style == plain.style
    assert not re.search(r"url\(|@import", page.style)
    for kind, seen in zip(page.kinds, page.texts, strict=True):
        assert " ".join(text.split()) in " ".join(" ".join(seen).split()), kind
    assert json.loads(json.dumps(report.to_dict()))["sections"][0]["text"] == text


def test_scores_bars_and_tables_show_what_the_json_has() -> None:
    values = {"accuracy": 0.91372, "images": 12_345, "seconds": 999.7}
    spans = {"accuracy": (0.88649, 0.93581)}
    report = Report("x").add_scores(values, intervals=spans)
    report.add_bars(["a", "b"], [0.123456, 3.5], [(0.1, 0.2), (3, 4)])
    report.add_table([["x", 0.98765, None], ["y", 1234567, True]], ["name", "n", "z"])
    report.add_key_values({"seed": 12345})
    scores, bars, table, pairs = report.to_dict()["sections"]
    page = Page(report.to_html())

    assert {s["name"]: s["value"] for s in scores["scores"]} == values
    assert (scores["scores"][0]["low"], scores["scores"][0]["high"]) == spans["accuracy"]
    assert page.texts[0][:3] == ["accuracy", "0.914", "0.886 to 0.936"]
    assert page.texts[0][3:] == ["images", "12,345", "seconds", "1,000"]

    assert [(b["name"], b["value"]) for b in bars["bars"]] == [("a", 0.123456), ("b", 3.5)]
    assert [(b["low"], b["high"]) for b in bars["bars"]] == [(0.1, 0.2), (3, 4)]
    assert [page.rows[k][-1] for k in (1, 2)] == ["0.1230.100 to 0.200", "3.5003.000 to 4.000"]
    widths = [a["style"] for a in page.every("span") if a.get("class") == "fill"]
    whiskers = [a["style"] for a in page.every("span") if a.get("class") == "whisker"]
    limit = float(page.texts[1][-1].removeprefix("A full bar is ").rstrip("."))
    assert limit >= 4
    assert widths == [f"width:{round(100 * v / limit, 2)}%" for v in (0.123456, 3.5)]
    left, width = map(float, re.findall(r"[\d.]+", whiskers[1]))
    assert [left, left + width] == pytest.approx([300 / limit, 400 / limit], abs=0.02)

    assert table["rows"] == [["x", 0.98765, None], ["y", 1234567, True]]
    assert page.rows[-2:] == [["x", "0.988", "-"], ["y", "1,234,567", "yes"]]
    assert pairs["values"] == {"seed": 12345}
    assert page.texts[3][1:] == ["seed", "12345"]  # as it was given


def test_grid_of_confusions_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true, pred = rng.integers(0, 7, size=(2, 300))
    order = [3, 0, 6, 1, 2, 5, 4]
    expected = confusion_matrix(true, pred, labels=order)
    report = Report("x").add_confusion_matrix(true, pred, order)
    page = Page(report.to_html())
    assert page.rows[0] == ["", *map(str, order), "all"]
    cells = [[int(c.replace("·", "0")) for c in row[1:]] for row in page.rows[1:]]
    np.testing.assert_array_equal(np.array(cells)[:, :-1], expected)
    np.testing.assert_array_equal(np.array(cells)[:, -1], expected.sum(1))
    assert page.texts[0][1].startswith(f"{expected.trace()} of 300 right.")
    section = report.to_dict()["sections"][0]
    assert section["labels"] == order
    counts = np.zeros((7, 7), dtype=int)
    for entry in section["counts"]:
        counts[order.index(entry["true"]), order.index(entry["predicted"])] += entry["n"]
    np.testing.assert_array_equal(counts, expected)


def test_forty_labels_are_still_a_grid() -> None:
    page = Page(Report("x").add_confusion_matrix(range(40), range(40)).to_html())
    assert [len(row) for row in page.rows] == [42] * 41


def test_over_forty_labels_the_commonest_confusions_are_listed() -> None:
    rng = np.random.default_rng(1)
    names = np.array([f"c{k:02}" for k in range(41)])
    true, pred = names[rng.integers(0, 41, (2, 2000))]
    wrong = confusion_matrix(true, pred, labels=names)
    right = int(wrong.trace())
    np.fill_diagonal(wrong, 0)
    report = Report("x").add_confusion_matrix(true, pred)
    page = Page(report.to_html())
    assert sum(e["n"] for e in report.to_dict()["sections"][0]["counts"]) == len(true)
    assert page.rows[0] == ["true", "predicted", "times"]
    where = {name: k for k, name in enumerate(names)}
    for a, b, times in page.rows[1:]:
        assert wrong[where[a], where[b]] == int(times)
    assert len({(a, b) for a, b, _ in page.rows[1:]}) == len(page.rows[1:]) == 40
    assert [int(row[2]) for row in page.rows[1:]] == sorted(wrong.ravel(), reverse=True)[:40]
    note = f"{right} of {len(true):,} right. 41 labels: the 40 commonest of {(wrong > 0).sum():,}"
    assert page.texts[0][1].startswith(note)


def test_gallery_and_mistakes_show_what_the_json_has() -> None:
    matches = (GalleryMatch(png(), 0.125, True), GalleryMatch(png(), 2.5, False))
    report = Report("x").add_gallery([GalleryRow("/home/ada/q/1.png", matches, "poster")])
    report.add_gallery([GalleryRow(png(), (GalleryMatch("m.png"),))])
    report.add_mistakes([Mistake("/home/ada/q/2.png", "cat", "dog", 0.75)])
    judged, unjudged, mistakes = report.to_dict()["sections"]
    page = Page(report.to_html())
    found = [(m["distance"], m["is_hit"]) for m in judged["rows"][0]["matches"]]
    assert found == [(0.125, True), (2.5, False)]
    assert judged["rows"][0]["query"] == "/home/ada/q/1.png"
    assert [t for t in page.texts[0] if t in "✓✗" or t.startswith("distance")][2:] == [
        "✓", "distance 0.125", "✗", "distance 2.500",
    ]  # fmt: skip
    assert "poster" in page.texts[0]
    frames = [f["class"] for f in page.every("figure") if f.get("class")]
    assert frames == ["query", "hit", "miss", "query", "plain"]
    assert unjudged["rows"][0]["matches"] == [{"path": "m.png", "distance": None, "is_hit": None}]
    assert mistakes["mistakes"] == [
        {"path": "/home/ada/q/2.png", "true": "cat", "predicted": "dog", "score": 0.75}
    ]
    assert page.texts[2][-5:] == ["true", "cat", "predicted", "dog", "75\xa0% sure"]
    assert "/home/ada" not in report.to_html()  # a page is mailed; whose disk it was is private


def test_a_curve_lies_where_its_ticks_say() -> None:
    x = np.array([8, 1, 40, 3])
    y = np.array([0.71, 0.52, 0.97, 0.6])
    spans = np.stack([y - 0.02, y + 0.015], axis=1)
    report = Report("x").add_curve(
        x, {"probe": y}, {"probe": spans}, x_label="images", y_label="accuracy"
    )
    page = Page(report.to_html())
    labels = [t for t in page.every("text") if "transform" not in t and "class" not in t]
    values = [float(t) for t in page.texts[0] if re.fullmatch(r"[\d.]+", t)][: len(labels)]
    at = {
        side: [(v, float(t[c])) for v, t in zip(values, labels, strict=True)
               if t["text-anchor"] == anchor]
        for side, anchor, c in (("x", "middle", "x"), ("y", "end", "y"))
    }  # fmt: skip
    to_px = {side: np.polyfit(*zip(*places, strict=True), 1) for side, places in at.items()}
    assert to_px["y"][0] < 0 < to_px["x"][0]  # more is up and right
    up = 4  # a text's baseline is this far below its tick
    drawn, band = (
        np.array([p.split(",") for p in page.every(tag)[0]["points"].split()], dtype=float)
        for tag in ("polyline", "polygon")
    )
    order = np.argsort(x)
    np.testing.assert_allclose(drawn[:, 0], np.polyval(to_px["x"], x[order]), atol=0.2)
    np.testing.assert_allclose(drawn[:, 1] + up, np.polyval(to_px["y"], y[order]), atol=0.2)
    edge = np.concatenate([spans[order, 1], spans[order[::-1], 0]])
    np.testing.assert_allclose(band[:, 1] + up, np.polyval(to_px["y"], edge), atol=0.2)
    curve = report.to_dict()["sections"][0]
    assert (curve["x"], curve["x_label"], curve["y_label"]) == (x.tolist(), "images", "accuracy")
    assert curve["curves"][0] == {
        "name": "probe", "values": y.tolist(), "intervals": spans.tolist(),
    }  # fmt: skip
    assert "probe at 40: 0.970" in page.texts[0]


def test_many_points_are_thinned_evenly_and_the_page_says_so() -> None:
    xy = np.random.default_rng(0).normal(size=(5000, 2)) * (3, 1)
    report = Report("x").add_embedding_map(xy, range(5000))
    page = Page(report.to_html())
    assert page.texts[0][-2:] == ["and 4960 more", "4,000 of 5,000 points shown"]
    assert report.to_dict()["sections"][0]["points"] == xy.tolist()
    which = np.array([int(t) for t in page.texts[0][1:4001]])  # each dot's title is its label
    assert (which[0], which[-1]) == (0, 4999)
    assert set(np.diff(which)) == {1, 2}
    drawn = np.array([(float(c["cx"]), float(c["cy"])) for c in page.every("circle")])
    scale_x, left = np.polyfit(xy[which, 0], drawn[:, 0], 1)
    scale_y, top = np.polyfit(xy[which, 1], drawn[:, 1], 1)
    assert scale_x == pytest.approx(-scale_y, rel=1e-3)  # one scale, y upwards
    np.testing.assert_allclose(drawn, xy[which] * (scale_x, scale_y) + (left, top), atol=0.2)
    side = float(page.every("svg")[0]["viewbox"].split()[-1])
    middle = (xy.min(0) + xy.max(0)) / 2 * (scale_x, scale_y) + (left, top)
    np.testing.assert_allclose(middle, side / 2, atol=0.2)
    assert 0 <= drawn.min() <= drawn.max() <= side


def test_each_entry_of_the_navigation_leads_to_its_own_section() -> None:
    report = Report("x").add_text("same", title="Note").add_text("untitled")
    report.add_text("same", title="Note").add_text("end", title="End")
    page = Page(report.to_html())
    sections = [s["id"] for s in page.every("section")]
    links = [a["href"].removeprefix("#") for a in page.every("a")]
    assert len(set(sections)) == 4
    assert links == [sections[0], sections[2], sections[3]]


def test_an_outline_lies_over_the_part_of_the_picture_that_it_names() -> None:
    corners = ((0.5, 0.0), (1.0, 0.5), (0.5, 1.0))
    report = Report("x").add_gallery([GalleryRow(None, (GalleryMatch(png(), outline=corners),))])
    page = Page(report.to_html())
    view = [float(v) for v in page.every("svg")[0]["viewbox"].split()]
    picture = next(a for a in page.every("img"))
    assert view == [0, 0, float(picture["width"]), float(picture["height"])]
    drawn = [p.split(",") for p in page.every("polygon")[0]["points"].split()]
    shares = np.array(drawn, dtype=float) / view[2:]
    np.testing.assert_allclose(shares, corners, atol=0.01)
    assert report.to_dict()["sections"][0]["rows"][0]["matches"][0]["outline"] == [
        list(corner) for corner in corners
    ]


def test_words_that_were_asked_stand_over_their_matches() -> None:
    row = GalleryRow(
        None, (GalleryMatch(png(), 1e-9, label="ada", lines=("year: 1843",)),), "umbrella"
    )
    page = Page(Report("x").add_gallery([row]).to_html())
    assert page.texts[0][1:] == ["umbrella", "distance 0.000", "ada", "image", "year: 1843"]
