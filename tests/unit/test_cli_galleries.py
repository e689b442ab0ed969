"""The page of `featx query`: who was asked, and what is known of each match."""

from __future__ import annotations

from featx.cli._galleries import copies_report, matches_report

SQUARE = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]


def rows_of(report) -> list[dict]:
    return report.to_dict()["sections"][-1]["rows"]


def test_a_match_has_its_distance_label_and_columns() -> None:
    match = {"path": "a.jpg", "distance": 0.25, "label": "cat"}
    match["metadata"] = {"price": 3, "colour": "red", "note": ""}
    results = [{"query": "q.jpg", "matches": [match]}]
    (row,) = rows_of(matches_report(results, words=(), has_images=True))
    assert row["query"] == "q.jpg"
    assert row["matches"] == [
        {"path": "a.jpg", "distance": 0.25, "is_hit": None, "label": "cat",
         "lines": ["price: 3", "colour: red"]}
    ]  # fmt: skip


def test_words_are_a_heading_and_not_a_picture_that_is_missing() -> None:
    results = [{"query": "umbrella -red", "matches": [{"path": "a.jpg", "distance": 0.5}]}]
    report = matches_report(results, words=["umbrella", "-red"], has_images=False)
    assert (rows_of(report)[0]["query"], rows_of(report)[0]["label"]) == (None, "umbrella -red")
    assert "<h3>umbrella -red</h3>" in report.to_html()
    assert report.title == "Images that fit the words: umbrella, -red"
    beside = matches_report(results, words=["-red"], has_images=True)
    assert (rows_of(beside)[0]["query"], rows_of(beside)[0]["label"]) == ("umbrella -red", "-red")
    assert beside.title == "Similar images that fit the words: -red"


def test_where_instances_agree_is_drawn_and_where_not_is_said() -> None:
    matches = [
        {"path": "a.jpg", "distance": 0.1, "inliers": 40, "region": SQUARE},
        {"path": "b.jpg", "distance": 1.2, "inliers": 0, "region": None},
    ]
    results = [{"query": "q.jpg", "matches": matches}]
    report = matches_report(results, words=(), has_images=True)
    text, gallery = report.to_dict()["sections"]
    assert "not verified, so it may show anything" in text["text"]
    first, second = gallery["rows"][0]["matches"]
    assert first["lines"] == ["40 features agree"]
    assert sorted(first["outline"]) == sorted(SQUARE)
    assert second["lines"] == ["not verified"]
    assert "outline" not in second


def test_what_a_page_of_copies_leaves_out_is_counted() -> None:
    groups = [{"paths": [f"{k}/{i}.jpg" for i in range(15)], "exact": True} for k in range(203)]
    report = copies_report(groups)
    assert len(rows_of(report)) == 200
    assert "The 200 largest groups are here" in report.to_html()
    assert rows_of(report)[0]["note"].startswith("3 more of this group")
