"""What pictures may cost the page, and what reaches the disk or a notebook."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.errors import ParameterError, StoreWriteError
from featx.report import GalleryMatch, GalleryRow, Mistake, Report


def noise(seed: int, size: tuple[int, int] = (200, 100)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_thumbnails_are_small_jpegs_of_the_whole_picture() -> None:
    report = Report("x", thumbnail_px=64).add_mistakes([Mistake(noise(0), "a", "b")])
    (uri,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', report.to_html())
    with Image.open(io.BytesIO(base64.b64decode(uri, validate=True))) as image:
        assert (image.format, image.size) == ("JPEG", (64, 32))


@pytest.mark.parametrize("budget", [0, 20_000])
def test_pictures_stop_at_the_budget_and_the_rest_is_counted(budget: int) -> None:
    report = Report("x", max_image_bytes=budget)
    report.add_mistakes([Mistake(noise(k), "a", "b") for k in range(12)])
    page, images = report.to_html(), report.to_dict()["images"]
    uris = re.findall(r'src="(data:[^"]+)"', page)
    assert sum(map(len, uris)) == images["bytes"] <= budget
    assert images["embedded"] == len(uris) < 12
    assert (len(uris) > 0) == (budget > 0)
    assert images["over_budget"] == page.count("<small>left out:") == 12 - len(uris)
    assert f"{12 - len(uris)} were left out to keep the page small." in page


def test_missing_and_broken_pictures_are_placeholders_and_counted(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(noise(0)[:5000])
    cut_short = Image.open(io.BytesIO(noise(0)[:5000]))  # Pillow decodes on first use
    closed = Image.open(io.BytesIO(noise(0)))
    closed.close()
    sources = ["absent.jpg", tmp_path / "broken.jpg", tmp_path, "nul\0.jpg", b"text", cut_short,
               closed, Image.new("RGB", (0, 5))]  # fmt: skip
    report = Report("x").add_mistakes([Mistake(s, "a", "b") for s in [*sources, noise(1)]])
    page = report.to_html()
    assert page.count('class="frame missing"') == len(sources)
    assert "no picture<small>No such file</small>" in page
    assert page.count("<small></small>") == 0
    images = report.to_dict()["images"]
    assert (images["unreadable"], images["embedded"]) == (len(sources), 1)
    assert f"{len(sources)} could not be read." in page


def numbers_in(page: str) -> dict:
    (text,) = re.findall(r'<template id="numbers">(.*?)</template>', page)
    return json.loads(text)


def test_a_saved_report_is_one_page_with_its_numbers_inside(tmp_path: Path) -> None:
    report = Report("Obst und Gemüse").add_text("日本\n\n" + "zweiter Absatz")
    page = report.save(str(tmp_path / "r.html"))
    assert page == tmp_path / "r.html"
    assert page.read_text(encoding="utf-8") == report.to_html()
    assert numbers_in(report.to_html()) == report.to_dict()
    assert report.to_dict()["title"] == "Obst und Gemüse"
    report.save(page)
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    (tmp_path / "touched").touch()
    modes = {p.stat().st_mode for p in tmp_path.iterdir()}
    assert len(modes) == 1  # readable by whom any new file is


def test_numbers_alone_are_written_where_json_is_named(tmp_path: Path) -> None:
    report = Report("x").add_mistakes([Mistake("/home/lovelace/p/a.jpg", "a", "b")])
    for _ in range(2):
        report.save(tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    assert document == report.to_dict()
    assert document["sections"][0]["mistakes"][0]["path"] == "/home/lovelace/p/a.jpg"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_page_does_not_say_whose_disk_its_pictures_were_on(tmp_path: Path) -> None:
    """Would catch numbers inside a mailed page that have the paths whole."""
    names = [f"/home/lovelace/photos/{i}/x.jpg" for i in range(3)]
    report = Report("x").add_mistakes([Mistake(names[0], "a", "b")])
    report.add_gallery([GalleryRow(names[0], (GalleryMatch(names[1]),))])
    report.add_embedding_map([[0, 0], [1, 1], [2, 2]], ["a"] * 3, names)
    page = report.to_html()
    assert "lovelace" not in page
    assert numbers_in(page)["sections"][2]["paths"] == ["0/x.jpg", "1/x.jpg", "2/x.jpg"]
    assert report.to_dict()["sections"][2]["paths"] == names


def test_a_label_that_looks_like_html_does_not_end_the_numbers() -> None:
    label = "</template><!--<script>&amp;\u2028"
    page = Report(label).add_confusion_matrix([label, "b"], ["b", "b"]).to_html()
    assert numbers_in(page)["title"] == label
    assert page.count("<template") == page.count("</template>") == 1
    assert page.count("<script") == page.count("</script") == 1


def test_an_empty_report_is_a_page_without_sections(tmp_path: Path) -> None:
    page = Report("Nothing yet").save(tmp_path / "r.HTM").read_text(encoding="utf-8")
    assert "<h1>Nothing yet</h1>" in page
    assert "<section" not in page
    assert "<nav" not in page
    assert numbers_in(page)["sections"] == []


def test_names_that_are_not_utf8_can_be_saved(tmp_path: Path) -> None:
    """Would catch a night's report lost to one file name of an old Windows disk."""
    name = os.fsdecode(b"photos/caf\xe9.jpg")
    report = Report("x").add_mistakes([Mistake(name, name, "b")])
    page = report.save(tmp_path / "r.html").read_text(encoding="utf-8")
    report.save(tmp_path / "r.json")
    for document in (numbers_in(page), json.loads((tmp_path / "r.json").read_text())):
        (mistake,) = document["sections"][0]["mistakes"]
        assert mistake["path"] == mistake["true"] == name
    assert "caf\\xe9.jpg" in page


def test_a_full_disk_leaves_the_old_report_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Report("old").save(tmp_path / "r.html")
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreWriteError, match=r"r\.html'.*No space left on device"):
        Report("new").save(tmp_path / "r.html")
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_in_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "r.html").mkdir()
    with pytest.raises(StoreWriteError, match=r"r\.html': is a folder"):
        Report("x").save(tmp_path / "r.html")
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreWriteError, match=r"absent/r\.\w+'.*does not exist.*create"):
        Report("x").save(tmp_path / "absent" / "r.html")


@pytest.mark.parametrize(("name", "suffix"), [("r.pdf", ".pdf"), ("r", "")])
def test_another_suffix_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    with pytest.raises(ParameterError, match=rf"{name}': got suffix '{suffix}', expected '.html'"):
        Report("x").save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    report = Report('"><script>alert(1)</script>').add_text("it's & <b>")
    frame = report._repr_html_()
    box = 'sandbox="allow-scripts" title="report"'
    found = re.fullmatch(rf'<iframe {box} style="[^"]*" srcdoc="([^"]*)"></iframe>', frame)
    assert found
    assert html.unescape(found[1]) == report.to_html()


def test_the_browser_is_told_to_load_nothing_and_to_run_one_script() -> None:
    page = Report("</script><script>alert(1)</script>").to_html()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page


@pytest.mark.parametrize(("n", "pictures"), [(250, 249), (251, 0)])
def test_a_map_of_few_points_has_pictures(n: int, pictures: int) -> None:
    paths = [noise(0), "absent.png", *[noise(1)] * (n - 2)]
    report = Report("x").add_embedding_map([[k, k % 7] for k in range(n)], ["a"] * n, paths)
    page = report.to_html()
    assert page.count('<image href="data:') == report.to_dict()["images"]["embedded"] == pictures
    assert page.count("<circle ") == n - pictures
    assert ("<title>a absent.png: No such file</title>" in page) == (pictures > 0)
    assert report.to_dict()["sections"][0]["paths"][:2] == [None, "absent.png"]
