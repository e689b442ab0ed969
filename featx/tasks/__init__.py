"""What helps with one's own images: a classifier, networks compared, an extraction measured.

Names are loaded on first use, so that a prediction does not wait for what draws pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx._lazy import load_later

if TYPE_CHECKING:
    from featx.tasks.bench import benchmark
    from featx.tasks.classifier import Classifier
    from featx.tasks.comparison import compare
    from featx.tasks.pages import (
        benchmark_report,
        comparison_report,
        evaluation_report,
    )
    from featx.tasks.predictions_page import predictions_report
    from featx.tasks.tracking import log_to_mlflow
    from featx.tasks.training import train

__all__ = [
    "Classifier",
    "benchmark",
    "benchmark_report",
    "compare",
    "comparison_report",
    "evaluation_report",
    "log_to_mlflow",
    "predictions_report",
    "train",
]

_HOMES = {
    "Classifier": ".classifier",
    "benchmark": ".bench",
    "benchmark_report": ".pages",
    "compare": ".comparison",
    "comparison_report": ".pages",
    "evaluation_report": ".pages",
    "log_to_mlflow": ".tracking",
    "predictions_report": ".predictions_page",
    "train": ".training",
}

__getattr__ = load_later(__name__, _HOMES)
