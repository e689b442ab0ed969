"""Sweeps of scikit-learn on Ray, through joblib: the same result as here."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from featx import LinearProbeClassifier

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


def test_a_search_on_ray_finds_what_one_here_finds() -> None:
    from ray.util.joblib import register_ray

    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 240)
    X = rng.normal(size=(240, 20)) + 1.5 * np.eye(4, 20)[y]
    search = GridSearchCV(LinearProbeClassifier(), {"Cs": [[0.01], [1.0], [100.0]]}, cv=4)
    here = search.fit(X, y)
    scores, best = here.cv_results_["mean_test_score"], here.best_params_
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
    )
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            there = search.set_params(n_jobs=2).fit(X, y)
    finally:
        ray.shutdown()
    np.testing.assert_array_equal(there.cv_results_["mean_test_score"], scores)
    assert there.best_params_ == best
