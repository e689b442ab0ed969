"""Poolings: what numpy says, canonical names, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featx.errors import ParameterError
from featx.pooling import POOLINGS, get_pooling
from featx.pooling.rmac import rmac_regions

MAP = np.random.default_rng(0).standard_normal((2, 5, 6, 8)).astype(np.float32)
TOKENS = MAP.reshape(2, 5, 48).transpose(0, 2, 1).copy()
POSITIVE = np.maximum(MAP, 1e-6).astype(float)


def pool(spec: str, x: np.ndarray) -> np.ndarray:
    return get_pooling(spec)(torch.from_numpy(x)).numpy()


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def spoc() -> np.ndarray:
    y, x = np.mgrid[:6, :8] + 0.5
    sigma = min(6, 8) / 2 / 3
    weights = np.exp(-((y - 3) ** 2 + (x - 4) ** 2) / (2 * sigma**2))
    return (MAP * weights).sum((2, 3))


def crow() -> np.ndarray:
    x = np.maximum(MAP, 0).astype(float)
    activity = x.sum(1)
    activity /= np.sqrt((activity**2).sum((1, 2), keepdims=True))
    share = (x > 0).mean((2, 3))
    rarity = np.log(share.sum(1, keepdims=True) / share)
    return (x * np.sqrt(activity)[:, None]).sum((2, 3)) * rarity


def rmac() -> np.ndarray:
    total = np.zeros((2, 5))
    for top, left, side in rmac_regions(6, 8, 3):
        total += unit(MAP[:, :, top : top + side, left : left + side].max((2, 3)))
    return unit(total)


@pytest.mark.parametrize(
    ("spec", "x", "expected"),
    [
        ("avg", MAP, MAP.mean((2, 3))),
        ("avg", TOKENS, MAP.mean((2, 3))),
        ("max", MAP, MAP.max((2, 3))),
        ("max", TOKENS, MAP.max((2, 3))),
        ("gem(2.5)", MAP, (POSITIVE**2.5).mean((2, 3)) ** 0.4),
        ("gem", TOKENS, (POSITIVE**3).mean((2, 3)) ** (1 / 3)),
        ("spoc", MAP, spoc()),
        ("crow", MAP, crow()),
        ("rmac", MAP, rmac()),
        ("cls", TOKENS, MAP[:, :, 0, 0]),
        ("flatten", MAP, MAP.reshape(2, -1)),
        ("none", MAP[:, :, 0, 0].copy(), MAP[:, :, 0, 0]),
    ],
)
def test_it_is_what_numpy_says(spec: str, x: np.ndarray, expected: np.ndarray) -> None:
    found = pool(spec, x)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    assert found.shape == (2, get_pooling(spec).n_features(x.shape))


@pytest.mark.parametrize("word", POOLINGS)
def test_sums_are_float32_and_share_no_memory(word: str) -> None:
    """Would catch a pooling that computes in a network's bfloat16."""
    pooling = get_pooling(word)
    shape = {4: (2, 5, 6, 8), 3: (2, 9, 5), 2: (2, 5)}[pooling.accepts[0]]
    x = torch.ones(shape, dtype=torch.bfloat16, requires_grad=True)
    found = pooling(x)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    found.fill_(7)
    assert (x == 1).all()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("gem", "gem(3)"),
        ("GeM( 2.50 )", "gem(2.5)"),
        ("mac", "max"),
        ("R-MAC(4)", "rmac(4)"),
        (" none ", "none"),
    ],
)
def test_names_are_canonical(written: str, name: str) -> None:
    assert get_pooling(written).name == name == get_pooling(name).name
    assert get_pooling(written) == get_pooling(name)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gme", r"got 'gme', expected one of avg, max, .* Did you mean 'gem'"),
        ("gem(x)", r"expected a number in the parentheses, found 'x'; for example 'gem\(3\)'"),
        ("rmac(2.5)", r"a whole number in the parentheses, found '2.5'; for example 'rmac\(3\)'"),
        ("avg(2)", "'avg' takes no parameter"),
        ("gem(0)", r"got p = 0.0, expected a finite number above 0"),
        ("rmac(0)", "got 0 scales, expected at least 1"),
        ("gem(2)(3)", r"expected a name, or a name with one number"),
    ],
)
def test_what_is_no_pooling_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        get_pooling(spec)


def test_a_layout_that_it_does_not_take_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"'cls': got .*\(2, 5, 6, 8\), expected tokens"):
        pool("cls", MAP)
    with pytest.raises(ParameterError, match=r"'rmac\(3\)': got .* expected a map .* use 'none'"):
        get_pooling("rmac").n_features((1, 5))
