"""Retrieval metrics against hand-worked rankings, a slow rewrite and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from featx.errors import ParameterError
from featx.evaluation import (
    average_precision_scores,
    mean_average_precision_score,
    mean_precision_at_k,
    recall_at_k,
    relevance_from_labels,
)
from pipelines.protocols.metrics import ukbench_score


def area_by_hand(ranking: list[int], positives: set[int], junk: set[int]) -> float:
    """The trapezoid rule walked down the list, one point of the curve per row."""
    area, old_precision, old_recall, right, seen = 0.0, 1.0, 0.0, 0, 0
    for row in ranking:
        if row in junk:
            continue
        right, seen = right + (row in positives), seen + 1
        precision, recall = right / seen, right / len(positives)
        area += (recall - old_recall) * (precision + old_precision) / 2
        old_precision, old_recall = precision, recall
    return area


@pytest.mark.parametrize(
    ("ranking", "positives", "trapezoid", "step"),
    [
        ([0, 1, 2], [0], 1.0, 1.0),
        ([1, 0, 2], [0], 0.25, 0.5),
        ([0, 1, 2, 3], [0, 2], 0.5 + 0.5 * (1 / 2 + 2 / 3) / 2, (1 + 2 / 3) / 2),
        ([1, 2, 3], [0], 0.0, 0.0),
        ([0], [0, 9], 0.5, 0.5),
        ([], [3], 0.0, 0.0),
    ],
    ids=["first", "second", "two", "not found", "half found", "empty"],
)
def test_average_precision_by_hand(
    ranking: list[int], positives: list[int], trapezoid: float, step: float
) -> None:
    got = average_precision_scores([ranking], [positives])
    assert got == pytest.approx([trapezoid])
    got = average_precision_scores([ranking], [positives], convention="step")
    assert got == pytest.approx([step])


@st.composite
def rankings(draw: Any) -> tuple[list[int], set[int], set[int]]:
    n = draw(st.integers(1, 25))
    kinds = draw(st.lists(st.sampled_from("pjn"), min_size=n, max_size=n))
    positives = {row for row, kind in enumerate(kinds) if kind == "p"}
    junk = {row for row, kind in enumerate(kinds) if kind == "j"}
    return draw(st.permutations(range(n))), positives or {0}, junk - {0}


@given(rankings(), st.sampled_from(["trapezoid", "step"]))
def test_random_rankings_agree_with_slow_references(
    case: tuple[list[int], set[int], set[int]], convention: str
) -> None:
    ranking, positives, junk = case
    (got,) = average_precision_scores(
        [ranking], [list(positives)], junk=[list(junk)], convention=convention
    )
    assert 0 <= got <= 1
    if convention == "trapezoid":
        assert got == pytest.approx(area_by_hand(ranking, positives, junk))
    else:
        rows = [row for row in ranking if row not in junk]
        truth = [row in positives for row in rows]
        assert got == pytest.approx(average_precision_score(truth, -np.arange(len(rows))))


@given(rankings(), st.randoms(use_true_random=False))
def test_renaming_database_rows_changes_nothing(case: Any, random: Any) -> None:
    ranking, positives, junk = case
    names = list(range(100, 100 + len(ranking)))
    random.shuffle(names)
    before = average_precision_scores([ranking], [list(positives)], junk=[list(junk)])
    after = average_precision_scores(
        [[names[r] for r in ranking]],
        [[names[r] for r in positives]],
        junk=[[names[r] for r in junk]],
    )
    np.testing.assert_array_equal(before, after)


def test_a_perfect_ranking_is_one_and_junk_does_not_cost() -> None:
    """Would catch junk that counts as wrong: the query's own image comes first in every list."""
    assert mean_average_precision_score([[9, 1, 2, 3]], [[1, 2]], junk=[[9]]) == 1.0
    assert mean_average_precision_score([[9, 1, 2, 3]], [[1, 2]]) < 1.0
    assert mean_average_precision_score([[1, 2]], [[1, 5]], junk=[[5]]) == 1.0


def test_queries_without_positives_leave_the_mean() -> None:
    scores = average_precision_scores([[0, 1], [0, 1]], [[0], []])
    assert scores[0] == 1
    assert np.isnan(scores[1])
    assert mean_average_precision_score([[0, 1], [0, 1]], [[0], []]) == 1.0
    with pytest.raises(ParameterError, match=r"none for any of 1 queries"):
        mean_average_precision_score([[0]], [[]])


def test_padding_is_no_row() -> None:
    a = mean_average_precision_score([[2, 0, -1, -1]], [[0]])
    assert a == mean_average_precision_score([[2, 0]], [[0]])


def test_leave_one_out_by_labels_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 30)
    similarity = rng.normal(size=(30, 30))
    order = np.argsort(-similarity, axis=1)
    relevance = relevance_from_labels(labels)
    got = average_precision_scores(
        order, relevance.positives, junk=relevance.junk, convention="step"
    )
    for query in range(30):
        others = np.arange(30) != query
        expected = average_precision_score(
            labels[others] == labels[query], similarity[query, others]
        )
        assert got[query] == pytest.approx(expected)


def test_labels_of_a_separate_database() -> None:
    relevance = relevance_from_labels(["cat", "eel"], ["dog", "cat", "cat"])
    assert [rows.tolist() for rows in relevance.positives] == [[1, 2], []]
    assert [rows.tolist() for rows in relevance.junk] == [[], []]


def test_recall_by_hand() -> None:
    lists, right = [[3, 1, 0], [2, 3, 1]], [[1, 0], [0]]
    assert recall_at_k(lists, right, k=1) == 0
    assert recall_at_k(lists, right, k=2) == 0.5
    assert recall_at_k(lists, right, k=2, convention="share") == 0.25
    assert recall_at_k(lists, right, k=3, convention="share") == 0.5
    assert recall_at_k(lists, right, k=1, junk=[[3], [2, 3]]) == 0.5


@given(rankings(), st.integers(1, 30))
def test_recall_grows_with_k(case: Any, k: int) -> None:
    ranking, positives, _ = case
    for convention in ("any", "share"):
        now, more = (
            recall_at_k([ranking], [list(positives)], k=n, convention=convention)
            for n in (k, k + 1)
        )
        assert 0 <= now <= more <= 1


def test_precision_takes_the_last_positive_where_it_comes_early() -> None:
    assert mean_precision_at_k([[4, 1, 0, 3]], [[1, 4]], k=3) == 1.0
    assert mean_precision_at_k([[4, 0, 1, 3]], [[1, 4]], k=4) == pytest.approx(2 / 3)
    assert mean_precision_at_k([[4, 0, 1, 3]], [[1, 4]], k=1) == 1.0
    assert mean_precision_at_k([[4, 0, 2, 3]], [[1, 4]], k=4) == 0.25
    assert mean_precision_at_k([[0], [1]], [[], [1]], k=1) == 1.0


def test_ukbench_counts_the_query() -> None:
    groups = np.repeat([0, 1], 4)
    perfect = [
        np.r_[np.arange(4) + 4 * (q // 4), np.arange(4) + 4 * (1 - q // 4)] for q in range(8)
    ]
    assert ukbench_score(perfect, groups) == 4.0
    assert ukbench_score([p[::-1] for p in perfect], groups) == 0.0
    assert ukbench_score([[0, 4, 1, 5]], groups, query_groups=[0]) == 2.0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: recall_at_k([[0]], [[0]], k=0), r"k: got 0"),
        (lambda: recall_at_k([[0]], [[0]], k=1, convention="all"), r"got 'all'"),
        (
            lambda: mean_average_precision_score([[0]], [[0]], convention="trapezium"),
            r"got 'trapezium'.*Did you mean 'trapezoid'",
        ),
        (lambda: mean_average_precision_score([[1, 1]], [[0]]), r"query 0 has row 1 more than"),
        (lambda: mean_average_precision_score([[1]], [[0], [1]]), r"2 sets of rows for 1 queries"),
        (lambda: mean_average_precision_score([[0.5]], [[0]]), r"dtype float64 for query 0"),
        (lambda: mean_average_precision_score([[[1]]], [[0]]), r"shape \(1, 1\)"),
        (lambda: ukbench_score([[0, 1, 2]], [0, 0, 0, 0], query_groups=[0]), r"has 3 rows"),
        (lambda: ukbench_score([[0, 1, 2, 3]], [0, 0, 0, 0]), r"1 rankings for 4 queries"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_arguments_are_named(call: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        call()
