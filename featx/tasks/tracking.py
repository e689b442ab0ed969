"""Results of a run in MLflow: figures as metrics, texts as parameters, files as artifacts."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featx._optional import require
from featx.errors import ParameterError

__all__ = ["log_to_mlflow"]

MAX_TEXT = 500  # characters of a parameter that every server of MLflow takes


def log_to_mlflow(
    result: Mapping[str, Any], files: Sequence[str | os.PathLike[str]] = (), *, prefix: str = ""
) -> str:
    """Log what a command or a function found to MLflow's active run, or to a new one.

    Parameters
    ----------
    result : mapping
        What ``--json`` prints, or `to_dict` of a result. A finite number becomes a metric, an
        interval two (``accuracy.low``, ``accuracy.high``), a text or a yes or no a parameter. All
        of it is in the artifact ``featx.json``; lists and tables are only there.
    files : sequence of path, default ()
        The model, the page, predictions: each becomes an artifact.
    prefix : str, default ""
        Before the name of each, for several results in one run: "test." gives ``test.accuracy``,
        and ``test.featx.json``.

    Returns
    -------
    str
        The run's id.

    Raises
    ------
    MissingDependencyError
        If MLflow is not installed.
    ParameterError
        If a file is not there; nothing is logged then.

    Notes
    -----
    Server and experiment are MLflow's own settings (``MLFLOW_TRACKING_URI``,
    ``MLFLOW_EXPERIMENT_NAME``). A run that is not active is started, and ended here.

    Examples
    --------
    In a project that uses MLflow::

        training = featx.tasks.train(store)
        training.save("pets.featx", store)
        log_to_mlflow(training.to_dict(), ["pets.featx"])
    """
    mlflow = require("mlflow", extra="mlflow", purpose="log_to_mlflow")
    for file in files:
        if not os.path.exists(file):  # noqa: PTH110
            raise ParameterError(
                f"files: got {os.fspath(file)!r}, which is not there; expected files that were "
                "written, such as the model of featx train"
            )
    values = {f"{prefix}{name}": value for name, value in _iter_values(result)}
    metrics = {name: float(value) for name, value in values.items() if _is_metric(value)}
    params = {
        name: str(value)[:MAX_TEXT]
        for name, value in values.items()
        if isinstance(value, (str, bool))
    }
    active = mlflow.active_run()
    with contextlib.nullcontext(active) if active else mlflow.start_run() as run:
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        mlflow.log_dict(dict(result), f"{prefix}featx.json")
        for file in files:
            mlflow.log_artifact(os.fspath(file))
    return str(run.info.run_id)


def _iter_values(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries, and both ends of each interval."""
    yield from result.items()
    intervals = result.get("intervals")
    for name, span in intervals.items() if isinstance(intervals, Mapping) else ():
        if span is not None:
            yield f"{name}.low", span[0]
            yield f"{name}.high", span[1]


def _is_metric(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
