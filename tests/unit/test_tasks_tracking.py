"""Results in MLflow, read back by MLflow's own client from a folder of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from featx.errors import ParameterError
from featx.store import write_features
from featx.tasks import Classifier, log_to_mlflow, train

pytestmark = [
    # MLflow says of itself what it will change
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
]


@pytest.fixture
def client(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def files_of(client, run: str) -> dict[str, bytes]:
    found = {}
    for entry in client.list_artifacts(run):
        found[entry.path] = Path(client.download_artifacts(run, entry.path)).read_bytes()
    return found


def test_a_training_and_its_evaluation_share_a_run(client, tmp_path) -> None:
    import mlflow

    rng = np.random.default_rng(0)
    y = np.repeat(["cat", "dog"], 12)
    X = rng.normal(size=(24, 6)) + 2 * (y == "cat")[:, None]
    store = write_features(tmp_path / "f.h5", X, paths=[f"{i}" for i in range(24)], labels=y)
    training = train(store)
    training.save(tmp_path / "m.featx", store)
    found = Classifier.load(str(tmp_path / "m.featx")).evaluate(store).to_dict()
    with mlflow.start_run(run_name="pets") as active:
        first = log_to_mlflow(training.to_dict(), [tmp_path / "m.featx"], prefix="train.")
        assert log_to_mlflow(found, prefix="test.") == first == active.info.run_id
        assert mlflow.active_run() is not None
    data = client.get_run(first).data
    assert data.metrics["test.accuracy"] == found["accuracy"]
    low, high = found["intervals"]["accuracy"]
    assert (data.metrics["test.accuracy.low"], data.metrics["test.accuracy.high"]) == (low, high)
    assert data.metrics["train.n_samples"] == 24
    assert data.params["train.preset"] == training.preset.name
    files = files_of(client, first)
    assert files["m.featx"] == (tmp_path / "m.featx").read_bytes()
    assert json.loads(files["test.featx.json"])["accuracy"] == found["accuracy"]


def test_a_run_of_its_own_is_ended_and_odd_values_are_kept_in_the_file(client) -> None:
    import mlflow

    result = {
        "a": 1.5, "b": float("nan"), "c": None, "d": True, "e": "x" * 9000, "f": [1, 2],
        "g": {"h": 1}, "intervals": {"a": (1, 2), "b": None},
    }  # fmt: skip
    run = log_to_mlflow(result)
    assert mlflow.active_run() is None
    data = client.get_run(run).data
    assert data.metrics == {"a": 1.5, "a.low": 1.0, "a.high": 2.0}
    assert data.params == {"d": "True", "e": "x" * 500}
    kept = json.loads(files_of(client, run)["featx.json"])
    assert (kept["f"], kept["g"], kept["e"]) == ([1, 2], {"h": 1}, "x" * 9000)


def test_a_missing_file_ends_it_before_anything_is_logged(client) -> None:
    with pytest.raises(ParameterError, match=r"files: got 'none\.html', which is not there"):
        log_to_mlflow({"a": 1}, ["none.html"])
    assert client.search_runs(["0"]) == []
