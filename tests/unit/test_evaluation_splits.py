"""Draws of few labels: so many per class, nested, copies on one side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import ParameterError
from featx.evaluation import few_label_splits


def few_label_split(y: Any, n: Any, **options: Any) -> Any:
    (split,) = few_label_splits(y, n, **options)
    return split


@st.composite
def labelled(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels with at least three groups per class, and groups of one to three rows."""
    n_classes, n_groups = draw(st.integers(1, 4)), draw(st.integers(3, 6))
    sizes = draw(st.lists(st.integers(1, 3), min_size=n_classes * n_groups,
                          max_size=n_classes * n_groups))  # fmt: skip
    classes = np.repeat(np.arange(n_classes), n_groups)
    y, groups = np.repeat(classes, sizes), np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(y))
    return y[order], groups[order]


@given(labelled(), st.integers(1, 3), st.integers(0, 5))
def test_a_draw_has_n_labels_a_class_and_no_copy_in_test(
    case: tuple[np.ndarray, np.ndarray], n: int, seed: int
) -> None:
    y, groups = case
    split = few_label_split(y, n, groups=groups, random_state=seed)
    assert np.bincount(y[split.train]).tolist() == [n] * (y.max() + 1)
    assert len(np.unique(groups[split.train])) == len(split.train)
    assert not set(groups[split.train]) & set(groups[split.test])
    assert set(groups[split.left_out]) <= set(groups[split.train])
    every = np.concatenate([split.train, split.test, split.left_out])
    assert sorted(every.tolist()) == list(range(len(y)))


@given(labelled(), st.integers(0, 5))
def test_a_draw_of_more_contains_the_draw_of_fewer(
    case: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    y, groups = case
    draws = [few_label_split(y, n, groups=groups, random_state=seed).train for n in (1, 2, 3)]
    assert set(draws[0]) < set(draws[1]) < set(draws[2])


def test_every_row_of_a_class_is_drawn_about_as_often() -> None:
    splits = few_label_splits([0] * 5 + [1] * 10, 2, 2000)
    counts = np.bincount(np.concatenate([train for train, _ in splits]))
    np.testing.assert_allclose(counts[:5], 800, rtol=0.1)
    np.testing.assert_allclose(counts[5:], 400, rtol=0.15)


def test_repeats_differ_and_come_again_with_the_seed() -> None:
    y = np.repeat(["a", "b"], 30)
    first, again, other = (few_label_splits(y, 3, 4, random_state=s) for s in (1, 1, 2))
    assert [s.train.tolist() for s in first] == [s.train.tolist() for s in again]
    assert len({tuple(s.train) for s in (*first, *other)}) == 8


def test_a_pool_is_rows_or_a_mask_and_nothing_else_is_touched() -> None:
    y = np.array(["a", "b"] * 6)
    mask = np.arange(12) >= 4
    split = few_label_split(y, 2, pool=mask)
    same = few_label_split(y, 2, pool=np.flatnonzero(mask)[::-1])
    assert split.train.tolist() == same.train.tolist()
    assert min(*split.train, *split.test) >= 4
    assert len(split.train) + len(split.test) == 8


def test_labels_outside_the_pool_need_not_be_known() -> None:
    y = np.array([np.nan, 1, 1, 0, 0])
    assert len(few_label_split(y, 1, pool=[1, 2, 3, 4]).train) == 2
    with pytest.raises(ParameterError, match=r"y: row 0 has no label \(nan\).*as `pool`"):
        few_label_split(y, 1)


def test_attributes_have_both_answers_as_far_as_n_reaches() -> None:
    """Would catch plain random draws: the rare attribute has three rows of 300."""
    rng = np.random.default_rng(0)
    Y = (rng.random((300, 6)) < (0.01, 0.05, 0.2, 0.5, 0.8, 0.5)).astype(float)
    Y[:, 0], Y[:3, 0] = 0, 1
    Y[::7, 5] = np.nan
    splits = few_label_splits(Y, 12, 20)
    for train, test in splits:
        assert len(train) == 12
        assert len(test) == 288
        for answer in (0, 1):
            assert (Y[train] == answer).any(axis=0).all()
    smaller = few_label_splits(Y, 4, 20)
    assert all(set(a.train) < set(b.train) for a, b in zip(smaller, splits, strict=True))
    assert all((Y[s.train, 0] == 1).any() for s in smaller)  # the rarest answer first


def test_attributes_keep_copies_together() -> None:
    groups = np.repeat(np.arange(20), 2)
    Y = (np.random.default_rng(0).random((40, 3)) > 0.5).astype(float)
    split = few_label_split(Y, 8, groups=groups)
    assert len(split.train) == len(split.left_out) == 8
    assert not set(groups[split.train]) & set(groups[split.test])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: few_label_split(["cat", "dog", "dog"], 2),
            r"class 'cat' has 1 rows, expected at least 2; ask for fewer",
        ),
        (
            lambda: few_label_split([0, 0, 0], 2, groups=["a", "a", "a"]),
            r"class 0 has 1 rows \(3 with copies\), expected at least 2",
        ),
        (lambda: few_label_split([0, 1, 2, 2], 2), r"class 0 has 1 rows.*; 1 more classes are"),
        (lambda: few_label_split([[0], [1]], 3), r"the pool has 2 rows, expected at least 3"),
        (
            lambda: few_label_split([[0], [2]], 1),
            r"y: got 2.0 for sample 1, attribute 0, expected 1",
        ),
        (lambda: few_label_split([["a"]], 1), r"y: row 0 has 'a', which is no number"),
        (lambda: few_label_split([], 1), r"y: got shape \(0,\)"),
        (lambda: few_label_split(np.array([1, "a"], object), 1), r"labels of several types"),
        (lambda: few_label_split([0, 1], 0), r"n_per_class: got 0"),
        (lambda: few_label_split([0, 1], True), r"n_per_class: got True"),
        (lambda: few_label_splits([0, 1], 1, 0), r"n_repeats: got 0"),
        (lambda: few_label_split([0, 1], 1, pool=[2]), r"pool: got row 2, expected 0 to 1"),
        (lambda: few_label_split([0, 1], 1, pool=[-1]), r"pool: got row -1"),
        (lambda: few_label_split([0, 1], 1, pool=[1, 1]), r"pool: got row 1 more than once"),
        (lambda: few_label_split([0, 1], 1, pool=[True]), r"mask of shape \(1,\)"),
        (lambda: few_label_split([0, 1], 1, pool=[0.5]), r"pool: got shape \(1,\) and dtype fl"),
        (lambda: few_label_split([0, 1], 1, groups=[1]), r"groups: got shape \(1,\)"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_arguments_are_named(call: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        call()
