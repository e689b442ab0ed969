"""What helps with one's own images: a classifier, networks compared, an extraction measured."""

from featx.tasks.bench import Benchmark, benchmark
from featx.tasks.classifier import Classifier, Evaluation, Predictions
from featx.tasks.compare import Comparison, ComparisonRow, Figure, compare
from featx.tasks.pages import benchmark_report, comparison_report, evaluation_report
from featx.tasks.training import Training, find_labels, train

__all__ = [
    "Benchmark",
    "Classifier",
    "Comparison",
    "ComparisonRow",
    "Evaluation",
    "Figure",
    "Predictions",
    "Training",
    "benchmark",
    "benchmark_report",
    "compare",
    "comparison_report",
    "evaluation_report",
    "find_labels",
    "train",
]
