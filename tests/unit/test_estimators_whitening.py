"""Whitening and power normalisation against scikit-learn and plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from featx.errors import ParameterError
from featx.estimators import PCAWhitening, PowerNormalizer


def table(n: int, d: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3


@pytest.mark.parametrize("shape", [(80, 12), (12, 40), (20, 20)], ids=str)
@pytest.mark.parametrize("n_components", [1, 5, 0.9, None])
def test_without_scaling_it_is_scikit_learns_whitening(
    shape: tuple[int, int], n_components: Any
) -> None:
    X = table(*shape)
    ours = PCAWhitening(n_components, l2_before=False, l2_after=False).fit(X)
    theirs = PCA(n_components, whiten=True, svd_solver="full").fit(X)
    n = ours.n_components_
    assert n == (min(shape[0] - 1, shape[1]) if n_components is None else theirs.n_components_)
    np.testing.assert_allclose(np.abs(ours.components_), np.abs(theirs.components_[:n]), atol=1e-6)
    np.testing.assert_allclose(
        np.abs(ours.transform(X)), np.abs(theirs.transform(X)[:, :n]), atol=1e-6
    )
    np.testing.assert_allclose(ours.explained_variance_, theirs.explained_variance_[:n])
    np.testing.assert_allclose(
        ours.explained_variance_ratio_, theirs.explained_variance_ratio_[:n]
    )


def test_the_retrieval_recipe_step_by_step() -> None:
    X, new = table(60, 10), table(5, 10, seed=1)
    found = PCAWhitening(4, power=0.5, regularization=0.01).fit(X).transform(new)
    unit = normalize(X)
    values, vectors = np.linalg.eigh(np.cov(unit.T))
    values, vectors = values[::-1][:4], vectors[:, ::-1][:, :4]
    steps = (normalize(new) - unit.mean(axis=0)) @ vectors / (values + 0.01 * values[0]) ** 0.25
    np.testing.assert_allclose(np.abs(found), np.abs(normalize(steps)), atol=1e-8)


def test_power_zero_is_pca_alone() -> None:
    X = table(30, 6)
    found = PCAWhitening(power=0, l2_before=False, l2_after=False).fit_transform(X)
    np.testing.assert_allclose(np.abs(found), np.abs(PCA().fit_transform(X)), atol=1e-8)


def test_whitened_training_rows_have_unit_covariance() -> None:
    white = PCAWhitening(l2_after=False).fit_transform(table(200, 8))
    np.testing.assert_allclose(np.cov(white.T), np.eye(8), atol=1e-8)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    X = table(100, 7)
    whole = PCAWhitening().fit_transform(X)
    monkeypatch.setattr("featx.estimators._pca_whitening.BLOCK_ROWS", 9)
    np.testing.assert_allclose(PCAWhitening().fit_transform(X), whole, atol=1e-10)


def test_directions_without_variance_are_left_out() -> None:
    """Would catch the division by a standard deviation of rounding noise."""
    X = table(50, 6)
    X = np.hstack([X, X[:, :2]])
    assert PCAWhitening(l2_before=False).fit(X).n_components_ == 6
    with pytest.raises(ParameterError, match=r"n_components: got 7, .* from 1 to 6"):
        PCAWhitening(7, l2_before=False).fit(X)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"power": -1}, r"power: got -1"),
        ({"regularization": "a"}, r"regularization: got 'a'"),
        ({"n_components": 0}, r"n_components: got 0"),
        ({"n_components": 1.5}, r"n_components: got 1.5"),
        ({"n_components": True}, r"n_components: got True"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(params: dict[str, Any], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        PCAWhitening(**params).fit(table(20, 5))


def test_equal_rows_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"all rows are equal .*n_features=3"):
        PCAWhitening().fit(np.ones((4, 3)))


@pytest.mark.parametrize("make", [PCAWhitening, PowerNormalizer])
def test_float32_stays_and_is_near_float64(make: Any) -> None:
    X = table(50, 6)
    model = make().fit(X.astype(np.float32))
    low = model.transform(X.astype(np.float32))
    assert low.dtype == np.float32
    np.testing.assert_allclose(low, model.transform(X), atol=1e-4)


def test_feature_names_come_out() -> None:
    X = table(20, 3)
    assert PCAWhitening(2).fit(X).get_feature_names_out().tolist() == [
        "pcawhitening0",
        "pcawhitening1",
    ]
    assert PowerNormalizer().fit(X).get_feature_names_out().tolist() == ["x0", "x1", "x2"]


@given(
    arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6, allow_subnormal=False)),
    st.sampled_from([0.25, 0.5, 1.0, 2.0]),
)
def test_power_normalisation_keeps_signs_and_gives_unit_rows(X: Any, power: float) -> None:
    X[np.abs(X) < 1e-6] = 0
    found = PowerNormalizer(power).fit_transform(X)
    np.testing.assert_array_equal(np.sign(found), np.sign(X))
    filled = X.any(axis=1)
    np.testing.assert_allclose(np.linalg.norm(found[filled], axis=1), 1)
    assert not found[~filled].any()


def test_power_normalisation_by_hand() -> None:
    X = [[4.0, -9.0, 0.0]]
    np.testing.assert_allclose(PowerNormalizer(l2=False).fit_transform(X), [[2, -3, 0]])
    np.testing.assert_allclose(PowerNormalizer(2.0, l2=False).fit_transform(X), [[16, -81, 0]])
    with pytest.raises(ParameterError, match=r"power: got 0,"):
        PowerNormalizer(0).fit(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_directions_of_little_variance_count_as_directions(dtype):
    # Deviations from 1 to 1e-3, as in features: all of them are far above rounding.
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(3000, 60)) * np.geomspace(1, 1e-3, 60)).astype(dtype)
    model = PCAWhitening(l2_before=False).fit(X)
    assert model.n_components_ == 60
    flat = X.copy()
    flat[:, -5:] = 0
    assert PCAWhitening(l2_before=False).fit(flat).n_components_ == 55
