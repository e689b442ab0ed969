"""How matches show themselves."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from featx import RetrievalIndex
from featx.errors import MissingDependencyError, ParameterError


@pytest.fixture
def matches(tmp_path):
    names = []
    for i in range(3):
        names.append(str(tmp_path / f"<{i}>&.png"))
        Image.new("RGB", (40, 20), (80 * i, 0, 0)).save(names[-1])
    names.append(str(tmp_path / "gone.png"))
    return RetrievalIndex().fit(np.eye(4), ids=names, labels=list("abcd")).query(np.eye(4), k=4)


def test_text_has_every_id_distance_and_label(matches) -> None:
    lines = repr(matches).splitlines()
    assert len(lines) == 4 * 5
    assert lines[0] == "vector 0"
    assert lines[1].split() == ["0.0000", matches.ids[0, 0], "a"]


def test_dicts_are_json(matches) -> None:
    found = json.loads(json.dumps(matches.to_dicts()))
    assert [r["query"] for r in found] == [f"vector {i}" for i in range(4)]
    assert found[1]["matches"][0] == {"path": matches.ids[1, 0], "distance": 0.0, "label": "b"}


def test_page_escapes_names_and_shows_what_can_be_read(matches) -> None:
    tags = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Reader().feed(matches._repr_html_())
    images = [attrs for tag, attrs in tags if tag == "img"]
    assert len(images) == 4 * 3  # the fourth file is gone: its name stands there
    assert {tag for tag, _ in tags} == {"table", "tr", "td", "br", "img"}
    assert all(i["src"].startswith("data:image/jpeg;base64,") for i in images)
    assert {i["alt"] for i in images} == set(matches.ids[0, :].tolist()) - {matches.ids[3, 0]}


def test_contact_sheet_has_a_row_a_query(matches) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is an extra")
    figure = matches.plot(max_queries=2)
    assert len(figure.axes) == 2 * 5
    assert [a.get_title() for a in figure.axes[:3]] == ["query", "0.000", "1.000"]
    assert len(figure.axes[1].images) == 1


def test_contact_sheet_without_matplotlib_names_the_install_command(matches, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[plot\]'"):
        matches.plot()


def test_one_query_cannot_be_taken_apart_further(matches) -> None:
    with pytest.raises(ParameterError, match="matches of one query"):
        matches[0][0]
