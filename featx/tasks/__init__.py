"""What helps with one's own images: a classifier, networks compared, an extraction measured."""

from featx.tasks.bench import benchmark
from featx.tasks.classifier import Classifier
from featx.tasks.compare import compare
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
